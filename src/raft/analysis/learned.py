"""What each learned function of a model has become since its start; needs the model alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from raft.coefficients.fitting import as_numpy_function
from raft.coefficients.functions import FUNCTIONS, Array, Function, canonical_name
from raft.functions.registry import make
from raft.hf.sites.input_activation import input_kind
from raft.learned_activation import LearnedActivation, find_places
from raft.modules import Rational
from raft.networks.build import DEFAULT_START, activation_name
from raft.networks.config import AUTO, DEFAULT, RafConfig

POINTS = 1001


@dataclass(frozen=True)
class LearnedFunction:
    """One learned function beside the function that it began as.

    A function that is not elementwise (PolyNorm) has no curve: ``x``, ``y`` and ``beginning`` have no points,
    and the distances are NaN.

    Attributes:
        site: dotted name of the module that holds the coefficients.
        places: names of all modules of the model that apply it, ``site`` first.
        kind: of function, in ``raft.functions.FUNCTIONS``.
        settings: what builds another of its kind; degrees, version and groups of a rational one.
        is_residual: whether it stands beside a fixed function; ``y`` is the sum of both.
        began_as: name of the function that it was fitted to, or that it stands beside.
        coefficients: by name, ``[groups, coefficients]``, such as ``numerator`` and ``denominator``.
        x: inputs, ``[points]``.
        y: what the model has there, ``[groups, points]``.
        beginning: ``began_as`` at ``x``, ``[points]``.
    """

    site: str
    places: tuple[str, ...]
    kind: str
    settings: Mapping[str, Any]
    is_residual: bool
    began_as: str
    coefficients: Mapping[str, Array]
    x: Array
    y: Array
    beginning: Array

    @property
    def groups(self) -> int:
        """Groups of channels with coefficients of their own."""
        return len(self.y)

    @property
    def has_curve(self) -> bool:
        """Whether each output depends on its own input alone."""
        return self.y.size > 0

    @property
    def rms(self) -> float:
        """Root mean square distance to the beginning, over ``x`` and the groups."""
        return float(np.sqrt(np.mean((self.y - self.beginning) ** 2))) if self.has_curve else math.nan

    @property
    def max(self) -> float:
        """Largest distance to the beginning."""
        return float(np.max(np.abs(self.y - self.beginning))) if self.has_curve else math.nan

    @property
    def low(self) -> float:
        """Smallest value."""
        return float(np.min(self.y)) if self.has_curve else math.nan

    @property
    def high(self) -> float:
        """Largest value."""
        return float(np.max(self.y)) if self.has_curve else math.nan

    def row(self) -> dict[str, Any]:
        """For a file: all but the points; None for a number that is not finite (a pole of version N)."""
        numbers = {name: getattr(self, name) for name in ("rms", "max", "low", "high")}
        return {
            "site": self.site,
            "places": list(self.places),
            "function": self.kind,
            **self.settings,
            "residual": self.is_residual,
            "began_as": self.began_as,
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            **{name: rows.tolist() for name, rows in self.coefficients.items()},
        }


def learned_functions(
    model: PreTrainedModel, interval: tuple[float, float] = (-5.0, 5.0)
) -> list[LearnedFunction]:
    """The learned functions of a model, in its order, on evenly spaced points of ``interval``."""
    learned = []
    for act, places in find_places(model).items():
        # read on the CPU and in float64, wherever and however the model lies
        x = np.linspace(*interval, POINTS) if act.is_elementwise else np.empty(0)
        name, function = get_start(model, act, places[0])
        learned.append(
            LearnedFunction(
                site=places[0],
                places=tuple(places),
                kind="rational" if isinstance(act, Rational) else act.name,
                settings=act.settings(),
                is_residual=is_residual(act),
                began_as=name,
                coefficients=_read_coefficients(act),
                x=x,
                y=act.values(x) if act.is_elementwise else np.empty((act.groups, 0)),
                beginning=function(x),
            )
        )
    return learned


def is_residual(act: LearnedActivation) -> bool:
    """Whether it is added to a fixed function."""
    return isinstance(act, Rational) and act.is_residual


def _read_coefficients(act: LearnedActivation) -> dict[str, Array]:
    names = (name for name, _ in act.named_parameters())
    return {
        name: values.detach().to("cpu", torch.float64).reshape(act.groups, -1).numpy()
        for name, values in zip(names, act.coefficients(), strict=True)
    }


def get_start(model: nn.Module, act: LearnedActivation, site: str) -> tuple[str, Function]:
    """What a function was fitted to, or stands beside, and its name; where nobody knows any more, or it was
    to start as its source has it, its start.

    A checkpoint holds what the coefficients are, not what a calibrated fit made of them at first.
    """
    config = _find_config(model, site)
    if config is not None and config.has_found(act):
        return "the found function", _own_start(act)
    init = AUTO if config is None or is_residual(act) or input_kind(site) else config.init
    if not isinstance(init, str):  # it has functions for other kinds of sites
        init = AUTO
    if init == DEFAULT and isinstance(act, Rational):
        init = DEFAULT_START
    if init not in (AUTO, DEFAULT):
        name = canonical_name(init)
        return name, FUNCTIONS[name]
    if init == AUTO and act.replaced:
        return activation_name(act), as_numpy_function(act.replaced[0])
    return "its fit" if isinstance(act, Rational) else "its start", _own_start(act)


def _own_start(act: LearnedActivation) -> Function:
    if isinstance(act, Rational):
        return act.start
    if not act.is_elementwise:
        return lambda x: x
    start = make(act.name, **act.settings())
    start.load_state_dict(act.initial_state())
    return lambda x: start.values(x)[0]


def _find_config(model: nn.Module, site: str) -> RafConfig | None:
    """The ``raf`` block that the module was made by: a model's parts can have their own."""
    module, block = model, None
    for part in (None, *site.split(".")):
        module = module if part is None else getattr(module, part)
        config = getattr(module, "config", None)
        block = (RafConfig.of(config) if config is not None else None) or block
    return block


