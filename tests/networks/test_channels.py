"""Groups cut the axis that holds the channels, wherever it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import raft
from raft.functions import PReLU, Spline
from raft.learned_activation import learned_activations
from tests.networks.zoo import make, outputs


@pytest.mark.parametrize("kind", [raft.Rational, PReLU, Spline])
@pytest.mark.parametrize("dim", [0, 1, -3, 2])
def test_groups_along_any_axis_are_those_of_slices(kind: Any, dim: int) -> None:
    act = kind("silu", groups=2, dim=dim)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator) * 0.1)
    singles = []
    for row in range(2):
        single = kind("silu")
        with torch.no_grad():
            for own, parameter in zip(single.parameters(), act.parameters(), strict=True):
                own.copy_(parameter[row])
        singles.append(single)
    x = torch.randn(4, 4, 6, 2, generator=generator)
    expected = torch.cat([single(half) for single, half in zip(singles, x.chunk(2, dim), strict=True)], dim)
    assert torch.allclose(act(x), expected, atol=1e-6)
    assert act.settings()["dim"] == dim
    assert type(act)(**act.settings()).dim == dim


@pytest.mark.parametrize("kind", [raft.Rational, PReLU, Spline])
def test_no_layout_in_memory_changes_the_values(kind: Any) -> None:
    act = kind("silu", groups=2, dim=1)
    with torch.no_grad():
        next(act.parameters())[1].mul_(1.5)
    x = torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    for same in (x.to(memory_format=torch.channels_last), x.transpose(0, 3).contiguous().transpose(0, 3)):
        assert not same.is_contiguous()
        assert torch.equal(act(same), act(x))
    assert act(x[:0]).shape == (0, 4, 5, 2)


@pytest.mark.parametrize("kind", [raft.Rational, PReLU])
def test_groups_that_divide_the_numbers_but_not_the_channels_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"2 groups do not divide axis 1 of x, whose shape is \[1, 3, 4\]"):
        kind(groups=2, dim=1)(torch.ones(1, 3, 4))


def test_a_state_of_another_axis_is_refused() -> None:
    first, second = raft.Rational(groups=2, dim=1), raft.Rational(groups=2)
    for one, other in ((first, second), (second, first)):
        with pytest.raises(RuntimeError, match="channels on axis 1"):
            one.load_state_dict(other.state_dict())
    first.load_state_dict(raft.Rational("silu", groups=2, dim=1).state_dict())
    spline = Spline(groups=2, dim=1)
    with pytest.raises(RuntimeError, match="another function"):
        spline.load_state_dict(Spline(groups=2).state_dict())


def test_states_without_an_axis_are_as_they_were() -> None:
    assert raft.Rational().raf_form.tolist() == [ord("A"), 0, 0]
    assert "dim" not in raft.Rational().settings()


@pytest.mark.parametrize("dim", [True, 1.0, 200, "1"])
def test_an_impossible_axis_is_refused(dim: Any) -> None:
    with pytest.raises(ValueError, match="dim must be the number of an axis"):
        raft.Rational(dim=dim)


def test_an_axis_that_the_input_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"channels are on axis 3, and x has the shape \[2, 2\]"):
        raft.Rational(groups=2, dim=3)(torch.ones(2, 2))


@pytest.mark.parametrize(
    ("name", "axes"),
    [("resnet", {-3}), ("unet", {-3}), ("mobilenet", {-3}), ("functional", {-1}), ("lightning", {-1})],
)
def test_converted_groups_have_the_axis_of_their_layers(name: str, axes: set[int]) -> None:
    network, x = make(name)
    before = outputs(network, x)
    raft.convert(network, {"groups": 4, "residual": True}, calibration=[x])
    assert {act.dim for act in learned_activations(network).values()} == axes
    assert torch.allclose(outputs(network, x), before, atol=1e-5)


def test_the_axis_follows_the_layer_before_it_in_a_sequence() -> None:
    network = nn.Sequential(
        nn.Conv1d(4, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(40, 8), nn.ReLU()
    )
    raft.convert(network, {"groups": 2}, calibration=[torch.randn(4, 4, 5)])
    assert [act.dim for act in learned_activations(network).values()] == [-2, -1]


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.act = nn.Conv2d(3, 6, 1), nn.Linear(6, 6), nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        return self.act(self.fc(self.act(self.conv(x)).mean((2, 3))))


def test_what_cannot_be_known_is_an_error_that_names_the_site() -> None:
    with pytest.raises(
        ValueError, match=r"channels at act cannot be told, as it has layers of several kinds"
    ):
        raft.convert(Mixed(), {"groups": 2})
    with pytest.raises(ValueError, match=r"channels at 0 cannot be told, as it has no layer beside it"):
        raft.convert(nn.Sequential(nn.ReLU()), {"groups": 2})
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU())
    with pytest.raises(ValueError, match=r"1 gets tensors of the shape \[1, 6, 2, 2\], whose axis -3 cannot"):
        raft.convert(network, {"groups": 4}, calibration=[torch.randn(1, 3, 2, 2)])
    assert not learned_activations(network)


def test_the_axis_can_be_named_where_it_cannot_be_told() -> None:
    x, network = torch.randn(2, 3, 4, 4), Mixed()
    raft.convert(network, {"groups": 2}, calibration=[x], sites="^act$", dim=1)
    raft.convert(network, {"groups": 3}, calibration=[x], sites="call_2", dim=-1)
    assert [(act.groups, act.dim) for act in learned_activations(network).values()] == [(2, 1), (3, -1)]
    with pytest.raises(ValueError, match=r"whose axis 2 cannot be cut into 2 groups"):
        raft.convert(Mixed(), {"groups": 2}, calibration=[x], sites="call_2", dim=2)


class OwnForward(nn.Sequential):
    """A Sequential whose code calls what is none of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))


def test_a_function_that_the_code_of_a_sequential_calls_has_the_axis_of_its_layers() -> None:
    network: Any = raft.convert(OwnForward(), {"groups": 2})
    assert network.raf_relu_1.dim == -3
    assert network(torch.ones(1, 4, 2, 2)).shape == (1, 4, 2, 2)
