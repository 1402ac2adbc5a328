"""Fits against scipy's own functions, known optima and the inputs that they were made for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import raft
from raft.coefficients.functions import FUNCTIONS
from raft.coefficients.named import TABLE_INTERVAL

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
