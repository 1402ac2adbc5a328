"""The curve of each RAF and the inputs that it really sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from raft.coefficients.functions import FUNCTIONS, canonical_name
from raft.data.masking import MaskedSequences
from raft.functional import rational
from raft.hf.sites import rationals

Array = NDArray[np.float64]

RANGE = 50.0
"""Inputs beyond ±RANGE are counted in the outermost bins."""
BINS = 4000
TAIL = 0.0005


@dataclass(frozen=True)
class Curve:
    """One learned activation over the range of its inputs.

    Attributes:
        site: dotted name in the model.
        x: inputs, from their 0.05 % to their 99.95 % quantile, a little wider.
        y: P(x)/Q(x).
        fixed: the function that the twin has there.
        density: of the inputs, at ``x``.
        distance: root mean square distance of ``y`` to ``fixed``, weighted by the density.
    """

    site: str
    x: Array
    y: Array
    fixed: Array
    density: Array
    distance: float


def curves(model: PreTrainedModel, dataset: MaskedSequences, fixed: str, sequences: int = 256) -> list[Curve]:
    """Curves of a RAFT's activations that the dataset's sequences pass through.

    Args:
        model: a masked language model.
        dataset: whose first sequences are read.
        fixed: name of the function to compare with.
        sequences: how many to read.
    """
    counts = _input_counts(model, dataset, sequences)
    centres = (np.arange(BINS) + 0.5) * (2 * RANGE / BINS) - RANGE
    found = []
    for site, act in rationals(model).items():
        if site not in counts:  # the pooler is not part of a masked language model
            continue
        cumulative = np.cumsum(counts[site]) / counts[site].sum()
        low, high = centres[np.searchsorted(cumulative, [TAIL, 1 - TAIL]).clip(0, BINS - 1)]
        x = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), 401)
        with torch.no_grad():
            y = rational(torch.from_numpy(x), act.numerator, act.denominator, act.version).numpy()
        width = max(1, round((high - low) / 80 / (2 * RANGE / BINS)))
        smooth = np.convolve(counts[site], np.ones(width) / width, mode="same")
        density = np.interp(x, centres, smooth / (counts[site].sum() * 2 * RANGE / BINS))
        reference = FUNCTIONS[canonical_name(fixed)](x)
        distance = float(np.sqrt(np.average((y - reference) ** 2, weights=density)))
        found.append(Curve(site, x, y, reference, density, distance))
    return found


@torch.no_grad()
def _input_counts(model: PreTrainedModel, dataset: MaskedSequences, sequences: int) -> dict[str, Array]:
    """Histogram of each RAF's inputs."""
    counts: dict[str, Array] = {}

    def count(site: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            values = inputs[0].float().clamp(-RANGE, RANGE).cpu()
            seen = torch.histc(values, BINS, -RANGE, RANGE).double().numpy()
            counts[site] = counts[site] + seen if site in counts else seen

        return hook

    handles = [act.register_forward_pre_hook(count(site)) for site, act in rationals(model).items()]
    try:
        for start in range(0, min(sequences, len(dataset)), 64):
            input_ids, _ = dataset.batch(range(start, min(start + 64, sequences, len(dataset))))
            model.base_model(input_ids=input_ids.to(model.device))
    finally:
        for handle in handles:
            handle.remove()
    return counts
