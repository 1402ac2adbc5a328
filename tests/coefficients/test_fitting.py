"""Fits against scipy's own functions, known optima and the inputs that they were made for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import raft
from raft.coefficients.functions import FUNCTIONS
from raft.coefficients.named import TABLE_INTERVAL, identity_fit
from raft.kernels.reference import VERSIONS

TORCH = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "identity": lambda x: x,
    "relu2": lambda x: F.relu(x) * F.relu(x),
    "leaky_relu2": lambda x: F.leaky_relu(x, 0.5) ** 2,
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_named_functions_are_torchs(name: str) -> None:
    x = np.linspace(-8, 8, 4001)
    np.testing.assert_allclose(FUNCTIONS[name](x), TORCH[name](torch.from_numpy(x)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("version", ["A", "B", "C", "D", "N"])
def test_gelu_is_within_five_thousandths_everywhere(version: str) -> None:
    actual = raft.fit("gelu", (5, 4), version, interval=(-5, 5))
    x = torch.linspace(-5, 5, 100_001, dtype=torch.float64)
    error = (torch.from_numpy(actual(x.numpy())) - F.gelu(x)).abs().max().item()
    assert error < 5e-3
    assert actual.max_error == pytest.approx(error, rel=1e-3)


def test_the_error_of_a_uniform_fit_alternates() -> None:
    # Chebyshev: a best fit with d free coefficients attains its maximum error at d + 1 points or more
    actual = raft.fit("silu", (3, 2), "N", interval=(-3, 3))
    x = np.linspace(-3, 3, 20_001)
    error = actual(x) - FUNCTIONS["silu"](x)
    peaks = error[np.abs(error) > 0.98 * actual.max_error]
    assert 1 + (np.diff(np.sign(peaks)) != 0).sum() >= 7


def test_polynomial_fit_is_chebyshevs() -> None:
    # the best cubic to x^4 on [-1, 1] is x^2 - 1/8, with error 1/8
    actual = raft.fit(lambda x: x**4, (3, 0), "A", interval=(-1, 1))
    np.testing.assert_allclose(actual.numerator, [-0.125, 0, 1, 0], atol=1e-3)
    assert actual.max_error == pytest.approx(0.125, rel=1e-4)


def test_version_n_stays_away_from_poles() -> None:
    fit = raft.fit(lambda x: 1 / ((x - 1) ** 2 + 1e-3), (5, 4), "N", interval=(-3, 3))
    q = 1 + sum(b * np.linspace(-3, 3, 10001) ** k for k, b in enumerate(fit.denominator, start=1))
    assert 0.045 < np.min(q) < 0.055  # the floor, which holds at the points of the fit


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(["A", "B", "C", "N"]),
    st.floats(-8, 3),
    st.floats(1, 12),
    st.sampled_from(["gelu", "tanh", "relu"]),
)
@example("B", 2.5625, 8.75, "gelu")
def test_reported_error_is_the_modules(version: str, low: float, width: float, name: str) -> None:
    actual = raft.fit(name, (5, 4), version, interval=(low, low + width))
    act = raft.Rational(actual, version=version).eval()
    x = torch.linspace(low, low + width, 5000)
    error = (act(x).double() - TORCH[name](x.double())).abs().max().item()
    assert error <= actual.max_error + 1e-5


def test_the_error_at_a_kink_is_not_missed() -> None:
    actual = raft.fit("relu", interval=(-0.8758493332781336, 3.6241506667218664))
    assert actual.max_error >= abs(float(actual(np.zeros(1))[0]))


def test_samples_pull_the_fit_to_where_they_are() -> None:
    samples = torch.cat(
        [torch.randn(20_000, generator=torch.Generator().manual_seed(0)), torch.tensor([-17.0, 25.0])]
    )
    near, wide = raft.fit("gelu", samples=samples), raft.fit("gelu", interval=(-17, 25))
    x = samples.double().numpy()
    at_samples = np.sqrt(np.mean((wide(x) - FUNCTIONS["gelu"](x)) ** 2))
    assert near.interval == (-17.0, 25.0)
    assert near.rms_error < 0.5 * at_samples


def test_version_a_has_no_negative_denominators() -> None:
    assert min(raft.fit("elu", (7, 6), "A").denominator) >= 0


@pytest.mark.parametrize("name", ["gelu", "elu", "tanh"])
def test_the_table_is_what_fit_gives(name: str) -> None:
    x = np.linspace(*TABLE_INTERVAL, 1001)
    for version in ("A", "B", "C", "N"):
        made, stored = raft.fit(name, (3, 2), version), raft.named_fit(name, (3, 2), version)
        assert stored.max_error == pytest.approx(made.max_error, rel=0.02)
        np.testing.assert_allclose(made(x), stored(x), atol=0.1 * made.max_error)


def evaluate(fit: raft.Fit, x: np.ndarray) -> np.ndarray:
    """P/Q from the formula, with the powers of its version's absolute values."""
    a, b = np.array(fit.numerator), np.array(fit.denominator)
    terms = b * x[:, None] ** np.arange(1, len(b) + 1)
    q = {
        "A": lambda: 1 + np.abs(terms).sum(1),
        "B": lambda: 1 + np.abs(terms.sum(1)),
        "C": lambda: 0.1 + np.abs(terms.sum(1)),
        "D": lambda: 1 + np.abs(terms.sum(1)),
        "N": lambda: 1 + terms.sum(1),
    }[fit.version]()
    return np.asarray((x[:, None] ** np.arange(len(a))).dot(a) / q)


