"""The rational function and its gradient in plain torch: any device, any floating dtype, the oracle of the
faster kernels.

The versions of the denominator Q(x), k = 1 … n, and where they come from::

    A  1 + Σ_k |b_k x^k|    Molina et al. 2020 (safe PAU)
    B  1 + |Σ_k b_k x^k|    rational_activations
    C  0.1 + |Σ_k b_k x^k|  rational_activations
    D  B, coefficients noisy in training; the noise is the module's
    N  1 + Σ_k b_k x^k      unsafe: may have poles

Everything is evaluated in float64 (float32 on devices without it) and rounded once. Far from zero a power of
x overflows where P/Q is of moderate size; there the polynomials are evaluated in 1/x: with B = |x| in
version A and B = x elsewhere, P = x^m p(1/x) and Q = B^n q(1/B).

The gradient is written out rather than traced: autograd would keep dozens of intermediate tensors of the
input's size alive, this keeps the input alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Version = Literal["A", "B", "C", "D", "N"]
VERSIONS: tuple[str, ...] = get_args(Version)

CONSTANT_TERM = {"A": 1.0, "B": 1.0, "C": 0.1, "D": 1.0, "N": 1.0}
"""The constant term of each version's denominator."""

NEAR = {torch.float64: 2.0**16, torch.float32: 2.0}
"""Up to here no power of x, up to the twelfth, and no product of two of them comes near an overflow."""


def compute_dtype(device: torch.device) -> torch.dtype:
    """float64, but float32 where the device has nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def forward(
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    up: Tensor | None = None,
    *,
    is_near: bool = False,
) -> Tensor:
    """``P(x)/Q(x)`` in the dtype of ``x``; in the gated form times ``up``.

    Args:
        x: any shape, floating.
        numerator: ``[m + 1]`` or ``[groups, m + 1]``, lowest power first; the groups divide the last axis.
        denominator: ``[n]`` or ``[groups, n]``, the powers 1 … n.
        version: one of ``VERSIONS``; D is B here.
        up: of the shape and dtype of ``x``.
        is_near: the caller knows that no |x| is above ``NEAR``, which saves half of the work.
    """
    f = _Fraction.of(x, numerator, denominator, version, is_near)
    y = f.value(1.0 if up is None else up.to(f.x.dtype).reshape(f.x.shape))
    return y.to(x.dtype).reshape(x.shape)


def backward(
    grad_output: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    up: Tensor | None = None,
    *,
    is_near: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of ``forward`` with respect to ``x``, ``numerator``, ``denominator`` and ``up``.

    With y = P/Q they are g (P' − y Q')/Q for x, Σ g x^k/Q for a_k, and −Σ g y (∂Q/∂b_k)/Q for b_k; in the
    gated form with g up for g, and g y for up. Where an absolute value has its kink, a coefficient takes the
    derivative from above (so that one that starts at zero can move) and ``x`` takes zero (the mean of both
    sides).

    Returns:
        Those of ``x`` and ``up`` in the dtype of ``x``, None without ``up``; the coefficients' in the dtype
        that they are summed in.
    """
    f = _Fraction.of(x, numerator, denominator, version, is_near)
    grad = grad_output.to(f.x.dtype).reshape(f.x.shape)
    grad_up = None
    if up is not None:
        grad_up = f.value(grad).to(x.dtype).reshape(x.shape)
        grad = grad * up.to(f.x.dtype).reshape(f.x.shape)
    y = f.p / f.q
    grad_x = f.times_powers(grad * (f.p_slope - y * f.sign * f.q_slope) / f.q, f.m - 1, -f.n)
    over_q = grad / f.q
    h = -over_q * y * torch.where(f.sign < 0, -1.0, 1.0)
    grad_a = f.power_sums(over_q, 0, numerator.shape[-1], 0, -f.n)
    grad_b = f.power_sums(h, 1, denominator.shape[-1] + 1, f.m, -2 * f.n)
    if version == "A":
        grad_b = torch.where(denominator.reshape(grad_b.shape) < 0, -grad_b, grad_b)
    return (
        grad_x.to(x.dtype).reshape(x.shape),
        grad_a.reshape(numerator.shape),
        grad_b.reshape(denominator.shape),
        grad_up,
    )


