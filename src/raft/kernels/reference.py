"""The rational function and its gradient in plain torch: any device, any floating dtype, the oracle of faster
kernels.

Both polynomials are evaluated by Horner's rule in float32 (in float64 where the input or a coefficient is
float64), and the result is rounded once, to the dtype of the input. Half-precision inputs get a numerator
summed in float64: beside a zero of P cancellation eats float32's spare digits, and the result would miss its
last place. The gradient is written out rather than traced: autograd would keep about twenty intermediate
tensors of the input's size alive, this keeps the input alone.

======= ================================ ================================
version  denominator Q(x), k = 1 … n      source
======= ================================ ================================
A        1 + Σ_k \\|b_k x^k\\|              Molina et al. 2020 (safe PAU)
B        1 + \\|Σ_k b_k x^k\\|              rational_activations
C        0.1 + \\|Σ_k b_k x^k\\|            rational_activations
D        B, coefficients noisy in training rational_activations
N        1 + Σ_k b_k x^k                  unsafe: may have poles
======= ================================ ================================
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Version = Literal["A", "B", "C", "D", "N"]
VERSIONS: tuple[str, ...] = get_args(Version)

CONSTANT_TERM = {"A": 1.0, "B": 1.0, "C": 0.1, "D": 1.0, "N": 1.0}
"""The constant term of each version's denominator."""


def horner(x: Tensor, coefficients: Tensor) -> Tensor:
    """``Σ_k coefficients[k] x^k`` for ``coefficients`` of shape ``[n]``, n ≥ 1."""
    value = torch.full_like(x, 1.0) * coefficients[-1]
    for k in range(coefficients.shape[0] - 2, -1, -1):
        value = torch.addcmul(coefficients[k], value, x)
    return value


def derivative(coefficients: Tensor) -> Tensor:
    """Coefficients of the derivative of ``Σ_k coefficients[k] x^k``."""
    if coefficients.shape[0] == 1:
        return torch.zeros_like(coefficients)
    powers = torch.arange(1, coefficients.shape[0], dtype=coefficients.dtype, device=coefficients.device)
    return coefficients[1:] * powers


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 where any tensor is float64, float32 otherwise."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def _denominator_sum(x: Tensor, denominator: Tensor, version: str) -> Tensor:
    """The sum over k in Q, before an absolute value is taken of it (version A takes it of each term)."""
    if denominator.shape[0] == 0:
        return torch.zeros_like(x)
    if version == "A":
        magnitude = x.abs()
        return magnitude * horner(magnitude, denominator.abs())
    return x * horner(x, denominator)


def forward(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
    """``P(x)/Q(x)`` in the dtype of ``x``.

    Args:
        x: any shape, floating.
        numerator: ``[m + 1]``, lowest power first.
        denominator: ``[n]``, the powers 1 … n.
        version: one of ``VERSIONS``; D is B here, its noise belongs to the module.
    """
    dtype = compute_dtype(x, numerator, denominator)
    value = x.to(dtype)
    total = _denominator_sum(value, denominator.to(dtype), version)
    if version in ("B", "C", "D"):
        total = total.abs()
    if x.dtype in (torch.bfloat16, torch.float16) and x.device.type != "mps":  # mps has no float64
        top = horner(x.to(torch.float64), numerator.to(torch.float64)).to(dtype)
    else:
        top = horner(value, numerator.to(dtype))
    return (top / (total + CONSTANT_TERM[version])).to(x.dtype)


def backward(
    grad_output: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, version: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``forward`` with respect to ``x``, ``numerator`` and ``denominator``.

    With g = grad_output / Q and h = −g P/Q, the gradients are g P' + h Q' for x, Σ g x^k for a_k, and Σ h
    ∂Q/∂b_k for b_k. Where an absolute value has its kink, a coefficient takes the derivative from above (so
    that one that starts at zero can move) and ``x`` takes zero (the mean of both sides).

    Returns:
        Gradients in the dtypes of their tensors; sums run in one fixed order on the CPU.
    """
    dtype = compute_dtype(x, numerator, denominator)
    value, a, b = x.to(dtype), numerator.to(dtype), denominator.to(dtype)
    degree = b.shape[0]

    inner = _denominator_sum(value, b, version)
    over_q = 1.0 / ((inner.abs() if version in ("B", "C", "D") else inner) + CONSTANT_TERM[version])
    g = grad_output.to(dtype) * over_q
    h = -g * horner(value, a) * over_q

    signed_h, base, b_slope = h, value, b
    if version == "A":
        base, b_slope = value.abs(), b.abs()
    elif version in ("B", "C", "D"):
        signed_h = torch.where(inner < 0, -h, h)

    grad_x = g * horner(value, derivative(a))
    if degree > 0:
        slope = horner(base, derivative(torch.cat([b_slope.new_zeros(1), b_slope])))
        if version == "A":
            slope = slope * value.sign()
        elif version in ("B", "C", "D"):
            slope = slope * inner.sign()
        grad_x = grad_x + h * slope

    grad_a = _power_sums(g, value, numerator.shape[0])
    grad_b = _power_sums(signed_h * base, base, degree)
    if version == "A":
        grad_b = torch.where(b < 0, -grad_b, grad_b)
    return grad_x.to(x.dtype), grad_a.to(numerator.dtype), grad_b.to(denominator.dtype)


def _power_sums(weights: Tensor, x: Tensor, count: int) -> Tensor:
    """``[Σ weights x^0, …, Σ weights x^(count − 1)]``."""
    if count == 0:
        return weights.new_zeros(0)
    term, sums = weights, [weights.sum()]
    for _ in range(count - 1):
        term = term * x
        sums.append(term.sum())
    return torch.stack(sums)
