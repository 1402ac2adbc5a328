"""What each RAF of a model has become since it began as a classical function; needs the model alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from raft.coefficients.functions import FUNCTIONS, Array, canonical_name
from raft.functional import rational
from raft.hf.config import RafConfig
from raft.hf.conversion import activation_name
from raft.hf.sites.input_activation import input_kind
from raft.modules import Rational, ResidualRational, SharedRational

POINTS = 1001


@dataclass(frozen=True)
class LearnedFunction:
    """One RAF beside the function that it began as.

    Attributes:
        site: dotted name of the module that holds the coefficients.
        places: names of all modules of the model that apply it, ``site`` first.
        degrees: (m, n) of numerator and denominator.
        version: form of the denominator.
        is_residual: whether it stands beside a fixed function; ``y`` is the sum of both.
        began_as: name of the function that it was fitted to, or that it stands beside.
        numerator: ``[groups, m + 1]``.
        denominator: ``[groups, n]``.
        x: inputs, ``[points]``.
        y: what the model has there, ``[groups, points]``.
        beginning: ``began_as`` at ``x``, ``[points]``.
    """

    site: str
    places: tuple[str, ...]
    degrees: tuple[int, int]
    version: str
    is_residual: bool
    began_as: str
    numerator: Array
    denominator: Array
    x: Array
    y: Array
    beginning: Array

    @property
    def groups(self) -> int:
        """Groups of channels with coefficients of their own."""
        return len(self.y)

    @property
    def rms(self) -> float:
        """Root mean square distance to the beginning, over ``x`` and the groups."""
        return float(np.sqrt(np.mean((self.y - self.beginning) ** 2)))

    @property
    def max(self) -> float:
        """Largest distance to the beginning."""
        return float(np.max(np.abs(self.y - self.beginning)))

    @property
    def low(self) -> float:
        """Smallest value."""
        return float(np.min(self.y))

    @property
    def high(self) -> float:
        """Largest value."""
        return float(np.max(self.y))

    def row(self) -> dict[str, Any]:
        """For a file: all but the points; None for a number that is not finite (a pole of version N)."""
        numbers = {name: getattr(self, name) for name in ("rms", "max", "low", "high")}
        return {
            "site": self.site,
            "places": list(self.places),
            "degrees": list(self.degrees),
            "version": self.version,
            "groups": self.groups,
            "residual": self.is_residual,
            "began_as": self.began_as,
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "numerator": self.numerator.tolist(),
            "denominator": self.denominator.tolist(),
        }


def learned_functions(
    model: PreTrainedModel, interval: tuple[float, float] = (-5.0, 5.0)
) -> list[LearnedFunction]:
    """The RAFs of a model, in its order, on evenly spaced points of ``interval``."""
    # read on the CPU and in float64, wherever and however the model lies
    x = torch.linspace(*interval, POINTS, dtype=torch.float64)
    learned = []
    for act, places in _find_places(model).items():
        numerator, denominator = (
            values.detach().cpu().reshape(act.groups, -1) for values in act.coefficients()
        )
        y = torch.stack([rational(x, a, b, act.version) for a, b in zip(numerator, denominator, strict=True)])
        name, function = get_start(model, act, places[0])
        began = function(x)
        learned.append(
            LearnedFunction(
                site=places[0],
                places=tuple(places),
                degrees=act.degrees,
                version=act.version,
                is_residual=isinstance(act, ResidualRational),
                began_as=name,
                numerator=numerator.double().numpy(),
                denominator=denominator.double().numpy(),
                x=x.numpy(),
                y=(y + began if isinstance(act, ResidualRational) else y).numpy(),
                beginning=began.numpy(),
            )
        )
    return learned


def _find_places(model: nn.Module) -> dict[Rational, list[str]]:
    places: dict[Rational, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Rational):
            places.setdefault(module, []).insert(0, name)
        elif isinstance(module, SharedRational) and isinstance(module.shared, Rational):
            places.setdefault(module.shared, []).append(name)
    return places


def get_start(model: nn.Module, act: Rational, site: str) -> tuple[str, Callable[[Tensor], Tensor]]:
    """What a RAF was fitted to, or stands beside, and its name; where nobody knows any more, its fit.

    A checkpoint holds what the coefficients are, not what a calibrated fit made of them at first.
    """
    config = _find_config(model, site)
    has_init = config is not None and config.init != "auto" and input_kind(site) is None
    if config is not None and has_init and not isinstance(act, ResidualRational):
        name = canonical_name(config.init)
        return name, lambda x: torch.from_numpy(FUNCTIONS[name](x.numpy()))
    if act.replaced:
        return activation_name(act), act.replaced[0]
    return "its fit", lambda x: torch.from_numpy(act.start(x.numpy()))


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
        column[0] if len(column) == 1 else f"{{{_format_ranges(sorted(map(int, column)))}}}"
        for column in columns
    )


def _format_ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
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
