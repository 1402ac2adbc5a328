"""What a pretraining leaves to be watched and shown: a log of metrics, and the RAFs along the way.

Both are kept in the run's folder beside the checkpoints, and go on where a resumed training goes on: what a
killed run wrote beyond its last checkpoint is written again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, ProgressCallback, TrainerCallback, TrainerControl, TrainerState

from raft.errors import InputError
from raft.files import named_failures, parsed, read_text, replacing, write_text
from raft.hf.conversion import activation_name
from raft.hf.inputs import InputHistogram
from raft.hf.peft import names_without_adapter
from raft.hf.sites.find import rationals
from raft.modules import Rational, ResidualRational

METRICS = "metrics.jsonl"
SNAPSHOTS = "rafs"
INPUTS = "inputs.json"


class MetricsLog(TrainerCallback):
    """Each record of the training's log as a line of ``metrics.jsonl``.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / METRICS

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Drop what lies beyond the step that the training goes on from."""
        if state.is_world_process_zero and self.file.exists():
            kept = [line for line in read_metrics(self.file) if line["step"] <= state.global_step]
            write_text(self.file, "".join(json.dumps(line) + "\n" for line in kept))

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Append a record."""
        if state.is_world_process_zero and logs:
            with named_failures(self.file), self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The records of a ``metrics.jsonl``, without a last line that was cut short.

    Raises:
        InputError: for a file that holds other things.
    """
    *whole, _ = read_text(file).split("\n")  # a line that was cut short has no end
    what = "records of a training, a line each"
    records = [parsed(file, line, json.loads, dict[str, Any], what) for line in whole]
    if any(not isinstance(record.get("step"), int) for record in records):
        raise InputError(f"{file} holds no {what}: one has no step")
    return records


class RafSnapshots(TrainerCallback):
    """The coefficients of all RAFs every some steps, from step 0 on: ``rafs/step-00000250.safetensors``.

    Args:
        folder: of the run.
        every: steps between two snapshots; the first and the last state are kept too.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder / SNAPSHOTS
        self.every = every
        self._kept = -1

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep what the training starts from; drop what another left beyond it, or it will do again."""
        if state.is_world_process_zero:
            for file in self.folder.glob("step-*.safetensors"):
                if int(file.stem.removeprefix("step-")) > state.global_step:
                    file.unlink()
        self._kept = state.global_step
        if state.global_step == 0:
            self._keep(state, kwargs["model"])

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the coefficients of this step, where it is one of those, or the last."""
        is_last = state.global_step >= state.max_steps or control.should_training_stop
        if state.global_step % self.every == 0 or is_last:
            self._keep(state, kwargs["model"])

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep what the training ends with, where the last step has not: after it, a ``Trainer`` may have put
        the weights of an earlier step back."""
        if self._kept != state.global_step:
            self._keep(state, kwargs["model"])

    def _keep(self, state: TrainerState, model: PreTrainedModel) -> None:
        values = coefficients(model)
        self._kept = state.global_step
        if values and state.is_world_process_zero:
            write_snapshot(self.folder, state.global_step, values, raf_metadata(model))


def write_snapshot(folder: Path, step: int, values: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write ``step-00000250.safetensors``.

    Args:
        folder: made where it does not exist.
        step: after which the coefficients were these.
        values: of :func:`coefficients`.
        metadata: of :func:`raf_metadata`.
    """
    with replacing(folder / f"step-{step:08d}.safetensors") as file:
        save_file(values, file, metadata=metadata | {"step": str(step)})


def write_inputs(folder: Path, histograms: dict[str, InputHistogram]) -> None:
    """Write ``inputs.json``: what inputs each RAF got from the model that is kept."""
    records = {site: asdict(histogram.record()) for site, histogram in histograms.items() if histogram.total}
    write_text(folder / INPUTS, json.dumps(records) + "\n")


def coefficients(model: PreTrainedModel) -> dict[str, Tensor]:
    """All RAF coefficients by name, ``<site>.numerator`` and ``<site>.denominator``, on the CPU."""
    values = {}
    for site, act in _rationals(model).items():
        for name, parameter in act.named_parameters():
            scale = getattr(act, f"{name}_scale")
            whole = _whole(parameter).detach().cpu()
            values[f"{site}.{name}"] = whole.clone() if scale is None else whole * scale.cpu()
    return values


def raf_metadata(model: PreTrainedModel) -> dict[str, str]:
    """Metadata of a file of coefficients: each RAF's ``<site>.version``, ``<site>.replaced``, the fixed
    function that stood there, and ``<site>.beside``, that which a residual one is added to."""
    metadata = {}
    for site, act in _rationals(model).items():
        metadata[f"{site}.version"] = act.version
        if act.replaced:
            metadata[f"{site}.replaced"] = activation_name(act)
        if isinstance(act, ResidualRational):
            metadata[f"{site}.beside"] = activation_name(act)
    return metadata


def _rationals(model: nn.Module) -> dict[str, Rational]:
    """By the names that they have without an adapter around the model."""
    acts = rationals(model)
    return {plain: acts[site] for site, plain in names_without_adapter(model, acts).items()}


def _whole(parameter: Tensor) -> Tensor:
    """A parameter that FSDP has sharded, put together."""
    gather = getattr(parameter, "full_tensor", None)
    return gather() if gather is not None else parameter


class ProgressWithLoss(ProgressCallback):
    """The progress bar shows losses and tokens a second, instead of a line for every record of the log.

    Args:
        tokens: gives those of one step, over all processes; 0 leaves their rate out.
    """

    def __init__(self, tokens: Callable[[], int]) -> None:
        super().__init__()
        self.tokens = tokens
        self.shown: dict[str, str] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Take over the newest numbers."""
        bar = getattr(self, "training_bar", None)
        if not logs or bar is None:
            return
        for key, name in (("loss", "loss"), ("eval_loss", "validation loss")):
            if key in logs:
                self.shown[name] = f"{logs[key]:.3f}"
        rate = bar.format_dict.get("rate") or (bar.n - bar.initial) / max(bar.format_dict["elapsed"], 1e-9)
        if tokens := self.tokens():
            self.shown["tokens/s"] = f"{rate * tokens:,.0f}"
        bar.set_postfix_str(", ".join(f"{name} {value}" for name, value in self.shown.items()))


def coefficient_scalars(model: PreTrainedModel) -> dict[str, float]:
    """Each coefficient as a number for a tracker: ``raf/<site>/a0`` …, ``raf/<site>/b1`` …; group means."""
    scalars: dict[str, float] = {}
    for name, values in coefficients(model).items():
        site, _, kind = name.rpartition(".")
        letter, first = ("a", 0) if kind == "numerator" else ("b", 1)
        means = torch.atleast_2d(values).mean(0).tolist()
        scalars |= {f"raf/{site}/{letter}{first + i}": value for i, value in enumerate(means)}
    return scalars
