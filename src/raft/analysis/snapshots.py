"""Learned functions as run folders keep them: along a training, and the inputs that they got."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raft.analysis.learned import format_ranges, shorten_name
from raft.coefficients.functions import ALIASES, FUNCTIONS, Array
from raft.errors import InputError, first_line
from raft.files import parse, read_text
from raft.functional import rational
from raft.functions.registry import make
from raft.hf.histogram import HistogramRecord, InputHistogram
from raft.hf.sites.input_activation import input_kind
from raft.kernels.reference import VERSIONS
from raft.learned_activation import LearnedActivation
from raft.training.monitoring import INPUTS, RAFS, STEPS, check_snapshots, read_coefficients


@dataclass(frozen=True)
class Raf:
    """One rational function's coefficients.

    Attributes:
        numerator: ``[groups, m + 1]``.
        denominator: ``[groups, n]``.
        version: form of the denominator.
        beside: name of the fixed function that P/Q is added to; None for none.
        replaced: name of the fixed function that stood there before; None where that is not known.
        places: names of all modules that apply it, where several do.
    """

    numerator: NDArray[np.float32]
    denominator: NDArray[np.float32]
    version: str = "A"
    beside: str | None = None
    replaced: str | None = None
    places: tuple[str, ...] = ()
    has_curve = True

    @property
    def groups(self) -> int:
        """Groups of channels with coefficients of their own."""
        return len(self.numerator)

    def values(self, x: Array) -> Array:
        """At ``x``, ``[points]``, of each group: ``[groups, points]``.

        Beside a function that has no name in the table it is P/Q alone.
        """
        points = torch.from_numpy(np.asarray(x, np.float64))
        rows = [
            rational(points, torch.from_numpy(a), torch.from_numpy(b), self.version).numpy()
            for a, b in zip(self.numerator, self.denominator, strict=True)
        ]
        name = find_known_name(self.beside)
        return np.stack(rows) + (FUNCTIONS[name](x) if name else 0.0)

    def first(self, x: Array) -> Array:
        """At ``x``, of the first group."""
        values: Array = self.values(x)[0]
        return values


@dataclass(frozen=True)
class ParametricSnapshot:
    """A learned function that is not rational.

    Attributes:
        act: with the values of its parameters.
        replaced: name of the fixed function that stood there before; None where that is not known.
        places: names of all modules that apply it, where several do.
    """

    act: LearnedActivation
    replaced: str | None = None
    places: tuple[str, ...] = ()
    beside: None = None

    @property
    def name(self) -> str:
        """Of its kind, in ``raft.functions.FUNCTIONS``."""
        return self.act.name

    @property
    def groups(self) -> int:
        """Groups of channels with coefficients of their own."""
        return self.act.groups

    @property
    def has_curve(self) -> bool:
        """Whether each output depends on its own input alone."""
        return self.act.is_elementwise

    def values(self, x: Array) -> Array:
        """At ``x``, ``[points]``, of each group: ``[groups, points]``."""
        return self.act.values(x)

    def first(self, x: Array) -> Array:
        """At ``x``, of the first group."""
        values: Array = self.values(x)[0]
        return values


FunctionSnapshot = Raf | ParametricSnapshot
"""One learned function at one step."""


@dataclass(frozen=True)
class Snapshot:
    """All learned functions of a model after a step, by site."""

    step: int
    rafs: Mapping[str, FunctionSnapshot]

    @property
    def places(self) -> dict[str, Sequence[str]]:
        """The modules that apply each function, by site, for :func:`label_sites`."""
        return {site: raf.places for site, raf in self.rafs.items()}


def read_snapshots(run: Path) -> list[Snapshot]:
    """What a run's ``rafs.safetensors`` holds, by step; nothing where it has none.

    Raises:
        InputError: for a file that cannot be read, or holds other things.
    """
    file = run / RAFS
    if not (file.exists() or file.is_symlink()):  # one that leads nowhere is damage
        return []
    return unstack_snapshots(file, *read_coefficients(file))


def unstack_snapshots(
    file: Path, snapshots: dict[str, Tensor], metadata: Mapping[str, str]
) -> list[Snapshot]:
    """The content of a ``rafs.safetensors`` by step.

    Args:
        file: for messages.
        snapshots: its tensors.
        metadata: the file's.

    Raises:
        InputError: where these are no snapshots.
    """
    steps = check_snapshots(file, snapshots)
    stacked = {name: values for name, values in snapshots.items() if name != STEPS}
    return [
        Snapshot(step, _make_rafs(file, {name: values[i] for name, values in stacked.items()}, metadata))
        for i, step in enumerate(steps)
    ]


def read_inputs(folder: Path) -> dict[str, InputHistogram]:
    """The histograms in a folder's ``inputs.json`` by site; none where there is no such file.

    Raises:
        InputError: for a file that holds other things.
    """
    file = folder / INPUTS
    if not file.is_file():
        return {}
    return parse_inputs(file, read_text(file))


def parse_inputs(file: Path, text: str) -> dict[str, InputHistogram]:
    """The histograms in a text of a file; raises as :func:`read_inputs` does."""
    what = "histograms of inputs"
    records = parse(file, text, json.loads, dict[str, HistogramRecord], what)
    try:
        return {site: InputHistogram.from_record(record) for site, record in records.items()}
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file} holds no {what}: {error}") from error


def thin(snapshots: Sequence[Snapshot], most: int) -> list[Snapshot]:
    """Keep at most ``most`` snapshots, evenly spaced, including the first and the last."""
    if len(snapshots) <= most:
        return list(snapshots)
    places = np.linspace(0, len(snapshots) - 1, most).round().astype(int)
    return [snapshots[place] for place in places]


def find_known_name(function: str | None) -> str | None:
    """Return the canonical name of a fixed function, None if it is unknown."""
    name = ALIASES.get(function or "", function)
    return name if name in FUNCTIONS else None


def sort_sites(sites: Iterable[str]) -> list[str]:
    """Sort sites by name, with numbers by value: layer 10 comes after layer 9."""
    return sorted(
        set(sites), key=lambda site: [part.zfill(9) if part.isdigit() else part for part in site.split(".")]
    )


def label_sites(models: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, str]:
    """A short name of each site, in their order: its layer, or the module that holds it; longer ones where
    these are not enough to tell sites apart. A function that several modules apply has those of them all.

    Args:
        models: the places of each model's functions by site, empty where only the site applies it.
    """
    places: dict[str, dict[tuple[str, ...], None]] = {}
    for model in models:
        for site, names in model.items():
            places.setdefault(site, {})[tuple(names) or (site,)] = None
    sites = sort_sites(places)
    for label in (_label_layers, lambda names: shorten_name(names[0])):
        labels = {site: " or ".join(map(label, places[site])) for site in sites}
        if len(set(labels.values())) == len(labels):
            return labels
    return {site: site for site in sites}


def _label_layers(places: Sequence[str]) -> str:
    layers = [re.findall(r"\.(\d+)(?=\.)", place) for place in places]
    kind = ", ".join(sorted({kind for place in places if (kind := input_kind(place))}))
    if len(places) == 1:
        if not layers[0]:
            return places[0].rpartition(".")[0].rpartition(".")[2] or places[0]
        label = f"layer {'.'.join(layers[0])}"
    elif all(len(numbers) == 1 for numbers in layers):
        label = f"layers {format_ranges(int(number) for (number,) in layers)}"
    else:
        label = f"{len(places)} places"
    return f"{label}, {kind}" if kind else label


def _make_rafs(
    file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> dict[str, FunctionSnapshot]:
    sites = [name.removesuffix(".numerator") for name in tensors if name.endswith(".numerator")]
    sites += [name.removesuffix(".function") for name in metadata if name.endswith(".function")]
    rafs: dict[str, FunctionSnapshot] = {}
    for site in sort_sites(sites):
        is_rational = f"{site}.function" not in metadata
        rafs[site] = (_make_rational if is_rational else _make_parametric)(file, site, tensors, metadata)
    if not rafs:
        raise InputError(f"{file} holds no coefficients of RAFs")
    return rafs


def _make_rational(file: Path, site: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Raf:
    version = metadata.get(f"{site}.version", "A")
    if version not in VERSIONS or f"{site}.denominator" not in tensors:
        raise InputError(f"{file} holds no whole RAF {site}")
    a, b = (torch.atleast_2d(tensors[f"{site}.{name}"]) for name in ("numerator", "denominator"))
    groups = max(len(a), len(b))
    if not a.numel() or not all(_are_coefficients(rows, groups) for rows in (a, b)):
        shapes = " over ".join(f"{rows.dtype} {tuple(rows.shape)}" for rows in (a, b))
        raise InputError(f"{file} holds no RAF {site}: {shapes}")
    numerator, denominator = (rows.float().expand(groups, -1).numpy() for rows in (a, b))
    beside, replaced = (metadata.get(f"{site}.{name}") for name in ("beside", "replaced"))
    return Raf(numerator, denominator, version, beside, replaced, _read_places(file, site, metadata))


def _make_parametric(
    file: Path, site: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> ParametricSnapshot:
    name = metadata[f"{site}.function"]
    settings = parse(
        file, metadata.get(f"{site}.settings", "{}"), json.loads, dict[str, Any], f"settings of {site}"
    )
    try:
        act = make(name, **{**settings, "init": None})  # a fit would take time for nothing
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{file} holds no {name} function at {site}: {first_line(error)}") from error
    with torch.no_grad():
        for kind, parameter in act.named_parameters():
            values = tensors.get(f"{site}.{kind}")
            if values is None or values.numel() != parameter.numel() or not values.is_floating_point():
                raise InputError(f"{file} holds no whole {name} function at {site}: {kind} is missing")
            parameter.copy_(values.reshape(parameter.shape))  # stacked ones have two axes or more
    return ParametricSnapshot(act, metadata.get(f"{site}.replaced"), _read_places(file, site, metadata))


def _read_places(file: Path, site: str, metadata: Mapping[str, str]) -> tuple[str, ...]:
    text = metadata.get(f"{site}.places", "[]")
    return tuple(parse(file, text, json.loads, list[str], f"places of {site}"))


def _are_coefficients(rows: Tensor, groups: int) -> bool:
    return rows.ndim == 2 and len(rows) in (1, groups) and rows.is_floating_point()
