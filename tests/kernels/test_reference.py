"""The reference kernel against autograd, extended precision and numbers worked by hand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import raft
from raft.kernels import reference
from tests.kernels.oracle import exact
from tests.kernels.test_accuracy import check

mpmath: Any = import_module("mpmath")  # which comes with torch, and without types
VERSIONS = reference.VERSIONS


def written_out(x: Tensor, a: Tensor, b: Tensor, version: str) -> Tensor:
    """The formulas as the papers print them, power by power."""
    p = sum((a[k] * x**k for k in range(len(a))), torch.zeros_like(x))
    terms = [b[k - 1] * x**k for k in range(1, len(b) + 1)]
    total = sum(terms, torch.zeros_like(x))
    q = {
        "A": 1 + sum((t.abs() for t in terms), torch.zeros_like(x)),
        "B": 1 + total.abs(),
        "C": 0.1 + total.abs(),
        "D": 1 + total.abs(),
        "N": 1 + total,
    }[version]
    return p / q


def draw(degrees: tuple[int, int], seed: int, size: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    m, n = degrees
    x = torch.randn(size, generator=generator, dtype=torch.float64)
    a = torch.randn(m + 1, generator=generator, dtype=torch.float64)
    b = 0.3 * torch.randn(n, generator=generator, dtype=torch.float64)
    return x.requires_grad_(), a.requires_grad_(), b.requires_grad_()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(VERSIONS), st.integers(0, 12), st.integers(0, 12), st.integers(0, 1000))
def test_value_and_gradients_equal_the_written_out_formula(version: str, m: int, n: int, seed: int) -> None:
    x, a, b = draw((m, n), seed)
    if version == "N":  # stay away from poles
        b = (b.detach() / 10 ** torch.arange(1, n + 1)).requires_grad_()
    mine, theirs = reference.forward(x, a, b, version), written_out(x, a, b, version)
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    weights = torch.linspace(-1, 1, x.numel(), dtype=torch.float64)
    expected = torch.autograd.grad(
        (theirs * weights).sum(), (x, a, b), allow_unused=True, materialize_grads=True
    )
    actual = reference.backward(weights, x, a, b, version)[:3]
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("degrees", [(5, 4), (3, 2), (0, 3), (2, 0), (7, 6)])
def test_gradcheck(version: str, degrees: tuple[int, int]) -> None:
    inputs = draw(degrees, seed=3, size=8)

    def function(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return reference.forward(x, a, b, version)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def in_many_digits(x: float, a: list[float], b: list[float], version: str) -> Any:
    p = mpmath.fsum(mpmath.mpf(c) * x**k for k, c in enumerate(a))
    terms = [mpmath.mpf(c) * x**k for k, c in enumerate(b, start=1)]
    if version == "A":
        return p / (1 + mpmath.fsum(abs(term) for term in terms))
    if version == "N":
        return p / (1 + mpmath.fsum(terms))
    return p / ((mpmath.mpf(0.1) if version == "C" else 1) + abs(mpmath.fsum(terms)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("point", [-3e9, -7e4, -65000.0, -2.25, -1e-6, 0.3, 4.0, 65537.0, 1e20])
def test_value_and_gradients_equal_many_digits(version: str, point: float) -> None:
    """Near and far, with derivatives that mpmath takes of the value."""
    a, b = [0.3, -1.25, 0.5, 0.75], [0.5, 0.125, -0.25 if version != "N" else 0.25, 1.5]
    at, numerator, denominator = (torch.tensor(c, dtype=torch.float64) for c in ([point], a, b))
    with mpmath.workdps(120):
        x = mpmath.mpf(point)

        def of_coefficient(k: int, v: Any) -> Any:
            both = [*a, *b]
            both[k] = v
            return in_many_digits(x, both[: len(a)], both[len(a) :], version)

        value = in_many_digits(x, a, b, version)
        # a step relative to the point, as the kink at zero is not far
        slope = mpmath.diff(lambda v: in_many_digits(v, a, b, version), x, h=abs(x) * mpmath.mpf(10) ** -25)
        by_coefficient = [
            mpmath.diff(lambda v, k=k: of_coefficient(k, v), mpmath.mpf(c)) for k, c in enumerate([*a, *b])
        ]
        expected = [float(v) for v in (value, slope, *by_coefficient)]
    actual = reference.backward(torch.ones_like(at), at, numerator, denominator, version)[:3]
    mine = torch.cat([reference.forward(at, numerator, denominator, version), *actual]).tolist()
    assert mine == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("dtype", list(reference.NEAR), ids=["float64", "float32"])
@pytest.mark.parametrize("version", VERSIONS)
def test_where_powers_end_and_reciprocals_begin(
    version: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both sides of ``NEAR``, and far from it, computed in either type."""
    monkeypatch.setattr(reference, "compute_dtype", lambda device: dtype)
    largest = torch.finfo(torch.float32).max ** 0.5
    border = reference.NEAR[dtype]
    sizes = [1e-30, 1e-8, 0.5, 1.0, *(border * f for f in (0.5, 0.999, 1.0, 1.001, 2.0, 30.0)), 1e9, 1e12]
    x = torch.tensor([sizes, [-size for size in sizes]])
    for scale in (1.0, largest) if dtype == torch.float64 else (1.0,):
        a, b = torch.full((1, 13), scale), torch.full((1, 12), scale)
        if version == "N":
            b[:, ::2] = 0
        true = exact(torch.ones_like(x), x, a, b, version)
        y = reference.forward(x, a, b, version)
        grads = reference.backward(torch.ones_like(x), x, a, b, version)
        check(y, true.y, true.y_terms, 1e-5)
        check(grads[0], true.grad_x, true.grad_x_terms, 1e-5)
        check(grads[1].float(), true.grad_a, true.grad_a_terms, 1e-5)
        check(grads[2].float(), true.grad_b, true.grad_b_terms, 1e-5)


