"""Formulas of RAFs: against torch, numbers worked by hand, and through every form they are written in."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import raft
from raft.coefficients.closed_form import LATEX, PYTHON, RationalFunction
from raft.coefficients.functions import FUNCTIONS, name_of
from raft.kernels.reference import VERSIONS
from raft.modules import TORCH_FUNCTIONS

X = np.linspace(-6, 6, 401)
coefficient = st.floats(-3, 3).map(lambda value: round(value, 3))
functions = st.builds(
    RationalFunction,
    numerator=st.lists(coefficient, min_size=1, max_size=6).map(tuple),
    denominator=st.lists(coefficient, max_size=4).map(tuple),
    version=st.sampled_from("ABCD"),
)


def test_values_and_derivatives_are_the_operators() -> None:
    for version in VERSIONS:
        f = RationalFunction((0.1, 0.5, 0.4, 0.1, 0.02, 0.001), (0.1, 0.3, -0.05, 0.01), version)
        x = torch.from_numpy(X).requires_grad_()
        a, b = (torch.tensor(values, dtype=torch.float64) for values in (f.numerator, f.denominator))
        y = raft.rational(x, a, b, version)
        np.testing.assert_allclose(f(X), y.detach(), rtol=1e-12, atol=1e-12)
        (slope,) = torch.autograd.grad(y.sum(), x)
        np.testing.assert_allclose(f.derivative(X), slope, rtol=1e-9, atol=1e-11)


def test_a_residual_one_is_the_sum() -> None:
    f = RationalFunction((0.0, 0.0, 0.1), (0.5,), "A", base_function="gelu_new")
    assert f.base_function == "gelu_tanh"
    plain = RationalFunction(f.numerator, f.denominator)
    np.testing.assert_allclose(f(X), FUNCTIONS["gelu_tanh"](X) + plain(X), rtol=1e-14, atol=1e-14)
    x = torch.from_numpy(X).requires_grad_()
    (slope,) = torch.autograd.grad(torch.nn.functional.gelu(x, approximate="tanh").sum(), x)
    np.testing.assert_allclose(f.derivative(X) - plain.derivative(X), slope, atol=1e-8)


@pytest.mark.parametrize(
    ("function", "below", "above"),
    [
        # (2 + 3x) / (1 + |x|): 3 on the right; on the left (2 + 3x) / (1 - x) comes to -3
        (RationalFunction((2, 3), (1,)), [-3], [3]),
        # x^2 / (1 + |x|) = |x| - 1 + 1/(1 + |x|)
        (RationalFunction((0, 0, 1), (1,)), [-1, -1], [-1, 1]),
        # x^3 / (1 + |x + x^2|): x^3 / (1 + x + x^2) = x - 1 + 1/(...) on both sides, far out x^2 rules
        (RationalFunction((0, 0, 0, 1), (1, 1), "B"), [-1, 1], [-1, 1]),
        # x^3 / (0.1 + |x|): ±x^2 ...
        (RationalFunction((0, 0, 0, 1), (1,), "C"), [-0.01, -0.1, -1], [0.01, -0.1, 1]),
        (RationalFunction((5,), (0, 1)), [0], [0]),
        (RationalFunction((1, 2), ()), [1, 2], [1, 2]),
        (RationalFunction((4, 2), (0.0, 0.0), "C"), [40, 20], [40, 20]),
    ],
)
def test_asymptotes(function: RationalFunction, below: list[float], above: list[float]) -> None:
    np.testing.assert_allclose(function.asymptote(-1), below, atol=1e-12)
    np.testing.assert_allclose(function.asymptote(1), above, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(functions, st.sampled_from([-1, 1]))
def test_far_out_the_function_is_its_asymptote(function: RationalFunction, side: int) -> None:
    x = side * 1e7
    expected = np.polynomial.polynomial.polyval(x, function.asymptote(side))
    assert function(x) == pytest.approx(expected, rel=2e-2, abs=2e-2)


def test_python_without_torch_gives_the_same() -> None:
    for version in VERSIONS:
        for beside in (None, *FUNCTIONS):
            f = RationalFunction((0.1, 0.5, 0.4), (0.1, -0.3), version, beside, site='layer."0"')
            made: dict[str, Any] = {}
            exec(f.python("shape"), made)
            assert "torch" not in f.python()
            values = [made["shape"](float(x)) for x in X]
            np.testing.assert_allclose(values, f(X), rtol=1e-12, atol=1e-12)
    f = RationalFunction((0.1, 0.5, 0.4), (0.1, -0.3), "C")
    exec(f.python("shape"), made)
    np.testing.assert_allclose(made["shape"](X), f(X), rtol=1e-12)
    with pytest.raises(ValueError, match="no name for a Python function"):
        f.python("not a name")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (
            RationalFunction((0, 0.5, -2), (0.25, -3)),
            r"f(x) = \frac{0.5\,x - 2\,x^{2}}{1 + |0.25\,x| + |3\,x^{2}|}",
        ),
        (RationalFunction((1,), (0.5, -2), "B"), r"f(x) = \frac{1}{1 + \left|0.5\,x - 2\,x^{2}\right|}"),
        (RationalFunction((1,), (-0.5,), "N"), r"f(x) = \frac{1}{1 - 0.5\,x}"),
        (RationalFunction((12345.6,), (), "C"), r"f(x) = \frac{1.235\cdot 10^{4}}{0.1}"),
        (
            RationalFunction((0.0,), (1.0,), base_function="silu"),
            r"f(x) = x\,\sigma(x) + \frac{0}{1 + |1\,x|}",
        ),
    ],
)
def test_latex(function: RationalFunction, text: str) -> None:
    assert function.latex() == text


@settings(deadline=None, max_examples=50)
@given(functions)
def test_json_brings_back_the_same(function: RationalFunction) -> None:
    assert RationalFunction.from_json(function.to_json()) == function


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_modules_come_back_bit_for_bit(groups: int, residual: bool) -> None:
    start = raft.named_fit("silu", (3, 2), "B")
    act = (
        raft.ResidualRational(torch.nn.SiLU(), start, groups)
        if residual
        else raft.Rational(start, (3, 2), "B", groups)
    )
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) / 7)
    again = raft.Rational.from_json(act.to_json("encoder"))
    assert type(again) is type(act)
    assert (again.degrees, again.version, again.groups) == ((3, 2), "B", groups)
    x = torch.randn(5, 6)
    assert torch.equal(again(x), act(x))
    for group, each in enumerate(act.functions("encoder")):
        assert each.site == "encoder"
        columns = slice(group * 6 // groups, (group + 1) * 6 // groups)
        np.testing.assert_allclose(each(x[:, columns].numpy()), act(x)[:, columns].detach(), atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_the_axis_of_the_channels_comes_back(residual: bool) -> None:
    start = raft.named_fit("silu")
    act = (
        raft.ResidualRational(torch.nn.SiLU(), start, 4, dim=1)
        if residual
        else raft.Rational(start, groups=4, dim=1)
    )
    with torch.no_grad():
        act.numerator.add_(torch.arange(4.0)[:, None] / 9)
    x = torch.randn(2, 8, 3, 4)
    again = raft.Rational.from_json(act.to_json())
    assert again.dim == 1
    one_by_one = raft.Rational.from_json(json.dumps([json.dumps(row) for row in json.loads(act.to_json())]))
    assert torch.equal(one_by_one(x), act(x))
    assert torch.equal(again(x), act(x))
    records = json.loads(act.to_json())
    records[0]["dim"] = 2
    with pytest.raises(ValueError, match="its groups differ in their forms"):
        raft.Rational.from_json(json.dumps(records))


def test_values_far_out_are_the_operators() -> None:
    function = RationalFunction((0.0,) * 7 + (1.0,), (0.0,) * 5 + (1.0,))
    assert function(1e60) == pytest.approx(1e60)
    assert function.derivative(1e60) == pytest.approx(1.0)
    assert isinstance(function(0.5), float)
    assert isinstance(function.derivative(0.5), float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        (json.dumps([RationalFunction((1.0,), (), site=site).record() for site in "ab"]), "RAFs of 2 sites"),
        (json.dumps({**RationalFunction((1.0,), ()).record(), "numerator": "12"}), "no list of numbers"),
        (json.dumps({**RationalFunction((1.0,), ()).record(), "numerator": [1e39]}), "not all finite"),
        ("[]", "its groups differ in their forms, or are none"),
        ("3", "not iterable"),
        ("{}", "it has no 'format'"),
        ('{"format": "else"}', "its format is 'else'"),
        (json.dumps({**RationalFunction((1.0,), ()).record(), "version": "E"}), "version must be one of"),
        (json.dumps({**RationalFunction((1.0,), ()).record(), "numerator": [math.nan]}), "not all finite"),
        (json.dumps({**RationalFunction((1.0,), ()).record(), "numerator": []}), "at least the constant"),
        (
            json.dumps({**RationalFunction((1.0,), ()).record(), "degrees": [5, 4]}),
            r"its degrees are \[5, 4\]",
        ),
        (
            json.dumps({**RationalFunction((1.0,), ()).record(), "beside": "cosine"}),
            "unknown activation 'cosine'",
        ),
    ],
)
def test_what_is_no_rational_activation_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"JSON.*{message}"):
        raft.Rational.from_json(text)


def test_functions_are_named_by_their_values() -> None:
    assert set(TORCH_FUNCTIONS) == set(PYTHON) == set(LATEX) == set(FUNCTIONS)
    for name, function in TORCH_FUNCTIONS.items():
        assert name_of(function) == name
    assert name_of(torch.nn.LeakyReLU(0.2)) is None
    assert name_of(torch.sum) is None
    assert name_of(torch.nn.SiLU(inplace=True)) == "silu"
    assert name_of(torch.nn.PReLU()) is None  # float32 parameters
    act = raft.ResidualRational(torch.sin, raft.named_fit("gelu"))
    with pytest.raises(ValueError, match="none of the functions that have a name"):
        act.to_json()


def test_a_notebook_shows_the_curve() -> None:
    act = raft.Rational("gelu", groups=2)
    svg = ET.fromstring(act._repr_html_()).find("{http://www.w3.org/2000/svg}svg")
    assert svg is not None
    lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3
    # where nothing was trained, the curves lie on what they began as
    assert lines[0].get("points") == lines[1].get("points") == lines[2].get("points")
    with torch.no_grad():
        act.numerator[1, 0] += 1
    svg = ET.fromstring(act._repr_html_()).find("{http://www.w3.org/2000/svg}svg")
    assert svg is not None
    moved = [line.get("points") for line in svg.findall("{http://www.w3.org/2000/svg}polyline")]
    assert moved[0] == moved[2] != moved[1]
    with torch.no_grad():
        act.numerator[0, 0] = torch.nan
    assert "not all finite" in act._repr_html_()
    assert "not loaded" in act.to("meta")._repr_html_()
