"""Fits of rational functions to other functions, on an interval or over a layer's inputs.

A version's denominator is restricted to a cone on which it is linear in its coefficients: b ≥ 0 in version A,
a sum that does not change its sign (B, C, D), Q above a floor (N). On such a cone the least-squares fit is
iterated linear least squares (Sanathanan and Koerner 1963), and the best uniform fit is found by the
differential correction algorithm (Barrodale, Powell and Roberts 1972): a few linear programs, each of which
lowers the maximum error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy  # whose parts are imported at their first use
import torch
from numpy.typing import ArrayLike

from raft.coefficients.functions import FUNCTIONS, Array, Function, canonical_name
from raft.errors import first_line
from raft.kernels.reference import CONSTANT_TERM, VERSIONS, forward

GRID_POINTS = 801
CHECK_POINTS = 20_001
NOT_SAFE_FLOOR = 0.05
"""Version N's denominator stays above this on the fitted interval."""
MAX_DEGREE = 12


@dataclass(frozen=True)
class Fit:
    """Coefficients of a fit and its errors.

    Attributes:
        numerator: a_0 … a_m.
        denominator: b_1 … b_n.
        version: form of the denominator.
        interval: of the fit and of its errors.
        max_error: largest absolute error, on 20,001 points of the interval and its whole numbers.
        rms_error: root mean square error, over the interval, or over the samples of a fit to samples.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    version: str
    interval: tuple[float, float]
    max_error: float
    rms_error: float

    @property
    def degrees(self) -> tuple[int, int]:
        """Degrees (m, n) of numerator and denominator."""
        return len(self.numerator) - 1, len(self.denominator)

    def __call__(self, x: ArrayLike) -> Array:
        """The fit's float64 values at ``x``."""
        a, b = (
            torch.tensor(c, dtype=torch.float64, device="cpu") for c in (self.numerator, self.denominator)
        )
        points = torch.as_tensor(np.asarray(x, dtype=np.float64), device="cpu")
        return forward(points, a, b, self.version).numpy()


def check_degrees(degrees: tuple[int, int]) -> None:
    """Raise ``ValueError`` unless ``degrees`` are two integers from 0 to 12."""
    are_valid = isinstance(degrees, Sequence) and all(
        isinstance(d, int) and 0 <= d <= MAX_DEGREE for d in degrees
    )
    if not are_valid or len(degrees) != 2:
        raise ValueError(f"degrees must be two integers from 0 to {MAX_DEGREE}, not {degrees!r}")


def fit(
    function: str | Callable[[torch.Tensor], torch.Tensor],
    degrees: tuple[int, int] = (5, 4),
    version: str = "A",
    *,
    interval: tuple[float, float] | None = None,
    samples: ArrayLike | torch.Tensor | None = None,
) -> Fit:
    """Fit ``P/Q`` to a function: least squares first, then the smallest maximum error.

    With ``samples`` the error is weighted by the square root of their density (at least a tenth everywhere
    between their extremes), so that the fit is closest where the inputs are.

    Args:
        function: name of a known activation, or a function of a float64 tensor to one of its shape.
        degrees: (m, n), each from 0 to 12.
        version: A, B, C, D or N.
        interval: (low, high); (-5, 5) where neither this nor ``samples`` is given.
        samples: inputs of the function, any number.

    Raises:
        ValueError: for unknown names, impossible degrees, an empty interval, or a function that cannot be
            called with a float64 tensor on the CPU, or is not finite there.

    Example::

        >>> import raft
        >>> raft.fit("gelu", interval=(-5, 5)).max_error < 5e-3
        True
    """
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, not {version!r}")
    check_degrees(degrees)
    target = FUNCTIONS[canonical_name(function)] if isinstance(function, str) else as_numpy_function(function)
    x, weights, inputs = _grid(interval, samples)
    y = np.asarray(target(x), dtype=np.float64)
    check = np.linspace(x[0], x[-1], CHECK_POINTS)
    kinks = np.arange(np.ceil(x[0]), np.floor(x[-1]) + 1)  # of piecewise functions: where errors peak
    at_check, at_kinks = target(check), target(kinks)
    if not all(np.isfinite(values).all() for values in (y, at_check, at_kinks)):
        raise ValueError(
            f"the function is not finite everywhere on [{x[0]:g}, {x[-1]:g}]; choose another interval"
        )

    candidates = [
        _refine(problem, _least_squares(problem))
        for problem in _problems(x, y, weights, degrees, "B" if version in ("C", "D") else version)
    ]
    numerator, denominator = min(candidates, key=lambda candidate: candidate[1])[0]
    scale = CONSTANT_TERM[version]  # C is B with all coefficients a tenth
    best = Fit(
        numerator=tuple(float(v) * scale for v in numerator),
        denominator=tuple(float(v) * scale for v in denominator),
        version=version,
        interval=(float(x[0]), float(x[-1])),
        max_error=0.0,
        rms_error=0.0,
    )
    error = best(check) - at_check
    largest = max(np.abs(error).max(), np.abs(best(kinks) - at_kinks).max(initial=0.0))
    if inputs is not None:
        error = best(inputs) - target(inputs)
    return replace(best, max_error=float(largest), rms_error=float(np.sqrt(np.mean(np.square(error)))))