@pytest.mark.parametrize("version", ["A", "C", "N"])
@pytest.mark.parametrize(
    ("name", "degrees", "left", "right", "most"),
    [
        ("gelu", (5, 4), None, (1, 1.0), 0.004),
        ("silu", (5, 4), (1, -0.25), None, 0.05),
        ("sigmoid", (5, 4), None, (0, 1), 5e-4),
        ("tanh", (6, 5), (0, -1.0), (0, 1.0), 1e-3),
        ("identity", (3, 0), None, (1, 1.0), 1e-9),
        (torch.square, (4, 2), (2, 1.0), (2, 1.0), 1e-6),
        (torch.abs, (5, 4), None, (1, 1.0), 2e-3),
        (lambda x: 1 / (1 + x**2), (5, 4), (-2, 1.0), None, 1e-6),
        (lambda x: torch.full_like(x, 2.5), (0, 0), (0, 2.5), (0, 2.5), 1e-9),
    ],
)
def test_tails_are_held(
    name: Any, degrees: tuple[int, int], left: Any, right: Any, most: float, version: str
) -> None:
    if version == "N" and name in ("tanh", torch.abs):
        with pytest.raises(ValueError, match="their signs differ only"):
            raft.fit(name, degrees, version, left_tail=(left or (1, -1.0)), right_tail=right)
        return
    held = raft.fit(name, degrees, version, left_tail=left, right_tail=right)
    free = raft.fit(name, degrees, version)
    assert held.degrees == degrees
    assert free.max_error * 0.98 - 1e-9 <= held.max_error < most
    for side, tail in ((-1, left), (1, right)):
        if tail is None:
            continue
        x = side * 10.0 ** np.arange(3, 9)
        error = np.abs(evaluate(held, x) / (tail[1] * x ** float(tail[0])) - 1)
        # the terms of P and Q below the leading ones: what they are at x = ±1,000 falls as 1/|x|
        n = np.flatnonzero(held.denominator).max(initial=-1) + 1
        q = np.array([1.0, *held.denominator])
        lead = q[n] if n else {"C": 0.1}.get(version, 1.0)
        below = np.abs(q[:n]).sum() / lead + np.abs(held.numerator[: n + tail[0]]).sum() / abs(lead * tail[1])
        assert (error <= 1.5 * below / np.abs(x) + 1e-7).all()
        assert error[-1] < 1e-3


@pytest.mark.parametrize("version", ["A", "B", "N"])
def test_a_tail_of_zero_grows_more_slowly(version: str) -> None:
    def bump(x: torch.Tensor) -> torch.Tensor:
        return torch.exp(-x.square())

    vanishing = raft.fit(bump, (5, 4), version, interval=(-3, 3), left_tail=(0, 0), right_tail=(0, 0))
    assert vanishing.max_error < 0.01
    assert np.abs(evaluate(vanishing, np.array([-1e4, -1e3, 1e3, 1e4]))).max() < 1e-3
    assert np.abs(evaluate(raft.fit(bump, (5, 4), version, interval=(-3, 3)), np.array([1e4]))).min() > 0.05
    slower = raft.fit("gelu", (6, 4), version, left_tail=(2, 0.0))
    line = raft.fit("gelu", (6, 4), version, left_tail=(2, 0.0), right_tail=(1, 1.0))
    assert evaluate(line, np.array([1e6]))[0] == pytest.approx(1e6, rel=1e-3)
    assert np.abs(evaluate(slower, np.array([-1e6, 1e6])) / 1e12).max() < 1e-5
    assert np.abs(evaluate(slower, np.array([-1e6, 1e6])) / 1e6).max() < 1


