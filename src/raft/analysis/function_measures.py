"""Measures of one function on a domain: distances, affine matches, pieces, zeros, extrema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any, Protocol

import numpy as np
from scipy.optimize import brentq, least_squares

from raft.coefficients.functions import FUNCTIONS, Array, Function, canonical_name
from raft.hf.histogram import TAIL, InputHistogram

POINTS = 2001
UNKNOWN = (-3.0, 3.0)
"""Where functions are looked at whose inputs are not known."""
SCALES, SHIFTS = (0.2, 5.0), (-5.0, 5.0)
"""Between which an affine match scales (either way round) and moves inputs."""
COARSE, POLISHED = (9, 15), 3
"""Scales and shifts that an affine match is looked for at first, and how many of the best are improved."""
FLAT = 1e-6
"""A slope below this, measured by the function's own height over the width, is no rise or fall."""


class SmoothFunction(Protocol):
    """A function with a derivative, each of a number or an array, in float64."""

    def __call__(self, x: Any, /) -> Any: ...
    def derivative(self, x: Any, /) -> Any: ...


@dataclass(frozen=True)
class Domain:
    """Where functions are looked at.

    Attributes:
        x: points in rising order.
        weights: of the points; they sum to one.
        inputs: what the weights were counted from; None where all points weigh the same.
    """

    x: Array
    weights: Array
    inputs: InputHistogram | None = None

    @classmethod
    def interval(cls, low: float, high: float, points: int = POINTS) -> Domain:
        """Evenly spaced points from ``low`` to ``high``, which weigh the same."""
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"an interval goes from a smaller number to a larger, not {low:g} to {high:g}")
        return cls(np.linspace(low, high, points), np.full(points, 1 / points))

    @classmethod
    def of(cls, inputs: InputHistogram, points: int = POINTS) -> Domain:
        """From the 0.05 % to the 99.95 % quantile of inputs; points weigh what the inputs beside them do."""
        low, high = inputs.quantile(TAIL), inputs.quantile(1 - TAIL)
        if low == high:
            raise ValueError(f"all inputs are {low:g}")
        x = np.linspace(low, high, points)
        borders = np.concatenate([[low], (x[1:] + x[:-1]) / 2, [high]])
        shares = np.diff(inputs.cdf(borders))
        return cls(x, shares / shares.sum(), inputs)

    def share(self, low: float, high: float) -> float:
        """The share of inputs (of the width, where none were counted) between two numbers."""
        if self.inputs is not None:
            return float(self.inputs.cdf(high) - self.inputs.cdf(low))
        ends = np.clip([low, high], self.x[0], self.x[-1])
        return float((ends[1] - ends[0]) / (self.x[-1] - self.x[0]))


def make_domain(inputs: InputHistogram | None, points: int = POINTS) -> Domain:
    """Build the domain of inputs, or ``UNKNOWN`` if there are no two different ones."""
    if inputs is not None and inputs.total and inputs.quantile(TAIL) < inputs.quantile(1 - TAIL):
        return Domain.of(inputs, points)
    return Domain.interval(*UNKNOWN, points)


def merge_domains(inputs: Sequence[InputHistogram]) -> Domain:
    """Merge the inputs of several RAFs into one domain, with equal weights."""
    shares = np.mean([histogram.counts / histogram.total for histogram in inputs], axis=0)
    counts = np.rint(shares * 1e9).astype(np.int64)
    together = InputHistogram(counts, min(h.low for h in inputs), max(h.high for h in inputs))
    return Domain.of(together)


@dataclass(frozen=True)
class Distance:
    """Between two functions.

    Attributes:
        l2: root of the mean squared difference over the inputs.
        max: largest difference.
        at: the input of that.
    """

    l2: float
    max: float
    at: float


def distance(f: Function, g: Function, domain: Domain) -> Distance:
    """Measure the distance between two functions on a domain."""
    difference = np.abs(f(domain.x) - g(domain.x))
    worst = int(np.argmax(difference))
    return Distance(
        float(np.sqrt(np.sum(domain.weights * difference**2))),
        float(difference[worst]),
        float(domain.x[worst]),
    )


def find_nearest(f: Function, domain: Domain) -> list[tuple[str, Distance]]:
    """Return the classical activations and their distances to ``f``, sorted by L2."""
    distances = [(name, distance(f, known, domain)) for name, known in FUNCTIONS.items()]
    return sorted(distances, key=lambda pair: pair[1].l2)


