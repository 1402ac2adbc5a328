"""Fixed activations by name: those of ``transformers``, and those of raft that it lacks.

Its table is imported in the functions, as its import calls :func:`register`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial

from raft.coefficients.functions import ALIASES, FUNCTIONS
from raft.errors import suggest
from raft.modules import TORCH_FUNCTIONS

LEARNED = ("prelu", "xielu")
"""Names in ``ACT2FN`` of modules with parameters."""

_registered: set[str] = set()


def register() -> None:
    """Let ``transformers`` know raft's names, such as ``leaky_relu2``; its own stay what they are."""
    from transformers.activations import ACT2FN

    for name, function in TORCH_FUNCTIONS.items():
        if name not in ACT2FN:
            ACT2FN[name] = partial(copy.deepcopy, function)
            _registered.add(name)


def unregister() -> None:
    """Undo :func:`register`."""
    from transformers.activations import ACT2FN

    for name in _registered:
        ACT2FN.pop(name, None)
    _registered.clear()


def check_fixed_activation(name: str, others: Iterable[str] = ()) -> None:
    """Raise ``ValueError`` for a name that is not known, or that of a function with parameters.

    Args:
        name: of an activation.
        others: names that could have been meant, too.
    """
    from transformers.activations import ACT2FN

    if name in LEARNED:
        raise ValueError(f"{name} has parameters, and is no fixed activation")
    known = [*FUNCTIONS, *sorted({*ACT2FN} - {*FUNCTIONS, *ALIASES, *LEARNED}), *others]
    if name not in known and name not in ALIASES:
        close = suggest(name, [*known, *ALIASES])
        raise ValueError(f"unknown activation {name!r}; known are {', '.join(known)}{close}")
