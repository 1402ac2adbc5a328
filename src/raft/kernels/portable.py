"""The reference where nothing faster is there: in chunks on CPUs, whole elsewhere.

A chunk's intermediate tensors stay in the cache, and torch sums so few elements in one thread, in one order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from raft.kernels import reference
from raft.kernels.layout import Gradients, empty_output, groups_of

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
    return _joined(parts, x, numerator)


def backward(
    grad_output: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    coefficients: bool = True,
    up: Tensor | None = None,
) -> Gradients:
    """Gradients; see ``reference.backward``. None for what is not wanted."""
    if x.device.type != "cpu":
        grad_x, grad_a, grad_b, grad_up = reference.backward(
            grad_output, x, numerator, denominator, version, up
        )
    else:
        chunks = [
            reference.backward(grad, part, numerator, denominator, version, up_part, is_near=_is_near(part))
            for part, grad, up_part in _chunks(numerator, x, grad_output, up)
        ]
        of_x, of_a, of_b, of_up = zip(*chunks, strict=True)
        grad_x = _joined(of_x, x, numerator)
        grad_a, grad_b = sum(of_a, x.new_zeros(())), sum(of_b, x.new_zeros(()))
        grad_up = None if up is None else _joined(of_up, x, numerator)
    if not coefficients:
        return grad_x, None, None, grad_up
    return grad_x, grad_a.to(numerator.dtype), grad_b.to(denominator.dtype), grad_up


def _joined(parts: Sequence[Any], x: Tensor, numerator: Tensor) -> Tensor:
    return empty_output(x, numerator).copy_(torch.cat(tuple(parts)).reshape(x.shape))


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
    # in float16 the border would be infinity
    return bool((x.abs().float() <= reference.NEAR[torch.float64]).all())
