"""Every measure of every learned function of a model, as records and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raft.analysis.function_measures import (
    AffineMatch,
    Distance,
    Domain,
    Shape,
    describe_shape,
    distance,
    find_nearest,
    find_nearest_affine,
)
from raft.analysis.learned import get_start
from raft.coefficients.closed_form import RationalFunction
from raft.coefficients.functions import FUNCTIONS, Function, canonical_name, name_of
from raft.hf.calibration import Calibration
from raft.hf.histogram import InputHistogram, count_inputs
from raft.learned_activation import LearnedActivation, learned_activations
from raft.modules import Rational

STEP = 1e-5
"""Of the differences that stand for a derivative."""
ARROWS = {1: "↗", -1: "↘", 0: "→"}
"""Of the direction of a piece."""


@dataclass(frozen=True)
class CurveOf:
    """A learned function of any kind as a function of numbers, with a derivative.

    Attributes:
        act: elementwise.
        site: its name.
        group: of channels.
    """

    act: LearnedActivation
    site: str
    group: int = 0

    def __call__(self, x: Any) -> Any:
        """At ``x``, of any shape, in float64."""
        points = np.asarray(x, np.float64)
        return self.act.values(points.ravel())[self.group].reshape(points.shape)

    def derivative(self, x: Any) -> Any:
        """By central differences; at a kink the mean of both sides'."""
        points = np.asarray(x, np.float64)
        return (self(points + STEP) - self(points - STEP)) / (2 * STEP)


@dataclass(frozen=True)
class FunctionMeasures:
    """What is known of one learned function over the inputs that it gets.

    Attributes:
        function: with its site, and the interval of its inputs.
        domain: where it was measured.
        to_fixed: distance to the baseline's activation.
        to_start: distance to the function that it was fitted to, or stands beside.
        nearest: the classical activation that is nearest as it stands, and its distance.
        match: that which comes nearest when its input and output are scaled and moved.
        shape: pieces, zeros, extrema.
        asymptotes: polynomials, lowest power first, that P/Q comes to at −∞ and ∞; None of a function that
            is not rational.
    """

    function: RationalFunction | CurveOf
    domain: Domain
    to_fixed: Distance
    to_start: Distance | None
    nearest: tuple[str, Distance]
    match: AffineMatch
    shape: Shape
    asymptotes: tuple[list[float], list[float]] | None

    @property
    def output_deviation(self) -> float:
        """Standard deviation of the outputs over the inputs: the error of the best constant."""
        y, weights = self.function(self.domain.x), self.domain.weights
        return float(np.sqrt(np.average((y - np.average(y, weights=weights)) ** 2, weights=weights)))

    def row(self) -> dict[str, Any]:
        """Return numbers and short texts for a table or a file; None for a number that is not finite."""
        name, to_nearest = self.nearest
        match = self.match
        row = {
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
            "pieces": "".join(ARROWS[piece.direction] for piece in self.shape.pieces),
            "zeros": [round(zero, 4) for zero in self.shape.zeros],
            "minima": [(round(x, 4), round(y, 4)) for x, y in self.shape.minima],
            "negative_outputs": self.shape.negative,
            "output_deviation": self.output_deviation,
            "asymptote_below": self.asymptotes and self.asymptotes[0],
            "asymptote_above": self.asymptotes and self.asymptotes[1],
        }
        return {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in row.items()
        }


def measure_function(
    function: RationalFunction | CurveOf, domain: Domain, fixed: str = "gelu", start: Function | None = None
) -> FunctionMeasures:
    """All measures of one learned function.

    Args:
        function: with its site.
        domain: of its inputs.
        fixed: name of the activation that its baseline has there.
        start: what it began as.
    """
    known = FUNCTIONS[canonical_name(fixed)]
    asymptotes = None
    if isinstance(function, RationalFunction):
        asymptotes = function.asymptote(-1).tolist(), function.asymptote(1).tolist()
    return FunctionMeasures(
        function=function,
        domain=domain,
        to_fixed=distance(function, known, domain),
        to_start=None if start is None else distance(function, start, domain),
        nearest=find_nearest(function, domain)[0],
        match=find_nearest_affine(function, domain),
        shape=describe_shape(function, domain),
        asymptotes=asymptotes,
    )


