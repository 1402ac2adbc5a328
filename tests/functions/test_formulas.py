"""Each function beside its formula, written from its paper in float64 numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import gradcheck
from transformers.activations import XIELUActivation

import raft
from raft.coefficients import NAMED_FUNCTIONS
from raft.coefficients.functions import FUNCTIONS as FIXED
from raft.functions import XIELU, LearnedActivation, PolyNorm, PReLU, Spline, Swish

Array = NDArray[np.float64]


def softplus(x: Array) -> Array:
    y: Array = np.log(1 + np.exp(x))
    return y


def xielu(x: Array, alpha_p: Array, alpha_n: Array) -> Array:
    a, b = softplus(alpha_p), 0.5 + softplus(alpha_n)
    return np.where(x > 0, a * x**2 + 0.5 * x, b * (np.exp(np.minimum(x, 0)) - 1) - b * x + 0.5 * x)


def prelu(x: Array, weight: Array) -> Array:
    return np.where(x > 0, x, weight * x)


def swish(x: Array, beta: Array) -> Array:
    y: Array = x / (1 + np.exp(-beta * x))
    return y


def polynorm(x: Array, weight: Array, bias: Array) -> Array:
    y = np.broadcast_to(bias, x.shape).astype(np.float64)
    for i, a in enumerate(weight, start=1):
        y = y + a * x**i / np.sqrt(np.mean(x ** (2 * i), axis=-1, keepdims=True) + 1e-6)
    return y


def spline(x: Array, values: Array) -> Array:
    """Between the knots numpy's interpolation, and the outer lines beyond them."""
    knots = np.linspace(-3, 3, len(values))
    first, last = (
        (values[1] - values[0]) / (knots[1] - knots[0]),
        (values[-1] - values[-2]) / (knots[-1] - knots[-2]),
    )
    y = np.interp(x, knots, values)
    y = np.where(x < knots[0], values[0] + first * (x - knots[0]), y)
    return np.where(x > knots[-1], values[-1] + last * (x - knots[-1]), y)


CASES: dict[str, tuple[Callable[..., LearnedActivation], Callable[..., Array]]] = {
    "xielu": (XIELU, xielu),
    "prelu": (PReLU, prelu),
    "swish": (Swish, swish),
    "polynorm": (PolyNorm, polynorm),
    "spline": (lambda **more: Spline("silu", knots=13, interval=(-3, 3), **more), spline),
}
ELEMENTWISE = [name for name in CASES if name != "polynorm"]


