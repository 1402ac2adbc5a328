"""The rational function as an operation on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from raft.kernels import reference


class _Rational(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator)
        ctx.version = version
        return reference.forward(x, numerator, denominator, version)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, numerator, denominator = ctx.saved_tensors
        return (*reference.backward(grad_outputs[0], x, numerator, denominator, ctx.version), None)


def check_version(version: str) -> None:
    """Raise ``ValueError`` unless ``version`` is one of A, B, C, D, N."""
    if version not in reference.VERSIONS:
        raise ValueError(f"version must be one of {', '.join(reference.VERSIONS)}, not {version!r}")


def rational(x: Tensor, numerator: Tensor, denominator: Tensor, version: str = "A") -> Tensor:
    r"""Apply a rational function to every element of ``x``.

    .. math:: y = P(x)/Q(x), \quad P(x) = \sum_{k=0}^{m} a_k x^k, \quad Q(x) = 1 + \sum_{k=1}^{n} |b_k x^k|

    for version A; B is :math:`Q = 1 + |\sum_k b_k x^k|`, C is :math:`Q = 0.1 + |\sum_k b_k x^k|`, D is B (the
    module adds its noise), and N is :math:`Q = 1 + \sum_k b_k x^k`, which may have poles.

    Computed in float32, in float64 where ``x`` or a coefficient is float64; differentiable twice. An input so
    large that its highest power overflows that type gives NaN (|x| > 4e7 at degrees (5, 4) in float32).

    Args:
        x: floating, any shape and device.
        numerator: ``[m + 1]``, the coefficients :math:`a_0 … a_m`.
        denominator: ``[n]``, the coefficients :math:`b_1 … b_n`; empty for a polynomial.
        version: the denominator's form.

    Returns:
        A tensor of the shape, dtype and device of ``x``.

    Raises:
        ValueError: for an unknown version or coefficients of a wrong shape.
        TypeError: for an ``x`` that is not floating.

    Source: Molina, Schramowski and Kersting, "Padé Activation Units", ICLR 2020, equations 2 and 3.

    Example::

        >>> import torch, raft
        >>> raft.rational(torch.tensor([-1.0, 2.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0]))
        tensor([-0.5000,  0.6667])
    """
    check_version(version)
    if numerator.dim() != 1 or numerator.shape[0] == 0 or denominator.dim() != 1:
        raise ValueError(
            "numerator must have shape [m + 1] and denominator [n], "
            f"not {list(numerator.shape)} and {list(denominator.shape)}"
        )
    if not x.is_floating_point():
        raise TypeError(f"x must be a floating tensor, not {x.dtype}")
    y: Tensor = _Rational.apply(x, numerator, denominator, version)
    return y
