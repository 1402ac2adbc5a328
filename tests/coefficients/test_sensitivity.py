"""Sensitivities are what small changes of coefficients do to the function."""

from __future__ import annotations

import copy

import pytest
import torch

import raft
from raft.coefficients import sensitivities
from raft.modules import ResidualRational


@pytest.mark.parametrize("version", ["A", "B", "C", "N"])
@pytest.mark.parametrize("groups", [1, 2])
def test_sensitivities_are_those_of_small_changes(version: str, groups: int) -> None:
    torch.manual_seed(1)
    act = raft.Rational("gelu", (3, 2), version, groups)
    x = 3 * torch.randn(400, dtype=torch.float64)
    with torch.no_grad():
        act.numerator.add_(0.01 * torch.rand_like(act.numerator))
        act.denominator.copy_(0.1 + 0.1 * torch.rand_like(act.denominator))  # where Q has derivatives
    x = x if version == "A" else x.abs()
    wide = x[:, None].expand(-1, groups)
    for which, actual in enumerate(sensitivities(x, act.numerator, act.denominator, version)):
        assert actual.shape == (act.numerator, act.denominator)[which].shape
        for place in range(actual.numel()):
            higher, lower = (_moved(act, which, place, by)(wide) for by in (1e-3, -1e-3))
            slope = ((higher - lower)[:, place // actual.shape[-1]] / 2e-3).square().mean().sqrt()
            assert float(actual.flatten()[place]) == pytest.approx(float(slope), rel=1e-2)


@torch.no_grad()
def _moved(act: raft.Rational, which: int, place: int, by: float) -> raft.Rational:
    """A copy with one coefficient moved."""
    actual = copy.deepcopy(act)
    (actual.numerator, actual.denominator)[which].view(-1)[place] += by
    return actual.requires_grad_(False)


def test_a_raf_beside_a_function_counts_its_denominator_by_the_whole_value() -> None:
    act = ResidualRational(torch.nn.GELU(), raft.named_fit("gelu"))
    plain = raft.Rational("gelu")
    x = torch.linspace(-4, 4, 500)
    of_residual = sensitivities(x, act.numerator, act.denominator, fixed=torch.nn.functional.gelu(x))
    of_plain = sensitivities(x, plain.numerator, plain.denominator)
    for actual, expected in zip(of_residual, of_plain, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-2, atol=1e-3)