def join_names(names: Sequence[str]) -> str:
    """Names that differ in numbers alone as one: ``layer.{0-5}.act``; any others in a row."""
    split = [name.split(".") for name in names]
    if len({len(parts) for parts in split}) != 1:
        return ", ".join(names)
    columns = [list(dict.fromkeys(column)) for column in zip(*split, strict=True)]
    is_whole = math.prod(len(column) for column in columns) == len(set(names))
    if not is_whole or any(len(column) > 1 and not all(map(str.isdecimal, column)) for column in columns):
        return ", ".join(names)
    return ".".join(
        column[0] if len(column) == 1 else f"{{{format_ranges(map(int, column))}}}" for column in columns
    )


def format_ranges(numbers: Iterable[int]) -> str:
    """Whole numbers, in order and each once: ``0-3,5``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def shorten_name(site: str) -> str:
    """A site by its numbered layer, or by the module that holds it: ``encoder.layer.0``, ``pooler``.

    A site before projections has its kind, too: ``encoder.layer.0.attention_input``.
    """
    numbered = re.match(r"(.*\.(?:\d+|\{[^}]*\}))\.", site)
    if numbered is None:
        return site.rpartition(".")[0] or site
    kind = input_kind(site)
    return f"{numbered.group(1)}.{kind}" if kind else numbered.group(1)


def shorten_names(sites: Sequence[str]) -> dict[str, str]:
    """Short names of sites, without the words that all begin with: ``layer.0``; whole where these collide."""
    short = [shorten_name(site).split(".") for site in sites]
    columns = list(zip(*short, strict=False))
    alike = [len(set(column)) == 1 for column in columns]
    shared = alike.index(False) if False in alike and len(short) > 1 else 0
    if shared and all(word.isdigit() for word in columns[shared]):
        shared -= 1  # the word before a number tells what is counted
    names = [".".join(words[shared:]) for words in short]
    return dict(zip(sites, names if len(set(names)) == len(names) else sites, strict=True))
