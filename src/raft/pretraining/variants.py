"""Variants of one pretraining, by name: an activation and what is set otherwise, ``raf:version=B``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from raft.bounds import BOUNDS, check_number
from raft.errors import InputError, suggest
from raft.training.arguments import RaftTrainingArguments

RAF = "raf"
"""The activation that makes a model a RAFT; every other name is a fixed function's."""

GATED = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu", "raf_glu": RAF}
"""Gated feed-forward layers by name, and the activation of their gates; Shazeer, "GLU Variants Improve
Transformer", 2020."""


def _degrees(text: str) -> list[int]:
    numerator, denominator = text.split("/")
    return [int(numerator), int(denominator)]


MODEL_SETTINGS: dict[str, Callable[[str], Any]] = {
    "raf_init": str,
    "degrees": _degrees,
    "version": str,
    "raf_groups": int,
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
        InputError: where one is empty or there twice.
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
    return names


def is_raft(name: str) -> bool:
    """Whether a variant of this name has RAFs."""
    return split_gate(parse_activation(name))[0] == RAF


def split_gate(activation: str) -> tuple[str, bool]:
    """The function that is applied, and whether it gates: ``("silu", True)`` of ``"swiglu"``."""
    return GATED.get(activation, activation), activation in GATED


def parse_activation(name: str) -> str:
    """``"raf"`` of ``"raf:version=B"``."""
    return name.partition(":")[0]


def find_twin(names: Sequence[str]) -> str | None:
    """The variant that the others are compared with: the first with a fixed activation."""
    return next((name for name in names if not is_raft(name)), None)


def folder_name(name: str, seed: int) -> str:
    """Of one run within a comparison's folder: ``raf-version-B-2022``."""
    plain = re.sub(r"[^\w.+-]+", "-", name)
    return f"{plain}-{seed}"


def parse_settings(name: str) -> dict[str, Any]:
    """``{"version": "B", "degrees": [3, 2]}`` of ``"raf:version=B:degrees=3/2"``.

    Raises:
        InputError: for a setting that variants cannot differ in, or a value of another type.
    """
    settings: dict[str, Any] = {}
    for setting in name.split(":")[1:]:
        key, equals, value = setting.partition("=")
        kind = {**MODEL_SETTINGS, **TRAINING_SETTINGS}.get(key)
        if key in settings:
            raise InputError(f"--compare {name}: {key} is given twice")
        if kind is None or not equals or not value:
            known = ", ".join([*MODEL_SETTINGS, *TRAINING_SETTINGS])
            raise InputError(
                f"--compare {name}: {setting!r} must be one of {known}, with its value: raf:version=B"
                f"{'' if kind else suggest(key, [*MODEL_SETTINGS, *TRAINING_SETTINGS])}"
            )
        try:
            settings[key] = kind(value)
            if key in BOUNDS:
                check_number(key, settings[key])
        except ValueError as error:
            raise InputError(f"--compare {name}: {key} cannot be {value!r}") from error
    if not is_raft(name) and set(settings) - {"learning_rate"}:
        raise InputError(f"--compare {name}: only learning_rate can be set of a fixed activation")
    return settings


def variant_arguments(arguments: RaftTrainingArguments, name: str, **others: Any) -> RaftTrainingArguments:
    """The training arguments of one variant's run.

    Raises:
        InputError: for a value that they do not take.
    """
    changed = {key: value for key, value in parse_settings(name).items() if key in TRAINING_SETTINGS}
    return replace(arguments, **others, **changed)
