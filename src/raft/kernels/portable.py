"""The reference where nothing faster is there: in chunks on CPUs, whole elsewhere.

A chunk's intermediate tensors stay in the cache, and torch sums so few elements in one thread, in one order.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from raft.kernels import reference
from raft.kernels.layout import empty_output, groups_of

CHUNK = 16_384


def runs_on(device_type: str) -> bool:
    """Everywhere."""
    return True


def forward(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    """``P(x)/Q(x)``, times ``up``; see ``reference.forward``."""
    if x.device.type != "cpu":
        return reference.forward(x, numerator, denominator, version, up)
    parts = [
        reference.forward(part, numerator, denominator, version, up_part, is_near=_is_near(part))
        for part, up_part in _chunks(numerator, x, up)
    ]
    return empty_output(x, numerator).copy_(torch.cat(parts).reshape(x.shape))


def backward(
    grad_output: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    coefficients: bool = True,
    up: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients; see ``reference.backward``. Empty tensors for what is not wanted."""
    if x.device.type != "cpu":
        grad_x, grad_a, grad_b, grad_up = reference.backward(
            grad_output, x, numerator, denominator, version, up
        )
    else:
        found = [
            reference.backward(grad, part, numerator, denominator, version, up_part, is_near=_is_near(part))
            for part, grad, up_part in _chunks(numerator, x, grad_output, up)
        ]
        grad_x, grad_up = (
            empty_output(x, numerator).copy_(torch.cat([parts[k] for parts in found]).reshape(x.shape))
            if k == 0 or up is not None
            else x.new_empty(0)
            for k in (0, 3)
        )
        grad_a, grad_b = (sum((parts[k] for parts in found), torch.zeros(())) for k in (1, 2))
    if not coefficients:
        return grad_x, numerator.new_empty(0), denominator.new_empty(0), grad_up
    return grad_x, grad_a.to(numerator.dtype), grad_b.to(denominator.dtype), grad_up


def _chunks(numerator: Tensor, x: Tensor, *others: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Parts of ``[rows, channels]``, or of the flat tensors where there is one group; None stays None."""
    shape, size = [-1], CHUNK
    if groups_of(numerator) > 1:
        channels = max(x.shape[-1], 1)
        shape, size = [x.numel() // channels, x.shape[-1]], max(1, CHUNK // channels)
    parts = torch.split(x.reshape(shape), size)
    rest = [
        repeat(None, len(parts)) if other is None else torch.split(other.reshape(shape), size)
        for other in others
    ]
    return zip(parts, *rest, strict=True)


def _is_near(x: Tensor) -> bool:
    return bool((x.abs() <= reference.NEAR[torch.float64]).all())