def test_a_tail_can_be_held_over_samples() -> None:
    samples = torch.randn(2000, generator=torch.Generator().manual_seed(0)) + 1
    fit = raft.fit("gelu", (5, 4), samples=samples, right_tail=(1, 1.0))
    assert fit.rms_error < 2e-3
    assert evaluate(fit, np.array([1e7]))[0] == pytest.approx(1e7, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"left_tail": (0, 0.0), "right_tail": (1, 1.0)}, "both tails have one size"),  # ReLU's
        ({"left_tail": (1, 0.5), "right_tail": (1, 1.0)}, "both tails have one size"),
        ({"left_tail": (1, 0.0), "right_tail": (1, 1.0)}, "both tails have one size"),
        ({"left_tail": (0, 1.0), "right_tail": (1, 1.0)}, "both tails have one size"),
        ({"left_tail": (0, -1.0), "right_tail": (0, 1.0), "version": "N"}, "their signs differ only"),
        ({"left_tail": (0, -1.0), "right_tail": (0, 1.0), "degrees": (5, 0)}, "their signs differ only"),
        ({"right_tail": (6, 1.0)}, "P's degree less Q's"),
        ({"right_tail": (-5, 1.0)}, "P's degree less Q's"),
        ({"right_tail": (-4, 0.0)}, "P's degree less Q's"),
        ({"right_tail": (1.0, 1.0)}, "right_tail must be a whole power and a finite number"),
        ({"left_tail": (1, float("nan"))}, "left_tail must be a whole power and a finite number"),
        ({"left_tail": (1, "x")}, "left_tail must be a whole power"),
        ({"left_tail": (True, 1.0)}, "left_tail must be a whole power"),
        ({"left_tail": 1.0}, "left_tail must be a whole power"),
    ],
)
def test_impossible_tails_are_refused(arguments: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        raft.fit("relu", **arguments)


@pytest.mark.parametrize("version", ["A", "B", "C", "D", "N"])
@pytest.mark.parametrize(("name", "most"), [("relu2", 0.0237), ("leaky_relu2", 0.0178)])
def test_squared_functions_have_wide_fits(name: str, most: float, version: str) -> None:
    stored = raft.named_fit(name, (6, 4), version)
    assert stored.interval == (-8.0, 8.0)
    x = np.linspace(-8, 8, 50_001)
    error = np.abs(evaluate(stored, x) - TORCH[name](torch.from_numpy(x)).numpy())
    assert error.max() == pytest.approx(stored.max_error, rel=1e-3)
    assert stored.max_error < most
    act = raft.Rational(name, (6, 4), version).eval()
    assert act.start == stored
    points = torch.linspace(-8, 8, 1001)
    torch.testing.assert_close(act(points), TORCH[name](points), rtol=0, atol=most)


@pytest.mark.parametrize("name", ["relu2", "leaky_relu2"])
def test_the_error_of_squared_functions_scales_as_their_values(name: str) -> None:
    narrow = raft.fit(name, (6, 4), interval=(-4, 4))
    assert narrow.max_error == pytest.approx(raft.named_fit(name, (6, 4)).max_error / 4, rel=0.01)
    assert raft.named_fit(name, (5, 4)).interval == (-5.0, 5.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": "gelo"}, "unknown activation 'gelo'; known are gelu"),
        ({"function": "gelu", "degrees": (5, 13)}, "degrees must be two integers from 0 to 12"),
        ({"function": "gelu", "version": "E"}, "version must be one of"),
        ({"function": "gelu", "interval": (2, 2)}, "interval must be two finite numbers"),
        ({"function": "gelu", "samples": [1.0]}, "samples must be at least two different"),
        ({"function": torch.log, "interval": (-1, 1)}, "not finite everywhere"),
        ({"function": torch.reciprocal}, "not finite everywhere"),  # at 0 alone
        ({"function": lambda x: 3.0}, "must give a tensor of its input's shape, not 3.0"),
        ({"function": "gelu", "degrees": 5}, "degrees must be two integers from 0 to 12, not 5"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        raft.fit(**arguments)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("degrees", [(1, 0), (5, 4), (12, 12)])
def test_the_identity_is_exact(version: str, degrees: tuple[int, int]) -> None:
    act = raft.Rational("identity", degrees, version).eval()
    sizes = torch.logspace(-30, 30, 601)
    x = torch.cat([-sizes, torch.zeros(1), sizes])
    # a tenth, version C's constant, is no binary number
    torch.testing.assert_close(act(x), x, rtol=1.2e-7 if version == "C" else 0, atol=0)
    act.scale_to(20 * torch.randn(1000))
    torch.testing.assert_close(act(x), x, rtol=1.2e-7 if version == "C" else 0, atol=0)


def test_a_constant_is_no_identity() -> None:
    with pytest.raises(ValueError, match=r"the identity needs degrees from \(1, 0\) on, not \(0, 4\)"):
        identity_fit((0, 4), "A")
    with pytest.raises(ValueError, match="version must be one of A, B, C, D, N, not 'E'"):
        identity_fit((5, 4), "E")


def test_wide_intervals_need_no_more_memory() -> None:
    sizes: list[int] = []

    def line(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return x

    assert raft.fit(line, (1, 0), interval=(-1e7, 1e7)).max_error < 1
    assert max(sizes) < 50_000


@pytest.mark.parametrize("function", [nn.Softmax(dim=1), lambda x: x.view(*x.shape[:1], x.shape[1])])
def test_a_function_of_other_axes_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match="cannot be called with a float64 tensor"):
        raft.fit(function)
