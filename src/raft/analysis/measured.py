"""Every measure of every RAF of a model, as records and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raft.analysis.measures import (
    AffineMatch,
    Distance,
    Domain,
    Shape,
    distance,
    nearest,
    nearest_affine,
    shape,
)
from raft.coefficients.closed_form import RationalFunction
from raft.coefficients.functions import FUNCTIONS, Function, canonical_name
from raft.hf import rationals
from raft.hf.calibration import Calibration
from raft.hf.inputs import InputHistogram, count_inputs


@dataclass(frozen=True)
class Measured:
    """What is known of one RAF over the inputs that it gets.

    Attributes:
        function: with its site, and the interval of its inputs.
        domain: where it was measured.
        to_fixed: distance to the twin's activation.
        to_start: distance to what it began as; None where that is not known.
        nearest: the classical activation that is nearest as it stands, and its distance.
        match: that which comes nearest when its input and output are scaled and moved.
        shape: pieces, zeros, extrema.
        asymptotes: polynomials, lowest power first, that P/Q comes to at −∞ and ∞.
    """

    function: RationalFunction
    domain: Domain
    to_fixed: Distance
    to_start: Distance | None
    nearest: tuple[str, Distance]
    match: AffineMatch
    shape: Shape
    asymptotes: tuple[list[float], list[float]]

    def row(self) -> dict[str, Any]:
        """Numbers and short texts, for a table or a file."""
        name, to_nearest = self.nearest
        match = self.match
        return {
            "site": self.function.site,
            "low": float(self.domain.x[0]),
            "high": float(self.domain.x[-1]),
            "l2": self.to_fixed.l2,
            "max": self.to_fixed.max,
            "l2_to_start": None if self.to_start is None else self.to_start.l2,
            "max_to_start": None if self.to_start is None else self.to_start.max,
            "nearest": name,
            "l2_to_nearest": to_nearest.l2,
            "affine": match.text(),
            "l2_to_affine": match.distance.l2,
            "pieces": "".join({1: "↗", -1: "↘", 0: "→"}[piece.direction] for piece in self.shape.pieces),
            "zeros": [round(zero, 4) for zero in self.shape.zeros],
            "minima": [(round(x, 4), round(y, 4)) for x, y in self.shape.minima],
            "negative_outputs": self.shape.negative,
            "asymptote_below": self.asymptotes[0],
            "asymptote_above": self.asymptotes[1],
        }


def measure(
    function: RationalFunction, domain: Domain, fixed: str = "gelu", start: Function | None = None
) -> Measured:
    """All measures of one RAF.

    Args:
        function: the RAF.
        domain: of its inputs.
        fixed: name of the activation that its twin has there.
        start: what it began as.
    """
    known = FUNCTIONS[canonical_name(fixed)]
    return Measured(
        function=function,
        domain=domain,
        to_fixed=distance(function, known, domain),
        to_start=None if start is None else distance(function, start, domain),
        nearest=nearest(function, domain)[0],
        match=nearest_affine(function, domain),
        shape=shape(function, domain),
        asymptotes=(function.asymptote(-1).tolist(), function.asymptote(1).tolist()),
    )


def functions_of(
    model: PreTrainedModel, inputs: Mapping[str, InputHistogram] | None = None
) -> dict[str, RationalFunction]:
    """A model's RAFs as formulas, by site (with ``#0``, ``#1`` … where it has groups).

    Args:
        model: with RAFs.
        inputs: of :func:`raft.hf.inputs.count_inputs`; their ends become the formulas' intervals.
    """
    found: dict[str, RationalFunction] = {}
    for site, act in rationals(model).items():
        seen = None if inputs is None else inputs.get(site)
        interval = None
        if seen is not None and seen.total:
            ends = Domain.of(seen).x[[0, -1]]
            interval = (float(ends[0]), float(ends[1]))
        functions = act.functions(site, interval)
        names = [site] if len(functions) == 1 else [f"{site}#{group}" for group in range(len(functions))]
        found |= dict(zip(names, functions, strict=True))
    return found


def measure_model(
    model: PreTrainedModel,
    texts: Calibration,
    tokenizer: PreTrainedTokenizerBase | None = None,
    fixed: str = "gelu",
) -> list[Measured]:
    """Measure every RAF of a model over the inputs that it gets from texts.

    Args:
        model: with RAFs.
        texts: texts or batches, see :func:`raft.hf.inputs.count_inputs`.
        tokenizer: for texts; the model's own where it is None.
        fixed: name of the activation that the twin has.

    Raises:
        ValueError: for a model without RAFs, or texts that cannot be run.

    Example::

        >>> import raft, torch
        >>> from raft.analysis.measured import measure_model
        >>> from transformers import BertConfig, BertModel
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> found = measure_model(raft.convert(BertModel(tiny, False)), [torch.arange(9)[None]])
        >>> all(each.to_fixed.max < 0.01 for each in found)
        True
    """
    if not rationals(model):
        raise ValueError(f"{type(model).__name__} has no rational activation")
    return measured_functions(model, count_inputs(model, texts, tokenizer), fixed)


def measured_functions(
    model: PreTrainedModel, inputs: Mapping[str, InputHistogram], fixed: str = "gelu"
) -> list[Measured]:
    """Measure the RAFs of a model that got inputs; arguments as above."""
    acts, found = rationals(model), []
    for function in functions_of(model, inputs).values():
        seen, act = inputs[function.site], acts[function.site]
        if seen.total:
            start = act.start if function.beside is None else FUNCTIONS[function.beside]
            found.append(measure(function, Domain.of(seen), fixed, start))
    return found


def measures_frame(found: list[Measured]) -> pd.DataFrame:
    """One row a RAF."""
    return pd.DataFrame([each.row() for each in found]).replace({np.nan: None})
