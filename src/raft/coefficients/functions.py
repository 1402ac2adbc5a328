"""The classical activations by name, in float64 numpy: targets of fits, and references for their errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy  # whose parts are imported at their first use
import torch
from numpy.typing import NDArray

from raft.errors import suggest

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

FUNCTIONS: dict[str, Function] = {
    "gelu": lambda x: 0.5 * x * (1.0 + scipy.special.erf(x / np.sqrt(2.0))),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0.0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x * scipy.special.expit(x),
    "mish": lambda x: x * np.tanh(scipy.special.softplus(x)),
    "softplus": lambda x: scipy.special.softplus(x),
    "tanh": np.tanh,
    "sigmoid": lambda x: scipy.special.expit(x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "identity": lambda x: x,
    "relu2": lambda x: np.square(np.maximum(x, 0.0)),
    "leaky_relu2": lambda x: np.square(np.where(x > 0, x, 0.5 * x)),
}
"""Slopes, scales and shapes are torch.nn's defaults. The squared ReLU is of So et al. 2021, "Primer"; the
leaky one has the slope ½, and is a parabola on each side."""

ALIASES = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_python": "gelu",
    "swish": "silu",
    "linear": "identity",
}
"""Names of the same functions in transformers."""


def canonical_name(name: str) -> str:
    """The table's name of an activation; ``ValueError`` lists the known ones."""
    name = ALIASES.get(name, name)
    if name not in FUNCTIONS:
        close = suggest(name, [*FUNCTIONS, *ALIASES])
        raise ValueError(f"unknown activation {name!r}; known are {', '.join(FUNCTIONS)}{close}")
    return name


def signature_of(function: Callable[[torch.Tensor], torch.Tensor]) -> bytes | None:
    """A function's values at points near zero and far from it, as bytes: equal functions have equal ones.

    None where it is not elementwise, or cannot be called on the CPU.
    """
    values = _evaluate(function, _points())
    return None if values is None else values.tobytes()


def name_of(function: Callable[[torch.Tensor], torch.Tensor]) -> str | None:
    """The table's name of the function with the same values; None where it has none."""
    x = _points()
    values = _evaluate(function, x)
    if values is None:
        return None
    with np.errstate(over="ignore"):
        equal = (
            name for name, f in FUNCTIONS.items() if np.allclose(f(x.numpy()), values, rtol=1e-9, atol=1e-9)
        )
        return next(equal, None)


def _points() -> torch.Tensor:
    """Near zero and far from it: some functions are clipped."""
    near = torch.linspace(-12, 12, 385, dtype=torch.float64, device="cpu")
    far = torch.tensor([20.0, 50.0, 100.0, 1000.0], dtype=torch.float64, device="cpu")
    return torch.cat([-far, near, far])


@torch.no_grad()
def _evaluate(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Array | None:
    try:
        values = function(x.clone())  # it may work in place
    except Exception:  # it may have parameters on another device, or ask for another axis
        return None
    is_elementwise = isinstance(values, torch.Tensor) and values.shape == x.shape
    return values.double().numpy() if is_elementwise else None
