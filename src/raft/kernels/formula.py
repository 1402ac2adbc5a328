"""The formulas in ordinary torch operations, for whoever cannot call a kernel: exporters, and comparisons.

In float32 (float64 for float64), without care for inputs whose powers overflow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from raft.kernels.layout import groups_of
from raft.kernels.reference import CONSTANT_TERM


def rational(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    """``P(x)/Q(x)``, times ``up``; arguments as a kernel takes them."""
    value = x if x.dtype == torch.float64 else x.float()
    groups = groups_of(numerator)
    if groups > 1:
        value = value.unflatten(-1, (groups, -1))
    base, b = (value.abs(), denominator.abs()) if version == "A" else (value, denominator)
    total = _horner(b, base) * base if b.shape[-1] else torch.zeros_like(base)
    if version in ("B", "C", "D"):
        total = total.abs()
    y = _horner(numerator, value) / (total + CONSTANT_TERM[version])
    y = y.flatten(-2) if groups > 1 else y
    return (y if up is None else y * up).to(x.dtype)


def _horner(coefficients: Tensor, x: Tensor) -> Tensor:
    def coefficient(k: int) -> Tensor:
        return coefficients[:, k, None] if coefficients.dim() == 2 else coefficients[k]

    value = coefficient(coefficients.shape[-1] - 1) + torch.zeros_like(x)
    for k in range(coefficients.shape[-1] - 2, -1, -1):
        value = value * x + coefficient(k)
    return value
