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
FARTHEST_KINK = 10_000
"""Whole numbers up to this are looked at for kinks."""
NOT_SAFE_FLOOR = 0.05
"""Version N's denominator stays above this on the fitted interval."""
MAX_DEGREE = 12
MAX_SCALED = 3e3
"""Largest coefficient of a denominator, in powers of x over the interval's far end: of terms of 1e4 that
cancel, float32 leaves two digits of the function."""
LEADING_FLOOR = 1e-2
"""What a held tail's denominator has of its highest power, at least, at the far end of the interval."""

Tail = tuple[int, float]


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
    left_tail: Tail | None = None,
    right_tail: Tail | None = None,
) -> Fit:
    r"""Fit ``P/Q`` to a function: least squares first, then the smallest maximum error.

    With ``samples`` the error is weighted by the square root of their density (at least a tenth everywhere
    between their extremes), so that the fit is closest where the inputs are.

    A tail ``(p, c)`` holds what the fit does far outside of the interval: f(x)/x^p tends to c as x tends to
    −∞ (``left_tail``) or ∞ (``right_tail``); with c = 0, f grows more slowly than x^p. Let a_M x^M and
    b_N x^N be the leading terms of P and of the sum in Q. Far out, Q is near b_N x^N in version N, and near
    :math:`|b_N| |x|^N` in the others: in A all terms are positive, in B, C and D the leading term has the
    sum's sign. So p = M − N, and f(x)/x^p tends to :math:`a_M/|b_N|` on the right, and to the same on the
    left, times (−1)^N in all versions but N. Both tails have one power and one size: those of tanh or x² can
    be held, but not ReLU's, which is zero on one side alone. M and N are the highest degrees that suit, and
    coefficients above them are zero; b_N is positive. Where the function has another tail, the fit is less
    accurate.

    Args:
        function: name of a known activation, or a function of a float64 tensor to one of its shape.
        degrees: (m, n), each from 0 to 12.
        version: A, B, C, D or N.
        interval: (low, high); (-5, 5) where neither this nor ``samples`` is given.
        samples: inputs of the function, any number.
        left_tail: (p, c), the limit c of f(x)/x^p at −∞; None lets the fit choose.
        right_tail: the same at ∞.

    Raises:
        ValueError: for unknown names, impossible degrees or tails, an empty interval, or a function that
            cannot be called with a float64 tensor on the CPU, or is not finite there.

    Example::

        >>> import raft
        >>> raft.fit("gelu", interval=(-5, 5)).max_error < 5e-3
        True
        >>> held = raft.fit("tanh", (5, 5), left_tail=(0, -1.0), right_tail=(0, 1.0))
        >>> [round(float(value), 3) for value in held([-1e6, 1e6])]
        [-1.0, 1.0]
    """
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, not {version!r}")
    check_degrees(degrees)
    forms = _find_forms(degrees, version, left_tail, right_tail)
    target = FUNCTIONS[canonical_name(function)] if isinstance(function, str) else as_numpy_function(function)
    x, weights, inputs = _grid(interval, samples)
    y = np.asarray(target(x), dtype=np.float64)
    check = np.linspace(x[0], x[-1], CHECK_POINTS)
    # of piecewise functions: where errors peak
    kinks = np.arange(np.ceil(max(x[0], -FARTHEST_KINK)), np.floor(min(x[-1], FARTHEST_KINK)) + 1)
    at_check, at_kinks = target(check), target(kinks)
    if not all(np.isfinite(values).all() for values in (y, at_check, at_kinks)):
        raise ValueError(
            f"the function is not finite everywhere on [{x[0]:g}, {x[-1]:g}]; choose another interval"
        )

    cone_version = "B" if version in ("C", "D") else version
    candidates = []
    for form in forms:
        for problem in _problems(x, y, weights, form, cone_version):
            start = _least_squares(problem)
            if start is not None:
                (a, b), worst = _refine(problem, start)
                candidates.append((form.complete(a, b, degrees), worst))
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


