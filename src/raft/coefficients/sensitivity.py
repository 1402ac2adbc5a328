"""Sensitivity of a rational function to each of its coefficients, over given inputs.

Adam changes every number by about the learning rate. The effect on the function depends on its inputs: where
they reach 20, as in many pretrained models, x⁵ turns a step of 5e-3 into a change by thousands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from raft.kernels import reference


@torch.no_grad()
def sensitivities(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str = "A", fixed: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Root mean square, over inputs, of the derivative with respect to each coefficient.

    With y = P/Q it is that of x^k/Q for a_k, and that of y x^k/Q for b_k.

    Args:
        x: ``[N]``, at least one.
        numerator: ``[m + 1]`` or ``[groups, m + 1]``.
        denominator: ``[n]`` or ``[groups, n]``.
        version: of the denominator.
        fixed: ``[N]``, values of a residual RAF's base function. Its P starts at zero and will not stay
            there, so y is taken to be the sum.

    Returns:
        Of the numerator and of the denominator, of their shapes, in float32 on the CPU.

    Example::

        >>> import torch, raft
        >>> from raft.coefficients import sensitivities
        >>> gelu = raft.Rational("gelu")
        >>> a, _ = sensitivities(torch.linspace(-20, 20, 1001), *gelu.coefficients())
        >>> bool(a[5] > 1000 * a[0])
        True
    """
    x = x.flatten().to("cpu", torch.float64)
    fixed = fixed.flatten().to(x) if isinstance(fixed, Tensor) else fixed
    a_rows = torch.atleast_2d(numerator.detach().to("cpu", torch.float64))
    b_rows = torch.atleast_2d(denominator.detach().to("cpu", torch.float64))
    of_numerator, of_denominator = [], []
    for a, b in zip(a_rows, b_rows, strict=True):
        inverse = reference.forward(x, torch.ones_like(a[:1]), b, version)  # 1/Q
        y = fixed + reference.forward(x, a, b, version)
        powers = x[:, None] ** torch.arange(max(len(a), len(b) + 1), device="cpu")
        of_numerator.append(_rms(powers[:, : len(a)] * inverse[:, None]))
        of_denominator.append(_rms(powers[:, 1 : len(b) + 1] * (y * inverse)[:, None]))
    return (
        torch.stack(of_numerator).reshape(numerator.shape).float(),
        torch.stack(of_denominator).reshape(denominator.shape).float(),
    )


def _rms(values: Tensor) -> Tensor:
    return values.square().mean(dim=0).sqrt()
