"""What ``config.json`` says of a RAFT: enough that no ``transformers`` without raft takes it for a FAFT.

In the file, the fields that name activations (or the dtype, where none does) say that raft is needed, and the
originals stand in the ``raf`` block. Building such a model without raft ends in an error that shows this
text; with raft the originals are put back when the file is read. In memory a configuration always holds the
originals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers.activations import ACT2FN

NEEDS_RAFT = "raft (pip install raft-transformers, then import raft before loading this model)"
ORIGINALS = "activations"
"""Key in the ``raf`` block: dotted path of a field to its value."""


def mark(config: dict[str, Any]) -> bool:
    """Change the dictionary of a configuration to what is written; whether there was anything to change."""
    is_marked = False
    for holder in _with_raf(config):
        # where no field names an activation, as in BLOOM, the dtype is what every loader has to understand
        fields: dict[str, Any] = dict(activation_fields(holder))
        if not fields and not any(any(_with_raf(part)) for part in _parts(holder)):
            fields = {"dtype": holder.get("dtype")}
        holder["raf"] = {**holder["raf"], ORIGINALS: fields}
        for path in fields:
            _set(holder, path, NEEDS_RAFT)
        is_marked = True
    return is_marked


def unmark(config: dict[str, Any]) -> None:
    """Change a dictionary back to what it was before ``mark``; others stay as they are."""
    for holder in _with_raf(config):
        raf = dict(holder["raf"])
        originals = raf.pop(ORIGINALS, {})
        for path, value in originals.items() if isinstance(originals, dict) else ():
            try:
                _set(holder, path, value)
            except (KeyError, TypeError) as error:
                raise ValueError(
                    f"the raf block names an activation {path!r}, which the configuration lacks"
                ) from error
        holder["raf"] = raf


def _with_raf(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The dictionaries that hold a ``raf`` block: a model's, or those of its parts."""
    if isinstance(config.get("raf"), dict):
        yield config
    for part in _parts(config):
        yield from _with_raf(part)


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for value in config.values() if isinstance(value, dict)]


def activation_fields(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted paths of the fields that name activations, and the names."""
    for key, value in config.items():
        if isinstance(value, dict) and key != "raf" and not isinstance(value.get("raf"), dict):
            yield from activation_fields(value, f"{prefix}{key}.")
        is_named = isinstance(value, str) and value.removeprefix("gated-") in ACT2FN
        if is_named and ("act" in key or key == "feed_forward_proj"):
            yield prefix + key, value


def _set(config: dict[str, Any], path: str, value: Any) -> None:
    *parts, last = path.split(".")
    for part in parts:
        config = config[part]
    config[last] = value
    if value is None:
        del config[last]
