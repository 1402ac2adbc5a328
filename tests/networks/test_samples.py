"""What a calibration keeps of the inputs that it sees."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from raft.networks import samples
from raft.networks.samples import InputSample


def test_samples_are_drawn_alike_from_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MAX_SAMPLES", 2000)
    sample = InputSample()
    sample.add(torch.tensor([[-50.0], [5000.0]]))
    for number in range(100):
        sample.add(torch.full((20, 30), float(number)))
    kept = sample.values()
    assert kept.numel() <= 2002
    assert (sample.count, sample.low, sample.high) == (60_002, -50.0, 5000.0)
    assert {-50.0, 5000.0} <= set(kept.tolist())  # however few were drawn
    inside = kept[(kept >= 0) & (kept < 100)]
    assert len(inside) > 900
    # what came early and what came late
    assert stats.chisquare(torch.histc(inside, 10, 0, 99).numpy()).pvalue > 1e-3


def test_inputs_that_are_not_finite_are_left_out() -> None:
    sample = InputSample()
    sample.add(torch.tensor([float("nan"), float("inf")]))
    assert sample.count == 0
    sample.add(torch.tensor([float("nan"), 1.0, -float("inf"), 3.0]))
    assert (sample.count, sample.low, sample.high) == (2, 1.0, 3.0)
    assert sorted(set(sample.values().tolist())) == [1.0, 3.0]
