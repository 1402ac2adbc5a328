"""Callbacks that log metrics and snapshots of RAFs into the folder of a run.

A resumed training continues both: records after its checkpoint, which a killed run wrote, are written again.
The first training loss that it logs is the mean of the steps since then.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel, ProgressCallback, TrainerCallback, TrainerControl, TrainerState

from raft.errors import InputError, first_line
from raft.files import atomic_write, parse, read_text, write_text, writing
from raft.functions.fixed_gain import FixedGainRational
from raft.hf.histogram import InputHistogram
from raft.hf.peft import names_without_adapter
from raft.learned_activation import LearnedActivation, find_places, learned_activations
from raft.modules import Rational, ResidualRational
from raft.networks.build import activation_name

METRICS = "metrics.jsonl"
RAFS = "rafs.safetensors"
INPUTS = "inputs.json"
SUMMARY = "train_runtime"
"""Key of the record at the end of a training, or where it was stopped."""
STEPS = "steps"
"""Tensor of a file of snapshots: the steps, ``[snapshots]``; all others are stacked in this order."""


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
            lines = read_metrics(self.file)
            kept = [line for line in lines if line["step"] <= state.global_step and SUMMARY not in line]
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
    """Save the coefficients of all RAFs every few steps, from step 0, in ``rafs.safetensors``.

    The file is written anew at each snapshot: that takes milliseconds, and it is whole at any time.

    Args:
        folder: of the run.
        every: steps between two snapshots; the first and the last state are kept too.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder
        self.every = every
        self._kept = -1
        self._snapshots: dict[str, Tensor] = {}

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save the initial state, or drop snapshots after the step that the training resumes from.

        Raises:
            InputError: where the snapshots before it cannot be read, or are of other RAFs.
        """
        values = coefficients(kwargs["model"])  # by all processes: parts of them may be elsewhere
        self._kept = state.global_step
        if state.is_world_process_zero:
            self._resume(state.global_step, values)
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

    def _resume(self, step: int, values: dict[str, Tensor]) -> None:
        file = self.folder / RAFS
        self._snapshots = {}
        if step == 0:
            file.unlink(missing_ok=True)
        if not file.exists():
            return
        try:
            snapshots, metadata = read_coefficients(file)
            check_snapshots(file, snapshots)
            if _shapes(append_snapshot({}, step, values)) != _shapes(snapshots):
                raise InputError(f"{file} holds RAFs of another model")
        except InputError as error:
            raise InputError(f"{error}; remove it to go on without these snapshots") from error
        is_kept = snapshots[STEPS] <= step
        self._snapshots = {name: stacked[is_kept] for name, stacked in snapshots.items()}
        if is_kept.any():
            write_snapshots(self.folder, self._snapshots, metadata)
        else:
            file.unlink()

    def _keep(self, state: TrainerState, model: PreTrainedModel) -> None:
        values = coefficients(model)
        self._kept = state.global_step
        if values and state.is_world_process_zero:
            self._snapshots = append_snapshot(self._snapshots, state.global_step, values)
            write_snapshots(self.folder, self._snapshots, raf_metadata(model))


def append_snapshot(snapshots: dict[str, Tensor], step: int, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stack a snapshot onto those of earlier steps; those of this step and of later ones are left out.

    Args:
        snapshots: ``steps``, ``[snapshots]``, and ``<site>.numerator`` and ``<site>.denominator``,
            ``[snapshots, groups, coefficients]``; empty for the first.
        step: after which the coefficients were these.
        values: of :func:`coefficients`.
    """
    new = {name: torch.atleast_2d(value)[None] for name, value in values.items()}
    new[STEPS] = torch.tensor([step])
    if not snapshots:
        return new
    is_earlier = snapshots[STEPS] < step
    return {name: torch.cat([snapshots[name][is_earlier], value]) for name, value in new.items()}


