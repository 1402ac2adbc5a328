"""The functions, on what is not a plain tensor, and with the highest degrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import raft
from raft.functional import rational_by_sample

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


def parts(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, 8, generator=generator) for length in (2, 0, 3)]


def nested(tensors: list[Tensor], layout: torch.layout) -> Tensor:
    return torch.nested.as_nested_tensor(tensors, layout=layout)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_nested_tensors_are_taken_as_by_gelu(layout: torch.layout, groups: int) -> None:
    act = raft.Rational("gelu", groups=groups)
    mine, theirs = ([part.requires_grad_() for part in parts(0)] for _ in range(2))
    x = nested(mine, layout)
    y = act(x)
    assert y.is_nested
    assert y.layout == F.gelu(x).layout
    if layout == torch.jagged:
        assert y.shape == x.shape
        assert (y + x).shape == x.shape
    torch.cat([part.square() for part in y.unbind()]).sum().backward()
    actual = [act.numerator.grad, act.denominator.grad]
    act.zero_grad()
    expected = [act(part) for part in theirs]
    for one, other in zip(y.unbind(), expected, strict=True):
        torch.testing.assert_close(one, other)
    torch.cat([part.square() for part in expected]).sum().backward()
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    torch.testing.assert_close(actual, [act.numerator.grad, act.denominator.grad])


def test_jagged_tensors_of_other_forms() -> None:
    act = raft.Rational("silu")
    x = nested(parts(0), torch.jagged)
    turned = act(x.transpose(1, 2))
    assert turned.shape == x.transpose(1, 2).shape
    torch.testing.assert_close(turned.transpose(1, 2).values(), act(x.values()))
    gaps = torch.nested.narrow(
        torch.randn(3, 5, 8), 1, torch.tensor([0, 1, 2]), torch.tensor([2, 3, 1]), layout=torch.jagged
    )
    for one, other in zip(act(gaps).unbind(), gaps.unbind(), strict=True):
        torch.testing.assert_close(one, act(other))


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_nested_tensors_in_the_gated_form(layout: torch.layout) -> None:
    act = raft.Rational("silu")
    gates, ups = ([part.requires_grad_() for part in parts(seed)] for seed in (0, 1))
    gate: Any = nested(gates, layout)
    up = (
        torch.nested.nested_tensor_from_jagged(torch.cat(ups), offsets=gate.offsets())
        if layout == torch.jagged
        else nested(ups, layout)
    )
    y = raft.rational_glu(gate, up, act.numerator, act.denominator)
    for part, g, u in zip(y.unbind(), gates, ups, strict=True):
        torch.testing.assert_close(part, raft.rational_glu(g, u, act.numerator, act.denominator))
    torch.cat(list(y.unbind())).sum().backward()
    for g, u in zip(gates, ups, strict=True):
        assert u.grad is not None
        torch.testing.assert_close(u.grad, act(g))


@pytest.mark.parametrize(
    ("up", "error", "message"),
    [
        (torch.randn(5, 8), TypeError, "gate and up must both be nested tensors, or neither"),
        (nested(parts(1), torch.strided), TypeError, "gate and up must have one layout"),
        (nested(parts(1), torch.jagged), ValueError, "gate and up must have one shape, .* the same offsets"),
    ],
    ids=["plain", "strided", "other offsets"],
)
def test_nested_tensors_that_do_not_fit(up: Tensor, error: type[Exception], message: str) -> None:
    gate = nested(parts(0), torch.jagged)
    for inputs in ((gate, up), (up, gate)):
        with pytest.raises(error, match=message):
            raft.rational_glu(*inputs, torch.ones(3), torch.ones(2))


class Calls(nn.Module):
    """The functions, called with what is traced."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.numerator = nn.Parameter(torch.tensor([0.0, 1.0, 0.5]))
        self.denominator = nn.Parameter(torch.tensor([0.5, 0.25]))

    def forward(self, x: Tensor) -> Tensor:
        actual: Tensor = self.function(x, self.numerator, self.denominator)
        return actual


