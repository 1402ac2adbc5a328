"""The reference kernel against autograd, float64 and numbers worked by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import raft
from raft.kernels import reference

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
    mine, theirs = raft.rational(x, a, b, version), written_out(x, a, b, version)
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    weights = torch.linspace(-1, 1, x.numel(), dtype=torch.float64)
    expected = torch.autograd.grad(
        (theirs * weights).sum(), (x, a, b), allow_unused=True, materialize_grads=True
    )
    found = torch.autograd.grad((mine * weights).sum(), (x, a, b))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("degrees", [(5, 4), (3, 2), (0, 3), (2, 0), (7, 6)])
def test_gradcheck(version: str, degrees: tuple[int, int]) -> None:
    inputs = draw(degrees, seed=3)

    def function(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return raft.rational(x, a, b, version)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def every_bfloat16(limit: float) -> Tensor:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = bits.view(torch.bfloat16)
    return x[x.float().abs() <= limit]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["gelu", "relu", "tanh", "silu", "elu"])
def test_bfloat16_is_within_one_unit_in_the_last_place(version: str, name: str) -> None:
    act = raft.Rational(name, version=version).eval()
    x = every_bfloat16(1e4)
    exact = raft.rational(x.double(), act.numerator.double(), act.denominator.double(), version).detach()
    exponent = torch.frexp(exact.abs()).exponent
    last_place = torch.ldexp(torch.ones_like(exact), (exponent - 8).clamp_min(-133))
    assert ((act(x).double() - exact).abs() / last_place).max() <= 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_shape_are_kept(dtype: torch.dtype) -> None:
    act = raft.Rational()
    for x in (torch.randn(2, 3, 4), torch.randn(()), torch.randn(0, 3), torch.randn(4, 5).t()):
        y = act(x.to(dtype))
        assert (y.shape, y.dtype) == (x.shape, dtype)


def test_values_worked_by_hand() -> None:
    x, a, b = torch.tensor([-2.0]), torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, -0.5])
    # P(-2) = 3; terms of Q: -2 and -2
    expected = {"A": 3 / 5, "B": 3 / 5, "C": 3 / 4.1, "D": 3 / 5, "N": 3 / -3}
    for version, value in expected.items():
        assert raft.rational(x, a, b, version).item() == pytest.approx(value, rel=1e-6)


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