def as_numpy_function(function: Callable[[torch.Tensor], torch.Tensor]) -> Function:
    """A function of tensors as one of arrays; it raises ``ValueError`` where it is not elementwise."""

    def evaluate(x: Array) -> Array:
        with torch.no_grad():
            points = torch.tensor(x, device="cpu")  # a copy, as the function may work in place
            try:
                values = function(points)
            except (RuntimeError, TypeError) as error:
                raise ValueError(
                    f"the function cannot be called with a float64 tensor: {first_line(error)}"
                ) from error
        if not isinstance(values, torch.Tensor) or values.shape != points.shape:
            raise ValueError(f"the function must give a tensor of its input's shape, not {values!r:.60}")
        return values.to(torch.float64).numpy()

    return evaluate


def _grid(
    interval: tuple[float, float] | None, samples: ArrayLike | torch.Tensor | None
) -> tuple[Array, Array, Array | None]:
    """Grid points, their weights, and the samples where there are any."""
    if samples is None:
        low, high = interval or (-5.0, 5.0)
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"interval must be two finite numbers, the lower first, not {interval!r}")
        # Chebyshev points: a uniform fit errs most at the ends
        x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.linspace(0.0, np.pi, GRID_POINTS))
        return x, np.ones_like(x), None
    if interval is not None:
        raise ValueError("give an interval or samples, not both")
    tensor = (
        samples.detach().to("cpu", torch.float64).numpy() if isinstance(samples, torch.Tensor) else samples
    )
    inputs = np.asarray(tensor, dtype=np.float64).ravel()
    if inputs.size == 0 or not np.isfinite(inputs).all() or inputs.min() == inputs.max():
        raise ValueError("samples must be at least two different finite numbers")
    counts, edges = np.histogram(inputs, bins=200)
    x = np.linspace(edges[0], edges[-1], GRID_POINTS)
    density = np.interp(x, 0.5 * (edges[1:] + edges[:-1]), counts) / counts.max()
    return x, np.maximum(np.sqrt(density), 0.1), inputs


@dataclass(frozen=True)
class _Problem:
    """A fit on one cone: Q = 1 + basis @ c, subject to ``constraints @ c >= floor``; b_k = c_k signs_k."""

    y: Array
    weights: Array
    powers: Array
    basis: Array
    constraints: Array | None
    floor: float
    scale: float


def _problems(x: Array, y: Array, weights: Array, degrees: tuple[int, int], version: str) -> list[_Problem]:
    scale = float(np.abs(x).max())  # powers of x / scale are between −1 and 1
    t = x / scale
    powers = t[:, None] ** np.arange(degrees[0] + 1)
    plain = t[:, None] ** np.arange(1, degrees[1] + 1)
    cones: list[tuple[Array, Array | None, float]]
    if version == "A":
        cones = [(np.abs(plain), None, 0.0)]
    elif version == "N":
        cones = [(plain, plain, NOT_SAFE_FLOOR - 1.0)]
    else:  # the sum may change its sign at zero or not at all
        flipped = plain * np.sign(t)[:, None]
        cones = [(plain, plain, 0.0), (flipped, flipped, 0.0)]
    return [_Problem(y, weights, powers, *cone, scale) for cone in cones]