@dataclass(frozen=True)
class _Form:
    """What is fitted: degrees of P's free part and of Q; a held tail's next coefficient of P over b_n."""

    free: int
    n: int
    ratio: float | None = None

    def complete(self, a: Array, b: Array, degrees: tuple[int, int]) -> tuple[Array, Array]:
        """All coefficients of P and Q, with the held one, and zeros up to ``degrees``."""
        if self.ratio is not None:
            a = np.append(a, self.ratio * (b[-1] if self.n else 1.0))
        sizes = degrees[0] + 1, degrees[1]
        a, b = (np.append(c, np.zeros(size))[:size] for c, size in zip((a, b), sizes, strict=True))
        return a, b


def _find_forms(degrees: tuple[int, int], version: str, left: Tail | None, right: Tail | None) -> list[_Form]:
    """The form of the highest degrees that holds the tails, for each sign that the left one can have."""
    tails = {side: tail for side, tail in (("left", left), ("right", right)) if tail is not None}
    for side, tail in tails.items():
        if (
            not (isinstance(tail, Sequence) and len(tail) == 2)
            or not (isinstance(tail[0], int) and not isinstance(tail[0], bool))
            or not (isinstance(tail[1], (int, float)) and np.isfinite(tail[1]))
        ):
            raise ValueError(f"{side}_tail must be a whole power and a finite number, not {tail!r}")
    if not tails:
        return [_Form(*degrees)]
    forms: dict[int, _Form] = {}
    for n in range(degrees[1], -1, -1):
        sign = 1 if version == "N" or n % 2 == 0 else -1
        ratios = {(p, c * sign if side == "left" else c) for side, (p, c) in tails.items()}
        held = [(p, c) for p, c in ratios if c]
        slower = min((p for p, c in ratios if not c), default=None)
        if len(held) == 1:
            power, ratio = held[0]
            is_possible = 0 <= n + power <= degrees[0] and (slower is None or power < slower)
            form = _Form(n + power - 1, n, ratio)
        elif held or slower is None:
            continue
        else:
            is_possible = n + slower > 0
            form = _Form(min(degrees[0], n + slower - 1), n, 0.0)
        if is_possible:
            forms.setdefault(sign, form)
    if not forms:
        wanted = " and ".join(f"{side}_tail={tail}" for side, tail in tails.items())
        raise ValueError(
            f"no P/Q of version {version} and degrees {degrees} has {wanted}: both tails have one size "
            "and one power, P's degree less Q's; their signs differ only where Q's degree is odd, "
            "and never in version N"
        )
    return list(forms.values())


def as_numpy_function(function: Callable[[torch.Tensor], torch.Tensor]) -> Function:
    """A function of tensors as one of arrays; it raises ``ValueError`` where it is not elementwise."""

    def evaluate(x: Array) -> Array:
        with torch.no_grad():
            points = torch.tensor(x, device="cpu")  # a copy, as the function may work in place
            try:
                values = function(points)
            except Exception as error:  # whatever the function's own code raises
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
    """A fit on one cone: P = powers @ a + tied @ c and Q = 1 + basis @ c.

    Subject to ``constraints @ c >= floor``, or where there are none to ``c >= lowest``; what is positive in
    ``lowest``, the last of a held tail, is a limit in either case.
    """

    y: Array
    weights: Array
    powers: Array
    tied: Array
    basis: Array
    constraints: Array | None
    floor: float
    scale: float
    lowest: Array


def _problems(x: Array, y: Array, weights: Array, form: _Form, version: str) -> list[_Problem]:
    scale = float(np.abs(x).max())  # powers of x / scale are between −1 and 1
    t = x / scale
    powers = t[:, None] ** np.arange(form.free + 1)
    plain = t[:, None] ** np.arange(1, form.n + 1)
    cones: list[tuple[Array, Array | None, float]]
    if version == "A":
        cones = [(np.abs(plain), None, 0.0)]
    elif version == "N":
        cones = [(plain, plain, NOT_SAFE_FLOOR - 1.0)]
    else:  # the sum may change its sign at zero or not at all
        flipped = plain * np.sign(t)[:, None]
        cones = [(plain, plain, 0.0), (flipped, flipped, 0.0)]
    tied, lowest = np.zeros_like(plain), np.zeros(form.n)
    if form.ratio is not None:
        leading = form.ratio * x ** (form.free + 1)
        if form.n:
            tied[:, -1], lowest[-1] = leading / scale**form.n, LEADING_FLOOR
        else:
            y = y - leading
    return [_Problem(y, weights, powers, tied, *cone, scale, lowest) for cone in cones]


