"""The classical activations by name, in float64 numpy: what a fit is made of and measured against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf, expit, softplus

from raft.errors import nearest

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

FUNCTIONS: dict[str, Function] = {
    "gelu": lambda x: 0.5 * x * (1.0 + erf(x / np.sqrt(2.0))),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0.0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x * expit(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "softplus": softplus,
    "tanh": np.tanh,
    "sigmoid": expit,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "identity": lambda x: x,
}
"""Slopes, scales and shapes are torch.nn's defaults."""

ALIASES = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_python": "gelu",
    "swish": "silu",
    "linear": "identity",
}
"""Names that transformers gives to the same functions."""


def canonical_name(name: str) -> str:
    """The table's name of an activation; ``ValueError`` lists the known ones."""
    name = ALIASES.get(name, name)
    if name not in FUNCTIONS:
        close = nearest(name, [*FUNCTIONS, *ALIASES])
        raise ValueError(f"unknown activation {name!r}; known are {', '.join(FUNCTIONS)}{close}")
    return name


def signature_of(function: Callable[[torch.Tensor], torch.Tensor]) -> bytes | None:
    """A function of tensors as its values at some points, near zero and far: equal functions have equal ones.

    None for what is no function of single numbers, or cannot be called here.
    """
    near = torch.linspace(-12, 12, 385, dtype=torch.float64, device="cpu")
    far = torch.tensor([20.0, 50.0, 100.0, 1000.0], dtype=torch.float64, device="cpu")
    found = _values(function, torch.cat([-far, near, far]))
    return None if found is None else found.tobytes()


def name_of(function: Callable[[torch.Tensor], torch.Tensor]) -> str | None:
    """The table's name of a function of tensors, told by its values; None where it has none."""
    x = torch.linspace(-8, 8, 257, dtype=torch.float64, device="cpu")
    found = _values(function, x)
    if found is None:
        return None
    close = (name for name, known in FUNCTIONS.items() if np.abs(known(x.numpy()) - found).max() < 1e-9)
    return next(close, None)


@torch.no_grad()
def _values(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Array | None:
    try:
        found = function(x.clone())  # it may work in place
    except (RuntimeError, TypeError):  # it has parameters of another type or on another device
        return None
    is_function = isinstance(found, torch.Tensor) and found.shape == x.shape
    return found.double().numpy() if is_function else None