def rational_functions(
    model: PreTrainedModel, inputs: Mapping[str, InputHistogram] | None = None
) -> dict[str, RationalFunction]:
    """A model's rational functions as formulas, by site (with ``#0``, ``#1`` … where it has groups).

    Args:
        model: with RAFs.
        inputs: of :func:`raft.hf.histogram.count_inputs`; their ends become the formulas' intervals.
    """
    named: dict[str, RationalFunction] = {}
    for site, act in learned_activations(model).items():
        if not isinstance(act, Rational):
            continue
        seen = None if inputs is None else inputs.get(site)
        interval = None
        if seen is not None and seen.total and seen.low < seen.high:
            ends = Domain.of(seen).x[[0, -1]]
            interval = (float(ends[0]), float(ends[1]))
        named |= dict(zip(_name_groups(act, site), act.functions(site, interval), strict=True))
    return named


def _name_groups(act: LearnedActivation, site: str) -> list[str]:
    return [site] if act.groups == 1 else [f"{site}#{group}" for group in range(act.groups)]


def measure_model(
    model: PreTrainedModel,
    texts: Calibration,
    tokenizer: PreTrainedTokenizerBase | None = None,
    fixed: str | None = None,
) -> list[FunctionMeasures]:
    """Measure every learned function of a model over the inputs that it gets from texts.

    Args:
        model: with learned functions.
        texts: texts or batches, see :func:`raft.hf.histogram.count_inputs`.
        tokenizer: for texts; the model's own where it is None.
        fixed: name of the activation that the baseline has; None for what each RAF replaced (a pooler's is
            another than a layer's), and GELU where that is not known.

    Raises:
        ValueError: for a model without RAFs, or texts that cannot be run.

    Example::

        >>> import raft, torch
        >>> from raft.analysis import measure_model
        >>> from transformers import BertConfig, BertModel
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> measures = measure_model(raft.convert(BertModel(tiny, False)), [torch.arange(9)[None]])
        >>> all(raf.to_fixed.max < 0.01 for raf in measures)
        True
    """
    if not learned_activations(model):
        raise ValueError(f"{type(model).__name__} has no learned activation")
    return measure_functions(model, count_inputs(model, texts, tokenizer), fixed)


def measure_functions(
    model: PreTrainedModel, inputs: Mapping[str, InputHistogram], fixed: str | None = None
) -> list[FunctionMeasures]:
    """Measure the learned functions of a model that got inputs; arguments as above.

    Groups of one function are measured over the inputs of all channels. A function whose inputs are all the
    same is left out, as are one without inputs and one that is not elementwise.
    """
    measures = []
    formulas = rational_functions(model, inputs)
    for site, act in learned_activations(model).items():
        seen = inputs[site]
        if not seen.total or seen.low == seen.high or not act.is_elementwise:
            continue
        began_as = get_start(model, act, site)[1]
        baseline = fixed or get_baseline(act)
        for group, name in enumerate(_name_groups(act, site)):
            formula = formulas.get(name)
            function = CurveOf(act, name, group) if formula is None else replace(formula, site=name)
            measures.append(measure_function(function, Domain.of(seen), baseline, began_as))
    return measures


def get_baseline(act: LearnedActivation) -> str:
    """Return the name of the function that a learned one replaced; GELU if it is unknown."""
    return (name_of(act.replaced[0]) if act.replaced else None) or "gelu"


def tabulate_measures(measures: list[FunctionMeasures]) -> pd.DataFrame:
    """Build a data frame with one row per learned function."""
    return pd.DataFrame([measure.row() for measure in measures]).replace({np.nan: None})
