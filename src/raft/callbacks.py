"""Watching learned functions in any ``transformers.Trainer``: snapshots on disk, figures for the trackers."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from transformers import TrainerCallback, TrainerControl, TrainerState

from raft.analysis.figures import draw_functions
from raft.analysis.learned import learned_functions
from raft.evaluation.callback import PairsCallback
from raft.evaluation.tasks import open_pairs
from raft.learned_activation import learned_activations
from raft.training.monitoring import RafSnapshots

__all__ = ["PairsCallback", "RafCallback", "open_pairs"]

NAME = "raf/functions"
DPI = 80


class RafCallback(TrainerCallback):
    """Keeps the RAFs of a model along its training, and shows them to TensorBoard, W&B and Trackio.

    Every ``every`` steps the coefficients are added to ``rafs.safetensors`` in the training's output folder,
    and a figure of the functions goes to the trackers of ``report_to``. Figures take a third of a second or
    so: they are left out as long as all of them would take more than ``share`` of the training's time. The
    last state is always kept, and drawn unless a later callback ended the training.

    Args:
        every: steps.
        folder: of ``rafs.safetensors``; ``output_dir`` where it is None.
        share: of the training's time that figures may take.

    Example::

        >>> from raft.callbacks import RafCallback
        >>> callback = RafCallback(every=500)

    With any trainer::

        Trainer(model, args, train_dataset=train, callbacks=[RafCallback(every=500)])
    """

    def __init__(self, every: int = 500, folder: str | Path | None = None, share: float = 0.01) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        self.every, self.folder, self.share = every, folder, share
        self.spent = 0.0
        self._begun = 0.0
        self._snapshots: RafSnapshots | None = None
        self._trackers: list[Any] = []

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep what the training starts from."""
        self.spent, self._begun = 0.0, time.perf_counter()
        self._snapshots = RafSnapshots(Path(self.folder or args.output_dir), self.every)
        self._snapshots.on_train_begin(args, state, control, **kwargs)
        if state.is_world_process_zero and learned_activations(kwargs["model"]):
            self._trackers = [kind for name, kind in TRACKERS.items() if name in (args.report_to or [])]
            self._trackers = [kind(args.output_dir) for kind in self._trackers]

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep, and draw where there is time for it."""
        if self._snapshots is None:
            return
        self._snapshots.on_step_end(args, state, control, **kwargs)
        # a tracker's run may be over when the training's end is told
        is_last = state.global_step >= state.max_steps or control.should_training_stop
        if is_last or (state.global_step % self.every == 0 and self._has_time()):
            self._draw(state, kwargs["model"])

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep what the training ends with; the last step has drawn it."""
        if self._snapshots is not None:
            self._snapshots.on_train_end(args, state, control, **kwargs)
        for tracker in self._trackers:
            tracker.close()
        self._trackers = []

    def _has_time(self) -> bool:
        # what the first one costs is not known before it
        return not self.spent or self.spent < self.share * (time.perf_counter() - self._begun)

    def _draw(self, state: TrainerState, model: Any) -> None:
        if not self._trackers:
            return
        begun = time.perf_counter()
        functions = [function for function in learned_functions(model) if function.has_curve]
        if not functions:
            return
        image = pixels(draw_functions(functions))
        for tracker in self._trackers:
            tracker.show(image, state.global_step)
        self.spent += time.perf_counter() - begun


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """A figure as ``[height, width, 3]``."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


class TensorBoard:
    """An event file beside that of ``transformers``' own callback; TensorBoard shows both as one run's."""

    def __init__(self, output_dir: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(Path(output_dir) / "runs" / "rafs"))

    def show(self, image: NDArray[np.uint8], step: int) -> None:
        """Add the figure to the step's images."""
        self.writer.add_image(NAME, image, step, dataformats="HWC")

    def close(self) -> None:
        """End the file."""
        self.writer.close()


class LoggedRun:
    """The run that ``transformers``' callback has begun in W&B or Trackio, which are called alike.

    Args:
        module: ``"wandb"`` or ``"trackio"``.
    """

    def __init__(self, module: str) -> None:
        self.library = sys.modules[module]  # imported by that callback, which comes before this one

    def show(self, image: NDArray[np.uint8], step: int) -> None:
        """Log the figure beside the step, as ``transformers`` logs its numbers."""
        self.library.log({NAME: self.library.Image(image), "train/global_step": step})

    def close(self) -> None:
        """The run is not ours to end."""


TRACKERS: dict[str, Callable[[str], Any]] = {
    "tensorboard": TensorBoard,
    "wandb": lambda output_dir: LoggedRun("wandb"),
    "trackio": lambda output_dir: LoggedRun("trackio"),
}
