"""Variants of one pretraining, by name: an activation and what is set otherwise, ``raf:version=B``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from raft.bounds import BOUNDS, check_number
from raft.errors import InputError, suggest
from raft.functions.registry import FUNCTIONS, make
from raft.networks.config import RATIONAL
from raft.training.arguments import RaftTrainingArguments

RAF = "raf"
"""The activation that makes a model a RAFT; other learned functions have the names that ``raft.functions``
gives them, and every other name is a fixed function's."""

NEVER_TRAINED = "raf_learning_rate=0"
"""The setting of the control, whose learned functions stay as they begin."""

OF_RATIONAL = ("degrees", "version")
"""Settings that other learned functions do not have."""

GATED = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu", "raf_glu": RAF}
"""Gated feed-forward layers by name, and the activation of their gates; Shazeer, "GLU Variants Improve
Transformer", 2020."""

LEARNED = (RAF, *(name for name in FUNCTIONS if name != RATIONAL), *GATED)
"""What an activation can be beside the name of a fixed function."""


def _degrees(text: str) -> list[int]:
    numerator, denominator = text.split("/")
    return [int(numerator), int(denominator)]


def _names(text: str) -> list[str]:
    return text.split("+")


MODEL_SETTINGS: dict[str, Callable[[str], Any]] = {
    "raf_init": str,
    "raf_gain": float,
    "degrees": _degrees,
    "version": str,
    "raf_groups": int,
    "raf_sites": _names,
    "raf_shared": str,
}
TRAINING_SETTINGS: dict[str, Callable[[str], Any]] = {
    "learning_rate": float,
    "raf_learning_rate": float,
    "raf_weight_decay": float,
    "raf_lr_scheduler_type": str,
}
"""What may differ between variants, and how it is read; text, batches and sizes may not."""


def parse_variants(compared: str) -> list[str]:
    """Names with commas between them.

    Raises:
        InputError: where one is empty or there twice, or two would be trained in one folder.
    """
    names = [re.sub(r"\s*([:=/])\s*", r"\1", name.strip()) for name in compared.split(",")]
    if not all(names):
        raise InputError(f"--compare needs names with commas between them, not {compared!r}")
    seen: dict[tuple[str, str], str] = {}
    for name in names:
        meant = (parse_activation(name), repr(sorted(parse_settings(name).items())))
        if meant in seen:
            raise InputError(f"--compare needs different variants, not {seen[meant]} and {name}")
        seen[meant] = name
    folders: dict[str, str] = {}
    for name in names:
        other = folders.setdefault(folder_name(name, 0), name)
        if other != name:
            raise InputError(
                f"--compare: {other} and {name} would be trained in one folder: give their files other names"
            )
    return names


def split_gate(activation: str) -> tuple[str, bool]:
    """The function that is applied, and whether it gates: ``("silu", True)`` of ``"swiglu"``."""
    return GATED.get(activation, activation), activation in GATED


def learned_function(activation: str) -> str | None:
    """The learned function that an activation is, as a ``raf`` block names it; None for a fixed one."""
    function, _ = split_gate(activation)
    if function == RAF:
        return RATIONAL
    return function if function in FUNCTIONS and function != RATIONAL else None


def is_learned(name: str) -> bool:
    """Whether a variant of this name has learned activations."""
    return learned_function(parse_activation(name)) is not None


def parse_activation(name: str) -> str:
    """``"raf"`` of ``"raf:version=B"``."""
    return name.partition(":")[0]


def find_baseline(names: Sequence[str]) -> str | None:
    """The variant that the others are compared with: the first with a fixed activation."""
    return next((name for name in names if not is_learned(name)), None)


def folder_name(name: str, seed: int) -> str:
    """Of one run within a comparison's folder: ``raf-version-B-2022``."""
    without_folders = re.sub(r"(raf_init=)[^:]*/", r"\1", name)
    plain = re.sub(r"[^\w.+-]+", "-", without_folders)
    return f"{plain}-{seed}"


def parse_settings(name: str) -> dict[str, Any]:
    """``{"version": "B", "degrees": [3, 2]}`` of ``"raf:version=B:degrees=3/2"``.

    What belongs to one kind of function comes as ``raf_settings``: ``{"knots": 33}`` of
    ``"spline:knots=33"``, as JSON.

    Raises:
        InputError: for a setting that variants cannot differ in, or a value of another type.
    """
    function = learned_function(parse_activation(name))
    kinds = {**MODEL_SETTINGS, **TRAINING_SETTINGS}
    own: dict[str, Callable[[str], Any]] = {}
    if function not in (None, RATIONAL):
        kinds = {key: kind for key, kind in kinds.items() if key not in OF_RATIONAL}
        own = dict.fromkeys(set(make(function).settings()) - {"groups"}, json.loads)
    settings: dict[str, Any] = {}
    for setting in name.split(":")[1:]:
        key, equals, value = setting.partition("=")
        kind = {**kinds, **own}.get(key)
        if key in settings:
            raise InputError(f"--compare {name}: {key} is given twice")
        if kind is None or not equals or not value:
            known = [*kinds, *sorted(own)]
            raise InputError(
                f"--compare {name}: {setting!r} must be one of {', '.join(known)}, with its value: "
                f"raf:version=B{'' if kind else suggest(key, known)}"
            )
        try:
            settings[key] = kind(value)
            if key in BOUNDS:
                check_number(key, settings[key])
        except ValueError as error:
            raise InputError(f"--compare {name}: {key} cannot be {value!r}") from error
    if function is None and set(settings) - {"learning_rate"}:
        raise InputError(f"--compare {name}: only learning_rate can be set of a fixed activation")
    if of_function := {key: settings.pop(key) for key in sorted(own) if key in settings}:
        settings["raf_settings"] = json.dumps(of_function)
    return settings


def variant_arguments(arguments: RaftTrainingArguments, name: str, **others: Any) -> RaftTrainingArguments:
    """The training arguments of one variant's run.

    Raises:
        InputError: for a value that they do not take.
    """
    changed = {key: value for key, value in parse_settings(name).items() if key in TRAINING_SETTINGS}
    return replace(arguments, **others, **changed)
