"""Differences between a RAFT and its FAFT, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """A difference and its 95 % interval."""

    mean: float
    low: float
    high: float


def over_seeds(raft: Sequence[float], faft: Sequence[float]) -> Difference:
    """Mean paired difference, with Student's interval over seeds.

    Args:
        raft: one score a seed, at least two.
        faft: the twin's scores of the same seeds.
    """
    difference = np.subtract(raft, faft)
    mean = float(difference.mean())
    if np.ptp(difference) == 0:
        return Difference(mean, mean, mean)
    interval = stats.ttest_rel(raft, faft).confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high))


def over_sequences(
    raft_sums: NDArray[np.float64], faft_sums: NDArray[np.float64], counts: NDArray[np.int64]
) -> Difference:
    """Difference of mean losses, with a bootstrap interval over validation sequences.

    It tells how well the validation text measures these two models; another seed gives other models.

    Args:
        raft_sums: ``[N]`` summed loss of each sequence.
        faft_sums: ``[N]``, of the twin.
        counts: ``[N]`` predicted tokens of each sequence.
    """
    difference = raft_sums - faft_sums
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(counts), size=(RESAMPLES, len(counts)))
    means = difference[drawn].sum(axis=1) / np.maximum(counts[drawn].sum(axis=1), 1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(float(difference.sum() / counts.sum()), float(low), float(high))
