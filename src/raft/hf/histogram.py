"""Histograms of the inputs of RAFs: quantiles and densities of any number of inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raft.hf.calibration import Calibration, run_over
from raft.learned_activation import learned_activations
from raft.networks.recording import record_inputs

Array = NDArray[np.float64]

BINS = 2048
FARTHEST = float(np.arcsinh(1e6))
EDGES: Array = np.sinh(np.linspace(-FARTHEST, FARTHEST, BINS + 1))
"""Evenly spaced in arsinh(x): bins are 0.014 wide around zero, and 1.4 % of x far from it."""
SMOOTHING = 50
"""A density is a mean over windows of this fraction of the central range."""


TAIL = 0.0005
"""The share of the inputs, on either side, that a range leaves out."""


@dataclass(frozen=True)
class HistogramRecord:
    """A histogram as a file holds it.

    Attributes:
        low: the smallest input.
        high: the largest.
        first: the first bin that is not empty.
        counts: of the bins from the first on.
    """

    low: float
    high: float
    first: int
    counts: list[int]


@dataclass
class InputHistogram:
    """A histogram of inputs, with the same bins for all RAFs, so that counts can be added.

    Attributes:
        counts: ``[BINS]``, of the bins between ``EDGES``; the outermost include inputs beyond ±1e6.
        low: the smallest input.
        high: the largest.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    low: float = float("inf")
    high: float = float("-inf")

    @property
    def total(self) -> int:
        """The number of inputs."""
        return int(self.counts.sum())

    def update(self, other: InputHistogram) -> None:
        """Add the counts of another histogram."""
        self.counts += other.counts
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @torch.no_grad()
    def add(self, values: Tensor) -> None:
        """Count values of any shape, on any device; those that are not finite are left out."""
        values = values.detach().flatten().float()
        values = values[torch.isfinite(values)]
        if not values.numel():
            return
        # integer counts are exact, and allowed with deterministic algorithms
        places = (values.asinh() + FARTHEST) * (BINS / (2 * FARTHEST))
        bins = places.long().clamp(0, BINS - 1)
        self.counts += torch.bincount(bins, minlength=BINS).cpu().numpy()
        self.low, self.high = min(self.low, values.min().item()), max(self.high, values.max().item())

    def cdf(self, x: Any) -> Array:
        """The fraction of inputs below ``x``, of any shape; linear in arsinh(x) within a bin."""
        cumulative = np.concatenate([[0], np.cumsum(self.counts)]) / max(self.total, 1)
        places = np.arcsinh(np.clip(np.asarray(x, np.float64), self.low, self.high))
        shares = np.interp(places, self._edges(), cumulative)
        return np.where(np.asarray(x) >= self.high, 1.0, np.where(np.asarray(x) <= self.low, 0.0, shares))

    def quantile(self, level: float) -> float:
        """The input below which a fraction of the inputs lies, to within a bin."""
        if not self.total:
            raise ValueError("no inputs were seen")
        cumulative = np.concatenate([[0], np.cumsum(self.counts)]) / self.total
        # the last edge with this fraction: empty bins hold no quantile
        first = int(np.searchsorted(cumulative, level, side="right")) - 1
        if first >= BINS:
            return self.high
        fraction = (level - cumulative[first]) / (cumulative[first + 1] - cumulative[first])
        edges = self._edges()[first : first + 2]
        return float(np.clip(np.sinh(edges[0] + fraction * (edges[1] - edges[0])), self.low, self.high))

    def range(self) -> tuple[float, float]:
        """The 0.05 % and 99.95 % quantiles, with a margin of 5 %.

        Raises:
            ValueError: where no inputs were seen.
        """
        low, high = self.quantile(TAIL), self.quantile(1 - TAIL)
        margin = 0.05 * (high - low)
        return low - margin, high + margin

    def _edges(self) -> Array:
        """Edges of the bins in arsinh(x), clipped to the range of the inputs."""
        edges: Array = np.arcsinh(np.clip(EDGES, self.low, self.high))
        return edges

    def density(self, x: Array) -> Array:
        """The smoothed density of the inputs at ``x``."""
        half = max((self.quantile(0.999) - self.quantile(0.001)) / SMOOTHING, 1e-9) / 2
        return (self.cdf(x + half) - self.cdf(x - half)) / (2 * half)

    def to_record(self) -> HistogramRecord:
        """For a JSON file: the counts from the first to the last bin that is not empty."""
        filled = np.flatnonzero(self.counts)
        first, end = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
        return HistogramRecord(self.low, self.high, first, self.counts[first:end].tolist())

    @classmethod
    def from_record(cls, record: HistogramRecord) -> InputHistogram:
        """Read what :meth:`to_record` returned.

        Raises:
            ValueError: where its bins are not those of a histogram.
        """
        end = record.first + len(record.counts)
        if record.first < 0 or end > BINS or min(record.counts, default=0) < 0 or record.low > record.high:
            inputs = f"inputs from {record.low:g} to {record.high:g}"
            raise ValueError(f"it counts {inputs} in bins {record.first} to {end} of {BINS}")
        histogram = cls(low=record.low, high=record.high)
        histogram.counts[record.first : end] = record.counts
        return histogram


def joint_range(histograms: Iterable[InputHistogram]) -> tuple[float, float] | None:
    """The least range that holds those of all histograms with inputs; None where there are no inputs."""
    ranges = [histogram.range() for histogram in histograms if histogram.total]
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


@contextmanager
def record_histograms(model: nn.Module) -> Iterator[dict[str, InputHistogram]]:
    """Count the inputs of a model's RAFs, without padding, while the block runs the model.

    A RAF that stands at several places counts the inputs of all.

    Yields:
        Histograms by name of the RAF, in the order of the model.
    """
    acts = learned_activations(model)
    histograms = {site: InputHistogram() for site in acts}
    with record_inputs(model, {act: histograms[site].add for site, act in acts.items()}):
        yield histograms


def count_inputs(
    model: PreTrainedModel, texts: Calibration, tokenizer: PreTrainedTokenizerBase | None = None
) -> dict[str, InputHistogram]:
    """Run a model over texts or batches, and count the inputs of its RAFs.

    Args:
        model: in any mode; it runs in evaluation mode on the device it is on.
        texts: texts, or batches: mappings of the model's arguments, or tensors that are its first one.
        tokenizer: for texts; the model's own where it is None.

    Returns:
        By name of the RAF; those that were not reached (a pooler's) have no inputs.

    Raises:
        ValueError: where there is nothing to run, or there are texts and no tokenizer is to be had.
    """
    with record_histograms(model) as histograms:
        run_over(model, texts, tokenizer)
    return histograms