def moved(act: LearnedActivation) -> LearnedActivation:
    """With parameters that are not at their start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return act


def inputs(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return (2.5 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).to(
        dtype
    )


def numbers(act: LearnedActivation) -> list[Array]:
    return [values.detach().double().numpy() for values in act.coefficients()]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)],
)
def test_values_are_those_of_the_paper(name: str, dtype: torch.dtype, tolerance: float) -> None:
    make, formula = CASES[name]
    act = moved(make())
    x = inputs(7, 40, dtype=dtype)
    y = act(x)
    assert (y.dtype, y.shape) == (dtype, x.shape)
    expected = formula(x.double().numpy(), *numbers(act))
    np.testing.assert_allclose(y.detach().double().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_a_number_gives_a_number(name: str) -> None:
    act = CASES[name][0]()
    x = inputs(5)
    assert act(x[0]).shape == ()
    if act.is_elementwise:
        assert torch.func.vmap(torch.func.grad(act))(x).shape == x.shape


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_differences(name: str) -> None:
    act = moved(CASES[name][0]())
    parameters = [values.detach().double().requires_grad_() for values in act.coefficients()]
    assert gradcheck(act._value, (inputs(3, 5).requires_grad_(), *parameters))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradients_of_groups_are_those_of_differences(name: str) -> None:
    act = moved(CASES[name][0](groups=3))
    parameters = [values.detach().double().requires_grad_() for values in act.coefficients()]
    assert gradcheck(act._value, (inputs(3, 6).requires_grad_(), *parameters))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_parameters_get_float32_gradients_with_any_input(name: str, dtype: torch.dtype) -> None:
    act = moved(CASES[name][0]())
    wide = [values.detach().double().requires_grad_() for values in act.coefficients()]
    x = inputs(64, 32, dtype=dtype)
    upstream = inputs(64, 32, dtype=dtype).sin()
    act(x).backward(upstream)
    expected = torch.autograd.grad(act._value(x.double(), *wide), wide, upstream.double())
    for parameter, gradient in zip(act.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        torch.testing.assert_close(parameter.grad.double(), gradient, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_groups_have_parameters_of_their_own(name: str) -> None:
    make, formula = CASES[name]
    act = moved(make(groups=4))
    x = inputs(3, 5, 8)
    y = act(x)
    for group in range(4):
        part = slice(2 * group, 2 * group + 2)
        expected = formula(x[..., part].numpy(), *(values[group] for values in numbers(act)))
        np.testing.assert_allclose(y[..., part].detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"4 groups do not divide the last axis of x, .* \[3, 7\]"):
        act(torch.zeros(3, 7))


@pytest.mark.parametrize("name", ["xielu", "prelu", "swish"])
@pytest.mark.parametrize("x", [0.0, -0.0])
def test_the_gradient_at_zero_is_that_of_the_negative_side(name: str, x: float) -> None:
    act, at = CASES[name][0](), torch.tensor([x], requires_grad=True)
    (gradient,) = torch.autograd.grad(act(at), at)
    assert gradient.item() == {"xielu": 0.5, "prelu": 0.25, "swish": 0.5}[name]


def test_xielu_is_that_of_transformers() -> None:
    other = XIELUActivation(dtype=torch.float32)
    act = XIELU()
    for name in ("alpha_p", "alpha_n"):
        torch.testing.assert_close(getattr(act, name), getattr(other, name))
    x = inputs(1000, dtype=torch.float32)
    torch.testing.assert_close(act(x), other(x), rtol=1e-6, atol=3e-6)


def test_prelu_and_swish_are_those_of_torch() -> None:
    x = inputs(1000, dtype=torch.float32)
    assert torch.equal(PReLU()(x), torch.nn.PReLU()(x))
    torch.testing.assert_close(Swish()(x), torch.nn.functional.silu(x))


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
def test_a_spline_starts_at_the_values_of_any_named_function(name: str) -> None:
    act = Spline(name, knots=33, interval=(-4, 4))
    knots = np.linspace(-4, 4, 33)
    assert act(torch.tensor(knots)).tolist() == FIXED[name](knots).astype(np.float32).tolist()
    points = np.linspace(-4, 4, 1001)
    errors = act.values(points)[0] - FIXED[name](points)
    assert act.start.max_error == pytest.approx(np.abs(errors).max(), rel=0.05, abs=1e-6)
    assert act.start.interval == (-4, 4)


@pytest.mark.parametrize(
    ("make", "name"), [(PReLU, "relu"), (PReLU, "leaky_relu"), (PReLU, "identity"), (Swish, "silu")]
)
def test_known_members_of_a_family_are_exact_starts(make: Any, name: str) -> None:
    act: LearnedActivation = make(name)
    points = np.linspace(-5, 5, 101)
    np.testing.assert_allclose(act.values(points)[0], FIXED[name](points), rtol=1e-6, atol=1e-9)
    assert act.start.max_error < 1e-9


@pytest.mark.parametrize(
    ("make", "name"),
    [(XIELU, "gelu"), (XIELU, "relu"), (PReLU, "gelu"), (PReLU, "relu"), (Swish, "gelu"), (Swish, "mish")],
)
def test_other_starts_have_the_least_squared_error(make: Any, name: str) -> None:
    act, points = make(name), np.linspace(-5, 5, 1001)

    def error() -> float:
        return float(np.square(act.values(points)[0] - FIXED[name](points)).mean())

    least = error()
    assert act.start.rms_error == pytest.approx(least**0.5, rel=0.01, abs=1e-6)
    for parameter in act.parameters():
        for step in (-0.02, 0.02):
            with torch.no_grad():
                parameter.add_(step)
                assert error() > least - 1e-7
                parameter.sub_(step)


def test_a_function_that_has_no_name_is_matched_too() -> None:
    act = Spline(torch.sin, knots=101, interval=(-5, 5))
    x = torch.linspace(-5, 5, 999)
    assert (act(x) - x.sin()).abs().max() < 2e-3
    assert XIELU(raft.Rational("gelu")).start.max_error < 1


def test_sources_start_as_they_say() -> None:
    assert set(numbers(Spline(None))[0]) == {np.float32(0.01)}
    assert softplus(numbers(XIELU())[0]) == pytest.approx(0.8)
    weight, bias = numbers(PolyNorm(degree=4))
    assert (weight.tolist(), bias.tolist()) == ([0.25] * 4, [0.0])