@pytest.mark.parametrize(
    "function",
    [
        lambda x, a, b: raft.rational(x.relu(), a, b, "B"),
        lambda x, a, b: raft.rational_glu(x[:, :4], x[:, 4:], a, b, version="C"),
        lambda x, a, b: raft.rational_glu(torch.ones(3, 8), x, a, b),
    ],
    ids=["rational", "glu", "glu of a constant"],
)
def test_a_traced_function_is_one_node(function: Callable[..., Any]) -> None:
    model = Calls(function)
    traced = fx.symbolic_trace(model)
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert called[-1] in (raft.rational, raft.rational_glu)
    x = torch.randn(3, 8)
    assert torch.equal(traced(x), model(x))


class Named(Tensor):
    """A class of tensors without a dispatcher of its own."""


def test_a_tensors_own_class_stays() -> None:
    act = raft.Rational()
    x = torch.randn(5)
    y = act(x.as_subclass(Named))
    assert type(y) is Named
    assert torch.equal(y.as_subclass(Tensor), act(x))


@pytest.mark.parametrize(("terms", "count"), [(14, 12), (13, 13), (14, 0), (1, 13)])
def test_degrees_above_twelve_are_refused(terms: int, count: int) -> None:
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match="degrees must be from 0 to 12"):
            raft.rational(torch.ones(3), torch.ones(terms, dtype=dtype), torch.ones(count, dtype=dtype))


@pytest.mark.parametrize(("terms", "count"), [(13, 12), (1, 0), (13, 0), (1, 12)])
def test_degrees_from_zero_to_twelve_are_taken(terms: int, count: int) -> None:
    y = raft.rational(torch.ones(3), torch.ones(terms), torch.ones(count))
    torch.testing.assert_close(y, torch.full((3,), terms / (1 + count)))


@pytest.mark.parametrize("groups", [None, 1, 4])
def test_coefficients_by_sample_have_their_gradients(groups: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (3,) if groups is None else (3, groups)
    x, a, b = (
        torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in ((3, 5, 8), (*shape, 4), (*shape, 2))
    )
    y = rational_by_sample(x, a, b)
    for sample in range(3):
        one = raft.rational(x[sample], a[sample], b[sample])
        torch.testing.assert_close(y[sample], one)
    assert torch.autograd.gradcheck(rational_by_sample, (x, a, b))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 4), (3, 2)), r"shape \[4, 4\]: give one row"),
        (((3, 4), (2,)), r"shape \[2\]: give one row"),
        (((3, 3, 4), (3, 3, 2)), r"3 groups do not divide the last axis of x, whose shape is \[3, 5, 8\]"),
        (((3, 4, 4), (3, 2, 2)), "as many in numerator and denominator, or one, not {2, 4}"),
        (((3, 0, 4), (3, 2)), "as many in numerator and denominator, or one, not {0, 1}"),
    ],
)
def test_rows_that_do_not_fit_the_samples_are_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rational_by_sample(torch.zeros(3, 5, 8), torch.ones(shapes[0]), torch.ones(shapes[1]))


@pytest.mark.parametrize("shapes", [((3, 4), (3, 2, 2)), ((3, 2, 4), (3, 2)), ((3, 1, 4), (3, 2, 2))])
def test_one_row_of_a_sample_may_stand_beside_several(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, a, b = (torch.randn(shape, generator=generator) for shape in ((3, 5, 8), *shapes))
    y = rational_by_sample(x, a, b)
    for sample in range(3):
        torch.testing.assert_close(y[sample], raft.rational(x[sample], a[sample], b[sample]))


@pytest.mark.parametrize("shape", [(0, 16), (0, 5, 16), (3, 0, 16), (3, 5, 0)])
@pytest.mark.parametrize("groups", [(), (2,)])
def test_batches_that_are_empty_stay_so(shape: tuple[int, ...], groups: tuple[int, ...]) -> None:
    x, a, b = (
        torch.ones(size, requires_grad=True)
        for size in (shape, (shape[0], *groups, 4), (shape[0], *groups, 2))
    )
    y = rational_by_sample(x, a, b)
    assert y.shape == x.shape
    for gradient, given in zip(torch.autograd.grad(y.sum(), (x, a, b)), (x, a, b), strict=True):
        assert torch.equal(gradient, torch.zeros_like(given))
