"""The highest degrees that coefficients may have."""

from __future__ import annotations

import pytest
import torch

import raft


@pytest.mark.parametrize(("terms", "count"), [(14, 12), (13, 13), (14, 0), (1, 13)])
def test_degrees_above_twelve_are_refused(terms: int, count: int) -> None:
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match="degrees must be from 0 to 12"):
            raft.rational(torch.ones(3), torch.ones(terms, dtype=dtype), torch.ones(count, dtype=dtype))


@pytest.mark.parametrize(("terms", "count"), [(13, 12), (1, 0), (13, 0), (1, 12)])
def test_degrees_from_zero_to_twelve_are_taken(terms: int, count: int) -> None:
    y = raft.rational(torch.ones(3), torch.ones(terms), torch.ones(count))
    torch.testing.assert_close(y, torch.full((3,), terms / (1 + count)))
