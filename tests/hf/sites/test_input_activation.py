"""What projections read instead of their input: computed once, never stale, before whatever replaces them."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import raft
from raft.hf.sites.input_activation import InputActivation


class Counted(nn.Module):
    """A RAF that is not the identity, and the number of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.act = raft.Rational("silu")
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.act(x)
        return y


class Attention(nn.Module):
    """Three projections of one tensor, and what may go wrong between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))
        self.between = ""

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x)
        if self.between == "fail":
            raise RuntimeError("between")
        if self.between == "change":
            x += 1
        if self.between == "replace":
            x = x + 1
        y: Tensor = q * self.k(x) + self.v(x)
        return y


def with_activation(module: Any, activation: nn.Module | None = None) -> Any:
    module.attention_input = InputActivation("attention_input", 4)
    module.attention_input.attach(module, [module.q, module.k, module.v])
    module.attention_input.activation = activation or Counted()
    return module


def expected(module: Any, x: Tensor, added: float = 0.0) -> Tensor:
    """Of the projections' weights, and of SiLU's fit, without any hooks."""
    act = raft.Rational("silu")

    def project(linear: nn.Linear, value: Tensor) -> Tensor:
        return nn.functional.linear(act(value), linear.weight, linear.bias)

    return project(module.q, x) * project(module.k, x + added) + project(module.v, x + added)


def test_one_value_is_computed_for_all_projections_of_a_call() -> None:
    module, x = with_activation(Attention()), torch.randn(3, 4, requires_grad=True)
    y = module(x)
    torch.testing.assert_close(y, expected(module, x))
    assert module.attention_input.activation.calls == 1
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected(module, x).sum(), x)[0])
    with torch.no_grad():
        module.attention_input.activation.act.numerator.mul_(2)
        first = module(x)
    assert not torch.equal(first, y)  # of the same tensor, after a step
    assert module.attention_input.activation.calls == 2


@pytest.mark.parametrize("between", ["change", "replace"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_value_of_another_tensor_is_never_used(between: str, mode: Any) -> None:
    module, x = with_activation(Attention()), torch.randn(3, 4)
    module.between = between
    with mode():
        actual = module(x.clone())
    torch.testing.assert_close(actual, expected(module, x, 1.0))


@pytest.mark.parametrize("between", ["", "fail"])
def test_nothing_is_kept_after_a_call(between: str) -> None:
    module, x = with_activation(Attention()), torch.randn(3, 4)
    module.between = between
    if between:
        with pytest.raises(RuntimeError, match="between"):
            module(x)
    else:
        module(x)
    assert module.attention_input._last is None
    module.between = ""
    torch.testing.assert_close(module(x), expected(module, x))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    module, x = with_activation(Attention()), torch.randn(3, 4, requires_grad=True)
    act = module.attention_input.activation.act
    wanted = torch.autograd.grad(module(x).square().sum(), (x, act.numerator, module.k.weight))
    y: Any = checkpoint(module, x, use_reentrant=reentrant)
    y.square().sum().backward()
    for actual, value in zip((x.grad, act.numerator.grad, module.k.weight.grad), wanted, strict=True):
        torch.testing.assert_close(actual, value)


def test_copies_have_an_activation_of_their_own() -> None:
    module, x = with_activation(Attention()), torch.randn(3, 4, requires_grad=True)
    module.attention_input._last = (x + 1, 0, x + 1)  # as in the middle of a call
    file = io.BytesIO()
    torch.save(copy.deepcopy(module), file)
    file.seek(0)
    for again in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        assert again.attention_input._last is None
        torch.testing.assert_close(again(x), expected(module, x))
        with torch.no_grad():
            again.attention_input.activation.act.numerator.zero_()
        torch.testing.assert_close(module(x), expected(module, x))
        assert torch.equal(again.q(x), again.q.bias.expand(3, 4))


class Wrapper(nn.Module):
    """Beside a projection it holds a copy of it and reads the same input, as adapters do."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base, self.copy = base, copy.deepcopy(base)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.copy(x)
        return y


def test_what_replaces_a_projection_reads_the_value() -> None:
    module, x = with_activation(Attention()), torch.randn(3, 4)
    original = module.q
    value = original(x)
    module.q = Wrapper(original)
    torch.testing.assert_close(module.q(x), 2 * value)  # once, before both
    torch.testing.assert_close(original(raft.Rational("silu")(x)), value)
    module.q = original
    torch.testing.assert_close(module(x), expected(module, x))
    module.other = module.q  # at a second place it is the same
    torch.testing.assert_close(module(x), expected(module, x))


def test_all_hooks_can_be_removed() -> None:
    module, x = with_activation(Attention()), torch.randn(3, 4)
    module.attention_input.detach(module)
    assert not any(inner._forward_pre_hooks or inner._forward_hooks for inner in module.modules())
    assert torch.equal(module.q(x), nn.functional.linear(x, module.q.weight, module.q.bias))


def test_more_arguments_of_a_projection_are_kept() -> None:
    bilinear = nn.Bilinear(4, 4, 2)
    inputs = InputActivation("ffn_input", 4)
    inputs.attach(bilinear, [bilinear])
    inputs.activation = nn.Tanh()
    x = torch.randn(3, 4)
    torch.testing.assert_close(
        bilinear(x, x), nn.functional.bilinear(x.tanh(), x, bilinear.weight, bilinear.bias)
    )


@pytest.mark.slow
def test_a_compiled_module_gives_the_same() -> None:
    module, x = with_activation(Attention(), raft.Rational("silu")), torch.randn(3, 4, requires_grad=True)
    compiled: Any = torch.compile(module, fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(x).square().sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(module(x).square().sum(), x)[0])
