"""Measures of functions that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import raft
from raft.analysis.function_measures import (
    Domain,
    Piece,
    describe_shape,
    distance,
    find_nearest,
    find_nearest_affine,
    fit_affine,
    fit_output,
    merge_domains,
)
from raft.coefficients.closed_form import RationalFunction
from raft.coefficients.functions import FUNCTIONS
from raft.hf.histogram import InputHistogram

GELU = FUNCTIONS["gelu"]
NOTHING = RationalFunction((0.0,), (), base_function="gelu")
"""A residual RAF at its start: GELU exactly."""


def normal(mean: float = 0.0, std: float = 1.0) -> InputHistogram:
    actual = InputHistogram()
    actual.add(torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)) * std + mean)
    return actual


def test_a_raf_that_is_gelu_is_at_distance_zero() -> None:
    domain = Domain.of(normal())
    actual = distance(NOTHING, GELU, domain)
    assert (actual.l2, actual.max) == (0, 0)
    assert find_nearest(NOTHING, domain)[0][0] == "gelu"
    match = find_nearest_affine(NOTHING, domain)
    assert match.name == "gelu"
    assert (match.scale, match.shift) == pytest.approx((1, 0), abs=1e-4)
    assert (match.factor, match.offset) == pytest.approx((1, 0), abs=1e-4)
    assert match.distance.max < 1e-5


def test_a_fit_of_gelu_is_at_the_distance_that_the_fit_reports() -> None:
    fit = raft.fit("gelu", interval=(-4, 4))
    actual = distance(RationalFunction(fit.numerator, fit.denominator), GELU, Domain.interval(-4, 4))
    assert actual.max == pytest.approx(fit.max_error, rel=1e-3)
    assert actual.l2 == pytest.approx(fit.rms_error, rel=1e-2)


def test_a_raised_gelu_is_as_far_as_it_is_raised() -> None:
    raised = RationalFunction((0.25,), (), base_function="gelu")
    for domain in (Domain.of(normal()), Domain.interval(-3, 2)):
        actual = distance(raised, GELU, domain)
        assert (actual.l2, actual.max) == pytest.approx((0.25, 0.25))
        match = fit_affine(raised, "gelu", domain)
        assert match.offset == pytest.approx(0.25, abs=1e-4)
        assert match.distance.l2 < 1e-6


def test_a_gelu_that_is_scaled_and_moved_is_found() -> None:
    def moved(x: np.ndarray) -> np.ndarray:
        return 1.5 * GELU(0.8 * x - 0.6) - 0.3

    match = find_nearest_affine(moved, Domain.of(normal(std=2)))
    assert match.name == "gelu"
    assert (match.scale, match.shift) == pytest.approx((0.8, -0.6), abs=1e-4)
    assert (match.factor, match.offset) == pytest.approx((1.5, -0.3), abs=1e-4)


@pytest.mark.parametrize("name", ["gelu", "tanh", "softplus", "elu", "silu"])
def test_any_affine_form_is_found(name: str) -> None:
    random = np.random.default_rng(0)
    domain = Domain.interval(-3, 3)
    for _ in range(8):
        scale, shift = random.choice([-1, 1]) * random.uniform(0.4, 3), random.uniform(-4, 4)
        factor, offset = random.normal(size=2)

        def f(x: np.ndarray, inner: tuple[float, ...] = (scale, shift, factor, offset)) -> np.ndarray:
            return inner[2] * FUNCTIONS[name](inner[0] * x + inner[1]) + inner[3]

        spread = float(np.std(f(domain.x)))
        assert fit_affine(f, name, domain).distance.l2 < 0.02 * spread + 1e-9


def test_the_l2_distance_is_weighted_by_the_inputs() -> None:
    # |x - (-x)| = 2|x|, whose mean square is 4 E[x^2]
    line, down = (RationalFunction((0.0, slope), ()) for slope in (1.0, -1.0))
    assert distance(line, down, Domain.of(normal(std=0.5))).l2 == pytest.approx(1.0, rel=0.01)
    assert distance(line, down, Domain.interval(-3, 3)).l2 == pytest.approx(2 * np.sqrt(3), rel=2e-3)
    actual = distance(line, down, Domain.interval(-1, 3))
    assert (actual.max, actual.at) == (6, 3)


def test_what_is_left_of_a_match_is_weighted_by_the_inputs() -> None:
    # of x^2 for inputs with mean 1 and deviation 1 the best line is 2x: Cov(x, x^2) = 2, E[x^2] = 2
    actual = fit_output(RationalFunction((0.0, 0.0, 1.0), ()), "identity", Domain.of(normal(mean=1)))
    assert (actual.factor, actual.offset) == pytest.approx((2, 0), abs=0.05)
    assert actual.distance.l2 == pytest.approx(np.sqrt(2), rel=0.05)  # the deviation of (x - 1)^2


def test_the_nearest_is_nearer_than_one_that_is_nearly_so() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        actual: np.ndarray = FUNCTIONS["mish"](x) + 0.02 * np.sin(3 * x)
        return actual

    names, domain = ["gelu", "silu"], Domain.interval(-3, 3)
    gelu, silu = (fit_affine(f, name, domain).distance.l2 for name in names)
    assert 1.1 * silu < gelu < 2 * silu
    assert find_nearest_affine(f, domain, names).name == "silu"

    # by the mean square, not by the largest difference
    def spike(x: np.ndarray) -> np.ndarray:
        return FUNCTIONS["silu"](x) + 0.5 * np.exp(-((x - 2) ** 2) / 0.001)

    assert find_nearest(spike, domain)[0][0] == "silu"
    assert find_nearest(spike, domain)[0][1].max > 0.49


def test_the_share_of_negative_outputs_is_that_of_inputs() -> None:
    actual = describe_shape(RationalFunction((0.0, 1.0), ()), Domain.of(normal(mean=1)))
    assert actual.negative == pytest.approx(0.1587, abs=2e-3)  # of a normal distribution below -1


def test_a_line() -> None:
    line = RationalFunction((1.0, -2.0), ())
    domain = Domain.interval(-1, 3)
    actual = describe_shape(line, domain)
    assert actual.pieces == (Piece(-1, 3, -1, 1.0),)
    assert actual.zeros == pytest.approx((0.5,))
    assert (actual.minima, actual.maxima) == ((), ())
    assert actual.negative == pytest.approx(2.5 / 4, abs=1e-3)
    match = find_nearest_affine(line, domain, ["identity", "tanh", "gelu"])
    assert match.name == "identity"
    assert (match.factor, match.offset) == pytest.approx((-2, 1))


def test_a_constant() -> None:
    actual = describe_shape(RationalFunction((3.0,), ()), Domain.interval(-1, 1))
    assert actual.pieces == (Piece(-1, 1, 0, 1.0),)
    assert actual.zeros == ()
    assert describe_shape(RationalFunction((0.0,), ()), Domain.interval(-1, 1)).zeros == ()


def test_a_parabola_turns_and_touches_zero() -> None:
    # (x - 1)^2 over inputs of a normal distribution around 1: one half on each side
    actual = describe_shape(RationalFunction((1.0, -2.0, 1.0), ()), Domain.of(normal(mean=1)))
    assert [(piece.direction, round(piece.share, 2)) for piece in actual.pieces] == [(-1, 0.5), (1, 0.5)]
    assert actual.pieces[0].high == pytest.approx(1, abs=1e-9)
    assert len(actual.minima) == 1
    assert actual.minima[0] == pytest.approx((1, 0), abs=1e-9)
    assert actual.zeros == pytest.approx((1,), abs=1e-9)
    assert actual.negative == 0


def test_a_cubic_has_three_pieces_and_three_zeros() -> None:
    # x^3 - 3x: zeros 0, ±√3; maximum 2 at -1, minimum -2 at 1
    actual = describe_shape(RationalFunction((0.0, -3.0, 0.0, 1.0), ()), Domain.interval(-3, 5))
    assert [piece.direction for piece in actual.pieces] == [1, -1, 1]
    assert actual.zeros == pytest.approx((-np.sqrt(3), 0, np.sqrt(3)), abs=1e-9)
    assert actual.minima[0] == pytest.approx((1, -2))
    assert actual.maxima[0] == pytest.approx((-1, 2))
    assert [piece.share for piece in actual.pieces] == pytest.approx([2 / 8, 2 / 8, 4 / 8])


def test_a_flat_touch_is_no_turn() -> None:
    actual = describe_shape(RationalFunction((0.0, 0.0, 0.0, 1.0), ()), Domain.interval(-2, 2))
    assert [piece.direction for piece in actual.pieces] == [1]
    assert actual.zeros == pytest.approx((0,), abs=1e-12)


def test_a_pole_is_no_zero() -> None:
    actual = describe_shape(RationalFunction((1.0,), (-0.7,), "N"), Domain.interval(-3, 3))
    assert actual.zeros == ()


@pytest.mark.parametrize("denominator", [(), (0.0, 0.0, 0.0, 1.0)])
def test_a_flat_crossing_is_a_zero(denominator: tuple[float, ...]) -> None:
    power = RationalFunction((0.0,) * 5 + (1.0,), denominator)
    assert describe_shape(power, Domain.interval(-5, 5)).zeros == pytest.approx((0,), abs=1e-9)


def test_a_kink_of_the_denominator_is_found() -> None:
    # 1 / (1 + |x|) turns at 0 without a derivative of zero
    actual = describe_shape(RationalFunction((1.0,), (1.0,)), Domain.interval(-1, 2.5))
    assert len(actual.maxima) == 1
    assert actual.maxima[0] == pytest.approx((0, 1), abs=1e-9)


def test_gelus_minimum_is_where_it_is_known_to_be() -> None:
    actual = describe_shape(NOTHING, Domain.interval(-4, 4))
    assert actual.minima[0] == pytest.approx((-0.7517916, -0.1699707), abs=1e-5)
    assert actual.zeros == pytest.approx((0,), abs=1e-12)
    assert actual.negative == pytest.approx(0.5, abs=1e-3)


def test_domains() -> None:
    domain = Domain.of(normal())
    assert (domain.x[0], domain.x[-1]) == pytest.approx((-3.29, 3.29), abs=0.1)
    assert domain.share(-1, 1) == pytest.approx(0.6827, abs=2e-3)
    # a seldom used RAF counts as much as a busy one
    few, many = normal(mean=-5), normal(mean=5)
    many.counts *= 50
    both = merge_domains([few, many])
    assert both.share(-10, 0) == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(ValueError, match="from a smaller number to a larger, not 1 to 1"):
        Domain.interval(1, 1)
    same = InputHistogram()
    same.add(torch.full((5,), 2.0))
    with pytest.raises(ValueError, match="all inputs are 2"):
        Domain.of(same)
