"""Mark the ``config.json`` of a RAFT, so that ``transformers`` without raft does not load it as a FAFT.

In the file, the fields that name activations (or the dtype, where none does) say that raft is needed, and the
``raf`` block holds the originals. Without raft, building the model ends in an error that shows this text;
with raft, reading the file restores the originals. In memory a configuration always holds the originals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NEEDS_RAFT = "raft (install raft-transformers, then import raft before loading this model)"
ORIGINALS = "activations"
"""Key in the ``raf`` block: dotted path of a field to its value."""


def mark(config: dict[str, Any]) -> bool:
    """Mark the dictionary of a configuration in place; return whether it holds a ``raf`` block."""
    is_marked = False
    for holder in _iter_raf_holders(config):
        # where no field names an activation, as in BLOOM, the dtype is what every loader has to understand
        fields: dict[str, Any] = dict(activation_fields(holder))
        if not fields and not any(any(_iter_raf_holders(part)) for part in _parts(holder)):
            fields = {"dtype": holder.get("dtype")}
        holder["raf"] = {**holder["raf"], ORIGINALS: fields}
        for path in fields:
            _set(holder, path, NEEDS_RAFT)
        is_marked = True
    return is_marked


def unmark(config: dict[str, Any]) -> None:
    """Undo :func:`mark` in place; other dictionaries are left unchanged."""
    for holder in _iter_raf_holders(config):
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


def _iter_raf_holders(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The dictionaries that hold a ``raf`` block: a model's, or those of its parts."""
    if isinstance(config.get("raf"), dict):
        yield config
    for part in _parts(config):
        yield from _iter_raf_holders(part)


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for value in config.values() if isinstance(value, dict)]


def activation_fields(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted paths of the fields that name activations, and the names."""
    from transformers.activations import ACT2FN  # this module is imported while that one is

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
