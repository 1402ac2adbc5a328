"""The curve of each RAF and the inputs that it really sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from raft.coefficients.functions import FUNCTIONS, Array, canonical_name
from raft.data.text.sequences import TokenSequences
from raft.hf.histogram import InputHistogram, record_histograms
from raft.hf.sites.input_activation import input_kind
from raft.learned_activation import learned_activations

POINTS = 401
TAIL = 0.0005


@dataclass(frozen=True)
class Curve:
    """One learned activation over the range of its inputs.

    Attributes:
        site: dotted name in the model.
        x: inputs, from their 0.05 % to their 99.95 % quantile, a little wider.
        y: ``[G, N]``, a row a group of channels.
        fixed: the function that the baseline has there.
        fixed_name: of that function.
        density: of the inputs, at ``x``.
        distance: root mean square distance of ``y`` to ``fixed``, weighted by the density, over all groups.
        inputs: all that were seen.
    """

    site: str
    x: Array
    y: Array
    fixed: Array
    fixed_name: str
    density: Array
    distance: float
    inputs: InputHistogram


def measure_curves(
    model: PreTrainedModel, dataset: TokenSequences, fixed: str, sequences: int = 256
) -> list[Curve]:
    """Curves of a RAFT's elementwise activations that the dataset's sequences pass through.

    Args:
        model: a language model.
        dataset: whose first sequences are read.
        fixed: name of the function to compare with; RAFs before projections are compared with the identity.
        sequences: how many to read.
    """
    learned = []
    for site, inputs in _record_inputs(model, dataset, sequences).items():
        act = learned_activations(model)[site]
        # the pooler is not part of a masked language model
        if not inputs.total or not act.is_elementwise:
            continue
        x = np.linspace(*find_input_range(inputs), POINTS)
        y = act.values(x)
        density = inputs.density(x)
        name = "identity" if input_kind(site) else canonical_name(fixed)
        reference = FUNCTIONS[name](x)
        distance = float(np.sqrt(np.average((y - reference) ** 2, weights=density, axis=1).mean()))
        learned.append(Curve(site, x, y, reference, name, density, distance, inputs))
    return learned


def find_input_range(inputs: InputHistogram) -> tuple[float, float]:
    """Return the 0.05 % and 99.95 % quantiles of inputs, with a margin of 5 %."""
    low, high = inputs.quantile(TAIL), inputs.quantile(1 - TAIL)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


@torch.no_grad()
def _record_inputs(
    model: PreTrainedModel, dataset: TokenSequences, sequences: int
) -> dict[str, InputHistogram]:
    with record_histograms(model) as histograms:
        for start in range(0, min(sequences, len(dataset)), 64):
            input_ids, _ = dataset.batch(range(start, min(start + 64, sequences, len(dataset))))
            model.base_model(input_ids=input_ids.to(model.device))
    return histograms
