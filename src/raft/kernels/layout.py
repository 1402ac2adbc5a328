"""What every backend returns, and how it lies in memory: a compiler has to know it before the kernel runs."""

from __future__ import annotations

import torch
from torch import Tensor

Gradients = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]
"""Of the input, the numerator, the denominator, and the other factor of the gated form."""


def groups_of(coefficients: Tensor) -> int:
    """Groups of channels that coefficients ``[count]`` or ``[groups, count]`` are for."""
    return coefficients.shape[0] if coefficients.dim() == 2 else 1


def empty_output(x: Tensor, numerator: Tensor) -> Tensor:
    """A new tensor for the output, or for the gradient of ``x``.

    With one group it lies as ``x`` does (as for torch's own activations), with several it is contiguous.
    """
    return torch.empty_like(x) if groups_of(numerator) == 1 else x.new_empty(x.shape)