@dataclass(frozen=True)
class _Fraction:
    """P/Q in parts of moderate size: near zero p = P and q = Q, far from it p = P/x^m and q = Q/B^n.

    Attributes:
        x: ``[rows, groups, channels]``.
        base: B, of its shape.
        far: where |x| is too large for P and Q; None where it is known to be so nowhere.
        m: degree of P without leading zeros, ``[groups, 1]``.
        n: that of Q.
        p: and the following, of the shape of ``x``.
        p_slope: P'; P'/x^(m−1) where ``x`` is far.
        q: above.
        q_slope: derivative of the sum in Q by ``x``; that over B^n/x where ``x`` is far.
        sign: of the sum in Q in versions B, C and D; 1 elsewhere.
    """

    x: Tensor
    base: Tensor
    far: Tensor | None
    m: Tensor
    n: Tensor
    p: Tensor
    p_slope: Tensor
    q: Tensor
    q_slope: Tensor
    sign: Tensor

    @classmethod
    def of(cls, x: Tensor, numerator: Tensor, denominator: Tensor, version: str, is_near: bool) -> _Fraction:
        dtype = compute_dtype(x.device)
        a, b = (c.to(dtype) if c.dim() == 2 else c.to(dtype).unsqueeze(0) for c in (numerator, denominator))
        groups = a.shape[0]
        channels = x.shape[-1] // groups if groups > 1 else x.numel()
        x = x.to(dtype).reshape(x.numel() // max(groups * channels, 1), groups, channels)
        far = None if is_near else ~(x.abs() <= NEAR[dtype])
        base = x.abs() if version == "A" else x
        # what is not far is divided by one, or autograd would multiply a zero by an infinity there
        z, w = x, base
        if far is not None:
            one = torch.ones_like(x)
            z, w = (torch.where(far, 1 / torch.where(far, v, one), v) for v in (x, base))

        b = torch.cat([b.new_zeros(groups, 1), b.abs() if version == "A" else b], dim=-1)
        m, n = _degree(a), _degree(b)
        total = _polynomial(b, b, n, w, far)
        sign = torch.ones_like(x)
        if version in ("B", "C", "D"):
            sign = total.sign()
            if far is not None:
                sign = torch.where(far & (x < 0) & (n % 2 != 0), -sign, sign)  # w of -inf is -0.0
        constant = torch.full_like(x, CONSTANT_TERM[version])
        if far is not None:
            constant = torch.where(far, constant * w.pow(n), constant)
        q_slope = _polynomial(_derivative(b), _times_k(b), n, w, far)
        if version == "A":  # the outer derivative of |x|
            outer = x.sign()
            q_slope = q_slope * (outer if far is None else torch.where(far, outer.abs(), outer))
        p_slope = _polynomial(_derivative(a), _times_k(a), m, z, far)
        p = _polynomial(a, a, m, z, far)
        return cls(x, base, far, m, n, p, p_slope, constant + sign * total, q_slope, sign)

    def value(self, factor: Tensor | float) -> Tensor:
        """P(x)/Q(x), times a factor."""
        return self.times_powers(self.p / self.q * factor, self.m, -self.n)

    def times_powers(self, value: Tensor, i: Tensor | int, j: Tensor | int) -> Tensor:
        """``value`` x^i B^j where ``x`` is far, ``value`` elsewhere; neither power is formed alone.

        Zero stays zero, whatever the powers.
        """
        if self.far is None:
            return value
        exponent = torch.as_tensor(i + j, dtype=self.x.dtype, device=self.x.device)
        magnitude = torch.where(self.far, self.x.abs(), torch.ones_like(self.x))
        most = torch.finfo(self.x.dtype).max ** (0.5 / exponent.abs().clamp(min=1))
        powers = torch.where(value == 0, torch.minimum(magnitude, most), magnitude).pow(exponent)
        is_odd = torch.as_tensor((i if self.base is not self.x else i + j) % 2 != 0, device=self.x.device)
        return torch.where(self.far & (self.x < 0) & is_odd, -value, value) * powers

    def power_sums(self, weights: Tensor, first: int, last: int, i: Tensor | int, j: Tensor) -> Tensor:
        """Σ weights x^i B^(k + j) for k = first … last − 1, near zero without i and j.

        In the numerator's gradient, first = 0, the powers are those of ``x``: x^k B^j.

        Returns:
            ``[groups, last − first]``.
        """
        variable = self.x if first == 0 else self.base
        near = weights if self.far is None else torch.where(self.far, 0.0, weights)
        inside = variable if self.far is None else torch.where(self.far, 0.0, variable)
        sums = []
        term = near * inside**first
        for k in range(first, last):
            total = term.sum(dim=(0, 2))
            if self.far is not None:
                exponents = (k, j) if first == 0 else (i, k + j)
                terms = torch.where(self.far, self.times_powers(weights, *exponents), 0.0)
                total = total + terms.sum(dim=(0, 2))
            sums.append(total)
            term = term * inside
        return torch.stack(sums, dim=-1) if sums else weights.new_zeros(self.m.shape[0], 0)


def _degree(coefficients: Tensor) -> Tensor:
    """Highest power whose coefficient is not zero, of each row, ``[groups, 1]``."""
    powers = torch.arange(coefficients.shape[-1], device=coefficients.device)
    return torch.where(coefficients != 0, powers, 0).amax(dim=-1, keepdim=True)


def _times_k(coefficients: Tensor) -> Tensor:
    powers = torch.arange(coefficients.shape[-1], dtype=coefficients.dtype, device=coefficients.device)
    return coefficients * powers


def _derivative(coefficients: Tensor) -> Tensor:
    """Of each row's polynomial, with a zero at the end."""
    return torch.cat([_times_k(coefficients)[:, 1:], torch.zeros_like(coefficients[:, :1])], dim=-1)


def _polynomial(near: Tensor, reverse: Tensor, degree: Tensor, z: Tensor, far: Tensor | None) -> Tensor:
    """Σ_k near_k z^k by Horner's rule, and Σ_k reverse_k z^(degree − k) where ``far``."""
    powers = torch.arange(near.shape[-1], device=near.device)
    places = degree - powers
    reversed_ = torch.where(places >= 0, reverse.gather(-1, places.clamp(min=0)), 0.0)

    def coefficient(k: int) -> Tensor:
        return near[:, k, None] if far is None else torch.where(far, reversed_[:, k, None], near[:, k, None])

    value = torch.zeros_like(z) + coefficient(near.shape[-1] - 1)
    for k in range(near.shape[-1] - 2, -1, -1):
        value = torch.addcmul(coefficient(k), value, z)
    return value
