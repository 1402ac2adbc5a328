"""The reference where nothing faster is there: in chunks on CPUs, whole elsewhere.

A chunk's intermediate tensors stay in the cache, and torch sums so few elements in one thread, in one order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from raft.kernels import reference
from raft.kernels.layout import empty_output, groups_of

CHUNK = 16_384


def runs_on(device_type: str) -> bool:
    """Everywhere."""
    return True


def forward(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
    """``P(x)/Q(x)``; see ``reference.forward``."""
    if x.device.type != "cpu":
        return reference.forward(x, numerator, denominator, version)
    parts = [
        reference.forward(part, numerator, denominator, version, is_near=_is_near(part))
        for part in _chunks(x, numerator)
    ]
    return empty_output(x, numerator).copy_(torch.cat(parts).reshape(x.shape))


def backward(
    grad_output: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    coefficients: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients; see ``reference.backward``. Empty tensors for the coefficients where they are not wanted."""
    if x.device.type != "cpu":
        grad_x, grad_a, grad_b = reference.backward(grad_output, x, numerator, denominator, version)
    else:
        chunks = zip(_chunks(grad_output, numerator), _chunks(x, numerator), strict=True)
        found = [
            reference.backward(grad, part, numerator, denominator, version, is_near=_is_near(part))
            for grad, part in chunks
        ]
        grad_x = empty_output(x, numerator).copy_(torch.cat([parts[0] for parts in found]).reshape(x.shape))
        grad_a, grad_b = (sum((parts[k] for parts in found), torch.zeros(())) for k in (1, 2))
    if not coefficients:
        return grad_x, numerator.new_empty(0), denominator.new_empty(0)
    return grad_x, grad_a.to(numerator.dtype), grad_b.to(denominator.dtype)


def _chunks(x: Tensor, numerator: Tensor) -> tuple[Tensor, ...]:
    """Parts of ``[rows, channels]``, or of the flat tensor where there is one group."""
    if groups_of(numerator) == 1:
        return torch.split(x.reshape(-1), CHUNK)
    channels = x.shape[-1]
    rows = x.numel() // max(channels, 1)
    return torch.split(x.reshape(rows, channels), max(1, CHUNK // max(channels, 1)))


def _is_near(x: Tensor) -> bool:
    return bool((x.abs() <= reference.NEAR[torch.float64]).all())
