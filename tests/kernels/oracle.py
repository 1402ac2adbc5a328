"""The formulas written out power by power in extended precision, whose range no test's inputs leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

if np.finfo(np.longdouble).maxexp < 10_000:
    pytest.skip("needs a long double that is wider than double", allow_module_level=True)


@dataclass(frozen=True)
class Exact:
    """True values, and for each the same expression with every term replaced by its absolute value."""

    y: Array
    grad_x: Array
    grad_a: Array
    grad_b: Array
    grad_up: Array
    y_terms: Array
    grad_x_terms: Array
    grad_a_terms: Array
    grad_b_terms: Array
    grad_up_terms: Array


def exact(
    grad_output: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    up: Tensor | None = None,
) -> Exact:
    """Value and gradients of up P(x)/Q(x) for ``[rows, channels]`` and coefficients ``[groups, count]``."""
    a, b = (c.detach().double().numpy().astype(np.longdouble) for c in (numerator, denominator))
    groups, m, n = len(a), a.shape[1] - 1, b.shape[1]
    shape = (len(x), groups, x.shape[1] // groups)
    v, given, u = (
        t.detach().double().numpy().astype(np.longdouble).reshape(shape)
        for t in (x, grad_output, torch.ones_like(x) if up is None else up)
    )
    g = given * u

    def powers(count: int) -> list[Array]:
        return [v**k for k in range(count)]

    def sum_of(terms: list[Array]) -> Array:
        total: Array = sum(terms, np.zeros(shape, dtype=np.longdouble))
        return total

    xs = powers(max(m, n) + 1)
    p_terms = [a[:, k, None] * xs[k] for k in range(m + 1)]
    p_slopes = [k * a[:, k, None] * xs[k - 1] for k in range(1, m + 1)]
    s_terms = [b[:, k - 1, None] * xs[k] for k in range(1, n + 1)]
    s_slopes = [k * b[:, k - 1, None] * xs[k - 1] for k in range(1, n + 1)]
    p, s = sum_of(p_terms), sum_of(s_terms)
    if version == "A":
        q = 1 + sum_of([np.abs(t) for t in s_terms])
        s_slopes = [np.abs(t) * np.sign(v) for t in s_slopes]
        directions = [np.where(b[:, k - 1, None] < 0, -1, 1) * np.abs(xs[k]) for k in range(1, n + 1)]
    elif version == "N":
        q = 1 + s
        directions = xs[1 : n + 1]
    else:
        q = (0.1 if version == "C" else 1) + np.abs(s)
        s_slopes = [t * np.sign(s) for t in s_slopes]
        directions = [xs[k] * np.where(s < 0, -1, 1) for k in range(1, n + 1)]
    y = p / q
    y_terms = sum_of([np.abs(t) for t in p_terms]) / np.abs(q)
    slope_terms = sum_of([np.abs(t) for t in p_slopes]) + y_terms * sum_of([np.abs(t) for t in s_slopes])

    def summed(each: list[Array]) -> Array:
        return np.stack([t.sum(axis=(0, 2)) for t in each], axis=-1) if each else np.zeros((groups, 0))

    flat = (len(x), x.shape[1])
    return Exact(
        y=(u * y).reshape(flat),
        grad_x=(g * (sum_of(p_slopes) - y * sum_of(s_slopes)) / q).reshape(flat),
        grad_a=summed([g * xs[k] / q for k in range(m + 1)]),
        grad_b=summed([-g * y * d / q for d in directions]),
        grad_up=(given * y).reshape(flat),
        y_terms=(np.abs(u) * y_terms).reshape(flat),
        grad_x_terms=(np.abs(g) * slope_terms / np.abs(q)).reshape(flat),
        grad_a_terms=summed([np.abs(g * xs[k] / q) for k in range(m + 1)]),
        grad_b_terms=summed([np.abs(g) * y_terms * np.abs(d / q) for d in directions]),
        grad_up_terms=(np.abs(given) * y_terms).reshape(flat),
    )


def coefficients(
    groups: int, degrees: tuple[int, int], version: str, seed: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Coefficients of either sign, with terms of one size near 3 and −3; version N's have no poles."""
    generator = torch.Generator().manual_seed(seed)
    m, n = degrees
    a = torch.randn(groups, m + 1, generator=generator, dtype=torch.float64) / 3.0 ** torch.arange(m + 1)
    b = torch.randn(groups, n, generator=generator, dtype=torch.float64) / 3.0 ** torch.arange(1, n + 1)
    if version == "N":  # only even powers, all positive
        b = b.abs() * (torch.arange(1, n + 1) % 2 == 0)
    return a.to(dtype), b.to(dtype)


def present(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    """Those that are there."""
    return [tensor for tensor in tensors if tensor is not None]