def write_snapshots(folder: Path, snapshots: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write ``rafs.safetensors``, atomically.

    Args:
        folder: made where it does not exist.
        snapshots: of :func:`append_snapshot`.
        metadata: of :func:`raf_metadata`.
    """
    with atomic_write(folder / RAFS) as file:
        save_file(snapshots, file, metadata=metadata)


def read_coefficients(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a file of coefficients, and its metadata.

    Raises:
        InputError: where it cannot be read.
    """
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            # copies, as a file that is mapped into memory cannot be replaced everywhere
            return {name: opened.get_tensor(name).clone() for name in opened.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise InputError(f"cannot read {file}: {first_line(error)}") from error


def check_snapshots(file: Path, snapshots: dict[str, Tensor]) -> list[int]:
    """The steps of a file's snapshots.

    Raises:
        InputError: where it does not have one for each, in their order.
    """
    steps = snapshots.get(STEPS)
    if steps is None or steps.dtype != torch.int64 or steps.ndim != 1 or not len(steps):
        raise InputError(f"{file} does not say after which steps its coefficients were so")
    if steps[0] < 0 or (steps.diff() <= 0).any():
        raise InputError(f"{file} holds snapshots that are not in the order of their steps")
    for name, stacked in snapshots.items():
        if not stacked.ndim or len(stacked) != len(steps):
            raise InputError(f"{file} does not hold {name} of each of its {len(steps)} snapshots")
    return steps.tolist()


def _shapes(snapshots: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: stacked.shape[1:] for name, stacked in snapshots.items()}


def write_inputs(folder: Path, histograms: dict[str, InputHistogram]) -> None:
    """Write ``inputs.json``: what inputs each RAF got from the model that is kept."""
    records = {
        site: asdict(histogram.to_record()) for site, histogram in histograms.items() if histogram.total
    }
    write_text(folder / INPUTS, json.dumps(records) + "\n")


@torch.no_grad()
def coefficients(model: nn.Module) -> dict[str, Tensor]:
    """All coefficients of learned functions by name, such as ``<site>.numerator``, on the CPU."""
    values = {}
    for site, act in _learned_activations(model).items():
        # whole before they are used: FSDP's parts do not mix with buffers
        whole = {f"act.{name}": _whole(parameter) for name, parameter in act.named_parameters()}
        numbers = functional_call(_Coefficients(act), whole, ())
        for (name, _), rows in zip(act.named_parameters(), numbers, strict=True):
            values[f"{site}.{name}"] = rows.cpu().clone()
    return values


class _Coefficients(nn.Module):
    """Calls ``coefficients`` of a learned function, also with other parameters than its own."""

    def __init__(self, act: LearnedActivation) -> None:
        super().__init__()
        self.act = act

    def forward(self) -> tuple[Tensor, ...]:
        return self.act.coefficients()


def raf_metadata(model: nn.Module) -> dict[str, str]:
    """Metadata of a file of coefficients: each RAF's ``<site>.version``, ``<site>.replaced``, the fixed
    function that stood there, ``<site>.beside``, that which a residual one is added to, and, where several
    modules apply it, ``<site>.places``, their names (JSON).

    Of functions that are not rational, ``<site>.function`` and ``<site>.settings`` (JSON) in place of the
    version: ``raft.functions.make`` builds one from them.
    """
    metadata = {}
    places = find_places(model)
    for site, act in _learned_activations(model).items():
        if len(places[act]) > 1:
            plain = names_without_adapter(model, places[act])
            metadata[f"{site}.places"] = json.dumps(list(plain.values()))
        if isinstance(act, (Rational, FixedGainRational)):  # both have coefficients of P/Q
            metadata[f"{site}.version"] = act.version
        else:
            metadata[f"{site}.function"] = act.name
            metadata[f"{site}.settings"] = json.dumps(act.settings())
        if act.replaced:
            metadata[f"{site}.replaced"] = activation_name(act)
        if isinstance(act, ResidualRational):
            metadata[f"{site}.beside"] = activation_name(act)
    return metadata


def _learned_activations(model: nn.Module) -> dict[str, LearnedActivation]:
    """Learned functions by the names that they have without an adapter."""
    acts = learned_activations(model)
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


def coefficient_scalars(model: nn.Module) -> dict[str, float]:
    """Coefficients as scalars for a tracker: means over groups.

    Those of rational functions are ``raf/<site>/a0`` … and ``raf/<site>/b1`` …, others have the names of
    their parameters, as in ``raf/<site>/knot_values0``.
    """
    scalars: dict[str, float] = {}
    for name, values in coefficients(model).items():
        site, _, kind = name.rpartition(".")
        letter, first = {"numerator": ("a", 0), "denominator": ("b", 1)}.get(kind, (kind, 0))
        means = torch.atleast_2d(values).mean(0).tolist()
        scalars |= {f"raf/{site}/{letter}{first + i}": value for i, value in enumerate(means)}
    return scalars
