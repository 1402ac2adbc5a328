"""The reference in chunks gives what it gives as a whole."""

from __future__ import annotations

import pytest
import torch

from raft.kernels import portable, reference
from tests.kernels.oracle import coefficients


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("is_gated", [False, True])
def test_chunks_are_joined_and_summed(groups: int, is_gated: bool) -> None:
    a, b = coefficients(groups, (5, 4), "A", 0, torch.float64)
    generator = torch.Generator().manual_seed(0)
    x, g, up = (
        torch.randn(2 * portable.CHUNK // 64 + 7, 64, generator=generator, dtype=torch.float64)
        for _ in range(3)
    )
    x[0, 0] = 1e30  # in one chunk powers overflow
    gate = up if is_gated else None
    torch.testing.assert_close(
        portable.forward(x, a, b, "A", gate), reference.forward(x, a, b, "A", gate), rtol=1e-12, atol=0
    )
    actual = portable.backward(g, x, a, b, "A", up=gate)
    expected = reference.backward(g, x, a, b, "A", gate)
    for mine, theirs in zip(actual, expected, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