def _least_squares(problem: _Problem) -> tuple[Array, Array] | None:
    """Iterated linear least squares, min Σ (w/Q_previous)² (P − y Q)², over c ≥ 0; None in an empty cone."""
    q: Array = np.ones_like(problem.y)
    m = problem.powers.shape[1]
    a: Array = np.zeros(m)
    c: Array = np.zeros(problem.basis.shape[1])
    # nnls bounds every variable, so the free numerator goes in twice, once with each sign
    of_c: Array = problem.tied - problem.y[:, None] * problem.basis
    matrix: Array = np.hstack([problem.powers, -problem.powers, of_c])
    remainder = problem.y - of_c @ problem.lowest
    for _ in range(10 if matrix.shape[1] else 0):
        row = problem.weights / q
        solution, _ = scipy.optimize.nnls(matrix * row[:, None], remainder * row, maxiter=20_000)
        a, c = solution[:m] - solution[m : 2 * m], solution[2 * m :] + problem.lowest
        q = np.maximum(1.0 + problem.basis @ c, 1e-3)
    if _is_feasible(problem, c):
        return a, c
    # the next lower power makes up for the sign of a held leading one
    for start in (problem.lowest, problem.lowest + np.roll(problem.lowest, -1)):
        if _is_feasible(problem, start):
            row = problem.weights / (1.0 + problem.basis @ start)
            solved = np.linalg.lstsq(problem.powers * row[:, None], (problem.y - of_c @ start) * row)
            return np.asarray(solved[0], dtype=np.float64), start
    return None


def _is_feasible(problem: _Problem, c: Array) -> bool:
    is_within = problem.constraints is None or (problem.constraints @ c).min(initial=0.0) >= problem.floor
    return bool(is_within and c.max(initial=0.0) <= MAX_SCALED)


def _weighted_error(problem: _Problem, a: Array, c: Array) -> float:
    quotient = (problem.powers @ a + problem.tied @ c) / (1.0 + problem.basis @ c)
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
                    [
                        -sign * problem.powers,
                        slope[:, None] * problem.basis - sign * problem.tied,
                        -(q / problem.weights)[:, None],
                    ]
                )
            )
            limits.append(-slope)
        if problem.constraints is not None:
            rows = problem.constraints.shape[0]
            blocks.append(np.hstack([np.zeros((rows, m)), -problem.constraints, np.zeros((rows, 1))]))
            limits.append(np.full(rows, -problem.floor))
        is_bound = (problem.constraints is None) | (problem.lowest > 0)
        lowest = np.where(is_bound, problem.lowest, -np.inf)
        solution = scipy.optimize.linprog(
            np.r_[np.zeros(m + n), 1.0],
            A_ub=np.vstack(blocks),
            b_ub=np.concatenate(limits),
            bounds=[(None, None)] * m + [(low, MAX_SCALED) for low in lowest] + [(None, None)],
            method="highs",
        )
        if solution.status != 0 or solution.x is None or solution.x[-1] > -1e-14:
            break
        new_a, new_c = solution.x[:m], np.maximum(solution.x[m : m + n], lowest)
        new_error = _weighted_error(problem, new_a, new_c)
        if not new_error < error * (1.0 - 1e-5):
            break
        a, c, error = new_a, new_c, new_error
    descale: Array = problem.scale ** -np.arange(m + n, dtype=float)
    return (a * descale[:m], c * problem.scale ** -np.arange(1.0, n + 1)), error