@dataclass(frozen=True)
class AffineMatch:
    r"""The best :math:`c\,g(s x + t) + d` for a function.

    Attributes:
        name: of g.
        scale: s.
        shift: t.
        factor: c.
        offset: d.
        distance: what is left.
    """

    name: str
    scale: float
    shift: float
    factor: float
    offset: float
    distance: Distance

    def __call__(self, x: Array) -> Array:
        values: Array = self.factor * FUNCTIONS[self.name](self.scale * x + self.shift) + self.offset
        return values

    @property
    def is_stretched(self) -> bool:
        """Whether the scale is at an end of ``SCALES``: of the named function only a small part is used."""
        return self.name != "identity" and not SCALES[0] * 1.01 < abs(self.scale) < SCALES[1] * 0.99

    def text(self) -> str:
        """Format the match as a formula, to two digits."""
        inner = f"{self.scale:.2f} x {self.shift:+.2f}"
        return f"{self.factor:.2f} {self.name}({inner}) {self.offset:+.2f}"


def fit_affine(f: Function, name: str, domain: Domain) -> AffineMatch:
    """Fit a classical activation to ``f``, its input and output each scaled and moved, in least squares.

    Factor and offset are solved for at each scale and shift: over a coarse grid within ``SCALES`` and
    ``SHIFTS``, and then in a search from its best places. The limits are there because a tiny part of any
    curve is a parabola, and would resemble all others. For the identity, where scale and shift say nothing
    new, they stay 1 and 0.
    """
    name, y = canonical_name(name), f(domain.x)

    def left(inner: Any) -> Any:
        return _fit_outer(y, name, domain, inner)[1]

    best = np.array([1.0, 0.0])
    if name != "identity":
        scales = np.geomspace(*SCALES, COARSE[0])
        places = [
            (sign * scale, shift)
            for sign in (1, -1)
            for scale in scales
            for shift in np.linspace(*SHIFTS, COARSE[1])
        ]
        costs = [float(np.sum(left(place) ** 2)) for place in places]
        searches = []
        for number in np.argsort(costs)[:POLISHED]:
            low, high = sorted(np.sign(places[number][0]) * scale for scale in SCALES)
            bounds = ([low, SHIFTS[0]], [high, SHIFTS[1]])
            start = np.clip(places[number], *bounds)
            searches.append(least_squares(left, start, max_nfev=200, bounds=bounds))
        best = min(searches, key=lambda search: float(search.cost)).x
    return _make_match(f, name, domain, best)


def fit_output(f: Function, name: str, domain: Domain) -> AffineMatch:
    """Fit a classical activation to ``f`` by factor and offset of its output alone, in least squares."""
    return _make_match(f, canonical_name(name), domain, (1.0, 0.0))


def _fit_outer(y: Array, name: str, domain: Domain, inner: Any) -> tuple[Any, Any]:
    """Solve for factor and offset, given scale and shift; return them and the residuals."""
    root = np.sqrt(domain.weights)
    columns = np.stack([FUNCTIONS[name](inner[0] * domain.x + inner[1]), np.ones_like(y)], axis=1)
    solution = np.linalg.lstsq(columns * root[:, None], y * root, rcond=None)[0]
    return solution, root * (columns @ solution - y)


def _make_match(f: Function, name: str, domain: Domain, inner: Any) -> AffineMatch:
    (factor, offset), _ = _fit_outer(f(domain.x), name, domain, inner)
    scale, shift = (float(value) for value in inner)
    match = AffineMatch(name, scale, shift, float(factor), float(offset), Distance(0, 0, 0))
    return replace(match, distance=distance(f, match, domain))


def find_nearest_affine(f: Function, domain: Domain, names: Sequence[str] = tuple(FUNCTIONS)) -> AffineMatch:
    """Find the classical activation that is nearest (by L2) after an affine map of input and output."""
    matches = [fit_affine(f, name, domain) for name in names]
    least = min(match.distance.l2 for match in matches)
    # of those that are equal but for rounding the first, as named ones come in the order of their use
    return next(match for match in matches if match.distance.l2 <= least * 1.001 + 1e-9)


@dataclass(frozen=True)
class Piece:
    """An interval on which a function only rises (1), only falls (−1), or does neither (0).

    Attributes:
        low: where it begins.
        high: where it ends.
        direction: 1, −1 or 0.
        share: of the inputs that lie in it.
    """

    low: float
    high: float
    direction: int
    share: float


