"""The product of gated layers is the same in one pass as in two, and hooks of the activation are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import raft
from raft import gated
from raft.functions import XIELU
from raft.gated import gated_product
from raft.learned_activation import SharedActivation


class Block(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return gated_product(self.act, gate, up)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The gates of all calls that were computed in one pass."""
    gates: list[Tensor] = []

    def counted(gate: Tensor, *rest: Any) -> Tensor:
        gates.append(gate)
        return raft.rational_glu(gate, *rest)

    monkeypatch.setattr(gated, "rational_glu", counted)
    return gates


def halves(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    both = 2 * torch.randn(3, 5, 16, generator=generator).to(dtype)
    gate, up = both.chunk(2, dim=-1)
    return gate, up


def scaled() -> raft.Rational:
    act = raft.Rational("silu")
    act.scale_to(torch.linspace(-3, 3, 50))
    return act


FUSED: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: raft.Rational("silu"),
    "groups": lambda: raft.Rational("gelu", groups=4),
    "scaled": scaled,
    "shared": lambda: SharedActivation(raft.Rational("gelu"), nn.GELU()),
    "noise, in evaluation": lambda: raft.Rational("gelu", version="D").eval(),
}
APART: dict[str, Callable[[], nn.Module]] = {
    "fixed": nn.SiLU,
    "residual": lambda: raft.ResidualRational(nn.SiLU(), raft.named_fit("silu")),
    "learned": XIELU,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", [*FUSED, *APART])
def test_it_is_the_activation_times_up(name: str, dtype: torch.dtype, passes: list[Tensor]) -> None:
    act = {**FUSED, **APART}[name]()
    gate, up = halves(dtype)
    actual = gated_product(act, gate, up)
    assert len(passes) == (name in FUSED)
    assert actual.dtype == dtype
    expected = (act(gate.double()) * up.double()).to(dtype)
    torch.testing.assert_close(actual, expected)


def test_gradients_are_those_of_two_passes() -> None:
    gradients = []
    for in_one in (True, False):
        act, (gate, up) = scaled(), halves()
        gate.requires_grad_()
        up.requires_grad_()
        product = gated_product(act, gate, up) if in_one else act(gate) * up
        product.square().sum().backward()
        gradients.append([gate.grad, up.grad, act.numerator.grad, act.denominator.grad])
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_noise_of_a_training_is_drawn(passes: list[Tensor]) -> None:
    act, (gate, up) = raft.Rational("gelu", version="D").train(), halves()
    assert not torch.equal(gated_product(act, gate, up), gated_product(act, gate, up))
    assert not passes


def test_hooks_see_and_replace_what_the_activation_gives(passes: list[Tensor]) -> None:
    act, (gate, up) = raft.Rational("silu"), halves()
    seen: list[Tensor] = []
    handle = act.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    gated_product(act, gate, up)
    assert len(seen) == 1
    assert seen[0] is gate
    handle.remove()
    handle = act.register_forward_hook(lambda module, args, output: args[0])
    assert torch.equal(gated_product(act, gate, up), gate * up)
    handle.remove()
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, output: args[0] + 1)
    assert torch.equal(gated_product(act, gate, up), (gate + 1) * up)
    handle.remove()
    shared = SharedActivation(act, nn.SiLU())
    handle = act.register_forward_hook(lambda module, args, output: args[0])
    assert torch.equal(gated_product(shared, gate, up), gate * up)
    handle.remove()
    vars(act)["forward"] = torch.tanh  # as offloading replaces it
    assert torch.equal(gated_product(act, gate, up), gate.tanh() * up)
    assert not passes
    del act.forward
    gated_product(shared, gate, up)
    assert len(passes) == 1


def test_factors_of_two_dtypes_are_promoted() -> None:
    act, (gate, up) = raft.Rational("silu"), halves()
    assert gated_product(act, gate.bfloat16(), up).dtype == torch.float32


def test_it_is_compiled_whole_and_traced_with_the_activation_as_one_node() -> None:
    block, (gate, up) = Block(raft.Rational("silu")), halves()
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    assert torch.equal(compiled(gate, up), block(gate, up))
    traced = fx.symbolic_trace(block)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["act"]
    torch.testing.assert_close(traced(gate, up), block(gate, up))
