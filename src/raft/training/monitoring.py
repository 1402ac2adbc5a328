"""Callbacks that log metrics and snapshots of RAFs into the folder of a run.

A resumed training continues both: records after its checkpoint, which a killed run wrote, are written again.
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
from raft.files import atomic_write, parse, read_text, write_text, writing
from raft.hf.conversion import activation_name
from raft.hf.histogram import InputHistogram
from raft.hf.peft import names_without_adapter
from raft.hf.sites.find import rationals
from raft.modules import Rational, ResidualRational

METRICS = "metrics.jsonl"
SNAPSHOTS = "rafs"
INPUTS = "inputs.json"


class MetricsLog(TrainerCallback):
    """Append each record of the training's log to ``metrics.jsonl``.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / METRICS

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Drop records after the step that the training resumes from."""
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
            with writing(self.file), self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Read a ``metrics.jsonl``; an incomplete last line is skipped.

    Raises:
        InputError: for a file that holds other things.
    """
    *whole, _ = read_text(file).split("\n")  # a line that was cut short has no end
    what = "records of a training, a line each"
    records = [parse(file, line, json.loads, dict[str, Any], what) for line in whole]
    if any(not isinstance(record.get("step"), int) for record in records):
        raise InputError(f"{file} holds no {what}: one has no step")
    return records


class RafSnapshots(TrainerCallback):
    """Save the coefficients of all RAFs every few steps, from step 0: ``rafs/step-00000250.safetensors``.

    Args:
        folder: of the run.
        every: steps between two snapshots; the first and the last state are kept too.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder / SNAPSHOTS
        self.every = every
        self._kept = -1

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save the initial state; remove snapshots after the step that the training resumes from."""
        if state.is_world_process_zero:
            for file in self.folder.glob("step-*.safetensors"):
                if int(file.stem.removeprefix("step-")) > state.global_step:
                    file.unlink()
        self._kept = state.global_step
        if state.global_step == 0:
            self._keep(state, kwargs["model"])

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save the coefficients at every ``every``-th step and at the last."""
        is_last = state.global_step >= state.max_steps or control.should_training_stop
        if state.global_step % self.every == 0 or is_last:
            self._keep(state, kwargs["model"])

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save the final state if the last step did not: ``Trainer`` may have loaded the best model since."""
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
    with atomic_write(folder / f"step-{step:08d}.safetensors") as file:
        save_file(values, file, metadata=metadata | {"step": str(step)})


def write_inputs(folder: Path, histograms: dict[str, InputHistogram]) -> None:
    """Write ``inputs.json``: what inputs each RAF got from the model that is kept."""
    records = {
        site: asdict(histogram.to_record()) for site, histogram in histograms.items() if histogram.total
    }
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
    """RAFs by the names that they have without an adapter."""
    acts = rationals(model)
    return {plain: acts[site] for site, plain in names_without_adapter(model, acts).items()}


def _whole(parameter: Tensor) -> Tensor:
    """Gather a parameter that FSDP has sharded."""
    gather = getattr(parameter, "full_tensor", None)
    return gather() if gather is not None else parameter


class ProgressWithLoss(ProgressCallback):
    """Show losses and tokens per second in the progress bar, instead of a line for every log record.

    Args:
        tokens: gives those of one step, over all processes; 0 leaves their rate out.
    """

    def __init__(self, tokens: Callable[[], int]) -> None:
        super().__init__()
        self.tokens = tokens
        self.shown: dict[str, str] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Update the numbers."""
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
    """Coefficients as scalars for a tracker, ``raf/<site>/a0`` …, ``raf/<site>/b1`` …: means over groups."""
    scalars: dict[str, float] = {}
    for name, values in coefficients(model).items():
        site, _, kind = name.rpartition(".")
        letter, first = ("a", 0) if kind == "numerator" else ("b", 1)
        means = torch.atleast_2d(values).mean(0).tolist()
        scalars |= {f"raf/{site}/{letter}{first + i}": value for i, value in enumerate(means)}
    return scalars
