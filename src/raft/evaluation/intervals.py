"""95 % intervals over the items of a test; another seed of the training gives another model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2000
Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval, without bounds where it is of a single item."""

    value: float
    low: float | None
    high: float | None

    def map(self, function: Callable[[float], float]) -> Estimate:
        """Apply an increasing function to the number and to the bounds."""
        bounds = (None if bound is None else float(function(bound)) for bound in (self.low, self.high))
        return Estimate(float(function(self.value)), *bounds)


def estimate_share(outcomes: NDArray[np.float64]) -> Estimate:
    """A share of right answers, with Wilson's interval.

    Args:
        outcomes: ``[N]``, 1 for a right answer, 0 for a wrong one, 0.5 for a tie.

    Source: Wilson 1927.
    """
    count, share = len(outcomes), float(outcomes.mean())
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return Estimate(share, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def estimate_mean_over(groups: Sequence[NDArray[np.float64]]) -> Estimate:
    """The mean over groups of their means, with a bootstrap interval over the items within each group.

    Args:
        groups: values of few kinds, as outcomes of items or their differences.
    """
    mean = float(np.mean([group.mean() for group in groups]))
    if all(len(group) == 1 for group in groups):
        return Estimate(mean, None, None)
    random = np.random.default_rng(0)
    means = np.zeros(RESAMPLES)
    for group in groups:
        values, counts = np.unique(group, return_counts=True)
        # so many items of each value are in a sample of as many items as the group has
        drawn = random.multinomial(len(group), counts / len(group), size=RESAMPLES)
        means += drawn @ values / len(group)
    low, high = np.quantile(means / len(groups), [0.025, 0.975])
    return Estimate(mean, float(low), float(high))


def estimate_ratio(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> Estimate:
    """A mean over all parts of items, such as tokens of documents, with a bootstrap interval over items.

    Args:
        sums: ``[N]``, of an item's parts.
        sizes: ``[N]``, how many parts; items without any do not count.
    """
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    if len(sums) == 1:
        return Estimate(float(sums[0] / sizes[0]), None, None)
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(sums), size=len(sums))
        ratios.append(sums[drawn].sum() / sizes[drawn].sum())
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(float(sums.sum() / sizes.sum()), float(low), float(high))