def _least_squares(problem: _Problem) -> tuple[Array, Array]:
    """Iterated linear least squares, min Σ (w/Q_previous)² (P − y Q)², over c ≥ 0."""
    q: Array = np.ones_like(problem.y)
    m = problem.powers.shape[1]
    a: Array = np.zeros(m)
    c: Array = np.zeros(problem.basis.shape[1])
    # nnls bounds every variable, so the free numerator goes in twice, once with each sign
    matrix: Array = np.hstack([problem.powers, -problem.powers, -problem.y[:, None] * np.abs(problem.basis)])
    if problem.constraints is not None:
        matrix[:, 2 * m :] = -problem.y[:, None] * problem.basis
    for _ in range(10):
        row = problem.weights / q
        solution, _ = scipy.optimize.nnls(matrix * row[:, None], problem.y * row, maxiter=20_000)
        a, c = solution[:m] - solution[m : 2 * m], solution[2 * m :]
        q = np.maximum(1.0 + problem.basis @ c, 1e-3)
    feasible = problem.constraints is None or (problem.constraints @ c).min(initial=0.0) >= problem.floor
    if not feasible:
        c = np.zeros_like(c)
        solved = np.linalg.lstsq(problem.powers * problem.weights[:, None], problem.y * problem.weights)
        a = np.asarray(solved[0], dtype=np.float64)
    return a, c


def _weighted_error(problem: _Problem, a: Array, c: Array) -> float:
    quotient = (problem.powers @ a) / (1.0 + problem.basis @ c)
    return float((problem.weights * np.abs(quotient - problem.y)).max())


def _refine(problem: _Problem, start: tuple[Array, Array]) -> tuple[tuple[Array, Array], float]:
    """Differential correction from ``start``: coefficients in powers of x, and the maximum weighted error."""
    a, c = start
    error = _weighted_error(problem, a, c)
    m, n = problem.powers.shape[1], problem.basis.shape[1]
    for _ in range(40):
        if error < 1e-12:
            break
        q = 1.0 + problem.basis @ c
        level = error / problem.weights
        # minimise u subject to ±(y Q − P) − level Q ≤ u Q_previous / weight at every point
        blocks, limits = [], []
        for sign in (1.0, -1.0):
            slope = sign * problem.y - level
            blocks.append(
                np.hstack(
                    [-sign * problem.powers, slope[:, None] * problem.basis, -(q / problem.weights)[:, None]]
                )
            )
            limits.append(-slope)
        if problem.constraints is not None:
            rows = problem.constraints.shape[0]
            blocks.append(np.hstack([np.zeros((rows, m)), -problem.constraints, np.zeros((rows, 1))]))
            limits.append(np.full(rows, -problem.floor))
        lowest = 0.0 if problem.constraints is None else None
        solution = scipy.optimize.linprog(
            np.r_[np.zeros(m + n), 1.0],
            A_ub=np.vstack(blocks),
            b_ub=np.concatenate(limits),
            bounds=[(None, None)] * m + [(lowest, 1e4)] * n + [(None, None)],
            method="highs",
        )
        if solution.status != 0 or solution.x is None or solution.x[-1] > -1e-14:
            break
        new_a, new_c = (
            solution.x[:m],
            np.maximum(solution.x[m : m + n], -np.inf if lowest is None else lowest),
        )
        new_error = _weighted_error(problem, new_a, new_c)
        if not new_error < error * (1.0 - 1e-5):
            break
        a, c, error = new_a, new_c, new_error
    descale: Array = problem.scale ** -np.arange(m + n, dtype=float)
    return (a * descale[:m], c * problem.scale ** -np.arange(1.0, n + 1)), error