@dataclass(frozen=True)
class Shape:
    """A function's features within a domain.

    Attributes:
        pieces: from left to right.
        zeros: inputs at which it is zero.
        minima: (x, f(x)) of its local minima inside the domain.
        maxima: of its local maxima.
        negative: share of inputs whose output is below zero.
    """

    pieces: tuple[Piece, ...]
    zeros: tuple[float, ...]
    minima: tuple[tuple[float, float], ...]
    maxima: tuple[tuple[float, float], ...]
    negative: float


def describe_shape(f: SmoothFunction, domain: Domain) -> Shape:
    """Pieces, isolated zeros and extrema of a RAF; they are found where they are more than a point apart, and
    located to rounding."""
    x, y = domain.x, f(domain.x)
    runs = _find_runs(f, x, y)
    borders = [float(x[0]), *(_find_turn(f, x[end - 1], x[end]) for _, end in runs[:-1]), float(x[-1])]
    kinds = [kind for kind, _ in runs]
    pieces = tuple(
        Piece(low, high, kind, domain.share(low, high))
        for kind, low, high in zip(kinds, borders[:-1], borders[1:], strict=True)
    )
    turns = {
        kind: tuple(
            (border, float(f(border)))
            for border, before, after in zip(borders[1:-1], kinds[:-1], kinds[1:], strict=True)
            if (before, after) == (-kind, kind)
        )
        for kind in (1, -1)
    }
    negative = float(domain.weights[y < 0].sum())
    return Shape(pieces, _find_zeros(f, x, y, [*turns[1], *turns[-1]]), turns[1], turns[-1], negative)


def _find_runs(f: SmoothFunction, x: Array, y: Array) -> list[tuple[int, int]]:
    """Find runs of one direction, each with its end (exclusive)."""
    steepness = f.derivative(x)
    flat = FLAT * float(np.ptp(y)) / (x[-1] - x[0])
    directions = np.where(np.abs(steepness) <= flat, 0, np.sign(steepness)).astype(int)
    lengths = [(kind, len(list(group))) for kind, group in groupby(directions.tolist())]
    # a flat point or two are a turn, or a touch as of x^3, and no piece; the whole may still be flat
    kept = [(kind, length) for kind, length in lengths if kind or length > 2] or lengths
    runs: list[tuple[int, int]] = []
    place = 0
    for kind, length in lengths:
        place += length
        if (kind, length) in kept and not (runs and runs[-1][0] == kind):
            runs.append((kind, place))
        elif runs:
            runs[-1] = (runs[-1][0], place)
    return runs


def _find_turn(f: SmoothFunction, low: float, high: float) -> float:
    def steepness(x: float) -> float:
        return float(f.derivative(x))

    if steepness(low) * steepness(high) < 0:
        return float(brentq(steepness, low, high, xtol=1e-13))
    return float(low if abs(steepness(low)) <= abs(steepness(high)) else high)


def _find_zeros(
    f: SmoothFunction, x: Array, y: Array, turns: Sequence[tuple[float, float]]
) -> tuple[float, ...]:
    tiny = 1e-12 * float(np.abs(y).max())
    signs = np.where(np.abs(y) <= tiny, 0, np.sign(y)).astype(int)
    zeros: list[float] = []
    places = [0, *(np.flatnonzero(np.diff(signs)) + 1), len(signs)]
    for begin, end in pairwise(places):
        before, after = signs[max(begin - 1, 0)], signs[min(end, len(signs) - 1)]
        if signs[begin] == 0:
            crosses = begin > 0 and end < len(signs) and before * after < 0
            if end - begin == 1 or crosses:  # isolated, or as flat as x^5
                zeros.append(float((x[begin] + x[end - 1]) / 2))
        elif begin and before * signs[begin] < 0:
            zero = float(brentq(lambda value: float(f(value)), x[begin - 1], x[begin], xtol=1e-13))
            if abs(f(zero)) <= max(abs(y[begin - 1]), abs(y[begin])):  # and no pole of version N
                zeros.append(zero)
    # where it turns at zero, its sign does not change
    near = 1e-6 * (x[1] - x[0])
    touching = [place for place, value in turns if abs(value) <= 10 * tiny]
    zeros += [place for place in touching if all(abs(place - other) > near for other in zeros)]
    return tuple(sorted(zeros))