def every_bfloat16(limit: float) -> Tensor:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = bits.view(torch.bfloat16)
    return x[x.float().abs() <= limit]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["gelu", "relu", "tanh", "silu", "elu"])
def test_bfloat16_is_within_one_unit_in_the_last_place(version: str, name: str) -> None:
    act = raft.Rational(name, version=version).eval()
    x = every_bfloat16(1e4)
    actual = exact(x[None], x[None], act.numerator[None], act.denominator[None], version)
    true = torch.from_numpy(actual.y[0].astype(np.float64))
    exponent = torch.frexp(true.abs()).exponent
    last_place = torch.ldexp(torch.ones_like(true), (exponent - 8).clamp_min(-133))
    for y in (act(x), reference.forward(x, act.numerator, act.denominator, version)):
        assert ((y.detach().double() - true).abs() / last_place).max() <= 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_shape_are_kept(dtype: torch.dtype) -> None:
    act = raft.Rational()
    for x in (torch.randn(2, 3, 4), torch.randn(()), torch.randn(0, 3), torch.randn(4, 5).t()):
        for y in (act(x.to(dtype)), reference.forward(x.to(dtype), act.numerator, act.denominator, "A")):
            assert (y.shape, y.dtype) == (x.shape, dtype)


def test_values_worked_by_hand() -> None:
    x, a, b = torch.tensor([-2.0]), torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, -0.5])
    # P(-2) = 3; terms of Q: -2 and -2
    expected = {"A": 3 / 5, "B": 3 / 5, "C": 3 / 4.1, "D": 3 / 5, "N": 3 / -3}
    for version, value in expected.items():
        assert raft.rational(x, a, b, version).item() == pytest.approx(value, rel=1e-6)
        assert reference.forward(x, a, b, version).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_denominator_that_starts_at_zero_is_not_dead(version: str) -> None:
    act = raft.Rational("identity", version=version).eval()
    with torch.no_grad():
        act.denominator.zero_()
    act(torch.linspace(-1, 2, 31)).square().sum().backward()
    assert act.denominator.grad is not None
    assert (act.denominator.grad != 0).all()


def test_bad_arguments_are_refused() -> None:
    x, a, b = torch.ones(2), torch.ones(3), torch.ones(2)
    with pytest.raises(ValueError, match="version must be one of A, B, C, D, N, not 'Z'"):
        raft.rational(x, a, b, "Z")
    with pytest.raises(ValueError, match=r"numerator must have shape"):
        raft.rational(x, a[:0], b)
    with pytest.raises(TypeError, match=r"floating tensor, not torch.int64"):
        raft.rational(torch.ones(2, dtype=torch.int64), a, b)
