"""What conversion, saving and drawing ask of every learned function, rational ones among them."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

import raft
from raft.functions import FUNCTIONS, XIELU, LearnedActivation, PolyNorm, PReLU, Spline, Swish, make
from raft.learned_activation import SharedActivation

OTHERS: dict[str, dict[str, Any]] = {
    "rational": {"degrees": (3, 2), "version": "B", "groups": 2},
    "fixed_gain": {"init": "relu", "groups": 2},
    "xielu": {"beta": 0.25, "groups": 2},
    "prelu": {"groups": 2},
    "swish": {"groups": 2},
    "polynorm": {"degree": 2},
    "spline": {"knots": 9, "interval": (-2, 3), "groups": 2, "init": None},
}
"""Settings that are not the default ones, by name of the function."""
ELEMENTWISE = [name for name, kind in FUNCTIONS.items() if kind.is_elementwise]


def moved(act: LearnedActivation) -> LearnedActivation:
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
    return act


def test_every_function_is_covered_here() -> None:
    assert set(OTHERS) == set(FUNCTIONS)
    assert all(kind.name == name and issubclass(kind, LearnedActivation) for name, kind in FUNCTIONS.items())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_settings_rebuild_what_can_load_the_state(name: str) -> None:
    act = moved(make(name, **OTHERS[name]))
    settings = json.loads(json.dumps(act.settings()))
    again = make(name, **settings)
    again.load_state_dict(act.state_dict())
    x = torch.randn(5, 8)
    assert type(again) is type(act)
    assert torch.equal(again(x), act(x))
    assert not torch.equal(make(name)(x), act(x))


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("is_back", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_state_that_was_cast_loads_and_makes_float32(
    name: str, dtype: torch.dtype, is_back: bool, assign: bool
) -> None:
    act = moved(make(name, **OTHERS[name]))
    cast = {key: value.to(dtype) for key, value in act.state_dict().items()}
    state = {key: value.to(torch.float32) for key, value in cast.items()} if is_back else cast
    again = make(name, **OTHERS[name])
    again.load_state_dict(state, assign=assign)
    for key, value in again.state_dict().items():
        assert value.dtype == act.state_dict()[key].dtype
        if key == "raf_form":
            assert torch.equal(value, act.raf_form)
        else:
            assert torch.equal(value, cast[key].to(torch.float32))
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in again.parameters())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_meta_device(name: str) -> None:
    act = make(name, **OTHERS[name])
    state = {key: value.to("meta") for key, value in act.state_dict().items()}
    again = make(name, **OTHERS[name])
    again.load_state_dict(state, assign=True)
    assert all(value.is_meta for value in again.state_dict().values())
    for hollow in (again, make(name).to("meta"), make(name, device="meta")):
        y = hollow(torch.empty(2, 3, 4, device="meta"))
        assert y.is_meta
        assert y.shape == (2, 3, 4)
    again.to_empty(device="cpu").load_state_dict(act.state_dict())
    assert torch.equal(again(torch.ones(2, 4)), act(torch.ones(2, 4)))


def test_scales_of_a_state_without_them_are_where_its_coefficients_are() -> None:
    act = raft.Rational()
    act.scale_to(torch.randn(100))
    state = {key: value.to("meta") for key, value in raft.Rational().state_dict().items()}
    act.load_state_dict(state, assign=True)
    assert act.numerator_scale is not None
    assert act.numerator_scale.is_meta


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_copy_is_the_same_and_its_own(name: str) -> None:
    act = moved(make(name))
    copied, x = deepcopy(act), torch.randn(5, 8)
    assert torch.equal(copied(x), act(x))
    moved(copied)
    assert not torch.equal(copied(x), act(x))


@pytest.mark.parametrize(
    ("saved", "loading"),
    [
        (Spline(interval=(-4, 4)), Spline()),
        (Spline(knots=5), Spline(knots=7)),
        (XIELU(beta=0.25), XIELU()),
        (PolyNorm(degree=2), PolyNorm()),
    ],
    ids=["interval", "knots", "beta", "degree"],
)
def test_the_state_of_another_form_is_refused(saved: nn.Module, loading: nn.Module) -> None:
    with pytest.raises(
        RuntimeError, match=r"was saved as another function than .*: build the function as it"
    ):
        nn.Sequential(loading).load_state_dict(nn.Sequential(saved).state_dict())


def test_a_state_of_others_tells_no_form() -> None:
    act = PReLU()
    act.load_state_dict({"slope": torch.tensor([0.5])})
    assert act(torch.tensor(-1.0)).item() == -0.5
    with pytest.raises(RuntimeError, match=r"slope is torch\.complex64, and coefficients are real numbers"):
        act.load_state_dict({"slope": torch.tensor([1j])})


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_parameters_stay_float32(name: str, dtype: torch.dtype) -> None:
    act = moved(make(name))
    before = [parameter.detach().clone() for parameter in act.parameters()]
    act.to(dtype)
    after = list(act.parameters())
    assert all(
        torch.equal(old, new) and new.dtype == torch.float32 for old, new in zip(before, after, strict=True)
    )
    assert act(torch.ones(2, 4, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_module_from_the_meta_device_is_materialised(name: str) -> None:
    with torch.device("meta"):
        act = make(name, **OTHERS[name])
    assert all(tensor.is_meta for tensor in act.state_dict().values())
    act.to_empty(device="cpu")
    act.reset_parameters()
    fresh = make(name, **OTHERS[name])
    for key, value in fresh.state_dict().items():
        assert torch.equal(act.state_dict()[key], value)
        assert torch.equal(fresh.initial_state()[key], value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_strides_and_no_elements(name: str) -> None:
    act = moved(make(name))
    x = torch.randn(6, 8, 4)
    # the order of a mean's terms depends on strides
    torch.testing.assert_close(act(x.transpose(0, 1)), act(x.transpose(0, 1).contiguous()))
    torch.testing.assert_close(act(x[:, ::2]), act(x[:, ::2].contiguous()))
    for shape in ((0,), (3, 0), (0, 4)):
        empty = torch.zeros(shape, requires_grad=True)
        y = act(empty)
        assert y.shape == shape
        y.sum().backward()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_inputs_that_are_not_floating_are_refused(name: str, dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match="x must be a 16-bit or wider floating tensor, not torch"):
        make(name)(torch.zeros(3, dtype=dtype))


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name != "rational"])
def test_nan_stays_by_itself(name: str) -> None:
    act = make(name)
    x = torch.tensor([1.0, float("nan"), -2.0], requires_grad=True)
    y = act(x)
    assert y.isnan().tolist() == [False, True, False]
    y[0].backward()
    assert x.grad is not None
    assert x.grad[[0, 2]].isfinite().all()


def test_infinite_inputs_give_what_is_stated() -> None:
    x = torch.tensor([float("-inf"), float("inf")])
    nan, inf = float("nan"), float("inf")
    for act, expected in [
        (PReLU(), [-inf, inf]),
        (PReLU("relu"), [nan, inf]),
        (Swish(), [nan, inf]),
        (XIELU(), [nan, inf]),
        (Spline("identity"), [-inf, inf]),
        (Spline("relu"), [nan, inf]),
        (PolyNorm(), [nan, nan]),
    ]:
        torch.testing.assert_close(act(x).tolist(), expected, equal_nan=True)
    rows = PolyNorm()(torch.tensor([[1.0, float("nan")], [1.0, 2.0]]))
    assert rows.isnan().all(dim=1).tolist() == [True, False]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_curves_are_what_the_module_gives(name: str) -> None:
    act = moved(make(name, **OTHERS[name]))
    points = np.linspace(-3, 3, 31)
    curves = act.values(points)
    assert curves.shape == (2, 31)
    assert curves.dtype == np.float64
    expected = act.eval()(torch.tensor(points)[:, None].expand(-1, 2)).detach().numpy()
    np.testing.assert_allclose(curves.T, expected, rtol=1e-12)


def test_curves_have_no_noise() -> None:
    act = raft.Rational(version="D")
    assert np.array_equal(act.values([1.0, 2.0]), act.values([1.0, 2.0]))
    assert act.training


def test_what_has_no_curve_says_so() -> None:
    with pytest.raises(ValueError, match="polynorm is no function of one number"):
        PolyNorm().values([1.0])
    with pytest.raises(ValueError, match="its coefficients are not loaded"):
        PReLU(device="meta").values([1.0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_shared_function_serves_another_place(name: str) -> None:
    act = moved(make(name))
    shared, x = SharedActivation(act, nn.GELU()), torch.randn(3, 8)
    assert torch.equal(shared(x), act(x))
    assert not list(shared.parameters())
    assert repr(shared) == f"SharedActivation({act.extra_repr()})"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_torch_encoder_layers_and_fx_keep_it(name: str) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=nn.GELU()).eval()
    layer.activation = moved(make(name))
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        hidden = layer.norm1(x + layer._sa_block(x, None, None))
        expected = layer.norm2(hidden + layer.linear2(layer.activation(layer.linear1(hidden))))
        torch.testing.assert_close(layer(x), expected)
    traced = fx.symbolic_trace(nn.Sequential(nn.Linear(8, 8), make(name)))
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["0", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_compiled_graph_is_whole_and_gives_the_same(name: str) -> None:
    act = moved(make(name, **OTHERS[name]))
    compiled, x = torch.compile(act, fullgraph=True), torch.randn(4, 8)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [compiled(inputs[0]), act(inputs[1])]
    torch.testing.assert_close(*outputs)
    gradients = [
        torch.autograd.grad(y.sum(), [given, *act.parameters()])
        for y, given in zip(outputs, inputs, strict=True)
    ]
    for compiled_gradient, gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled_gradient, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_changes_nothing(name: str) -> None:
    act, x = moved(make(name)), torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = act(x)
    assert torch.equal(y, act(x))


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("splines", {}, ValueError, "unknown .* 'splines'; known are rational, .*; the nearest is 'spline'"),
        ("spline", {"knots": 1}, ValueError, "knots must be a whole number from 2 to 4096, not 1"),
        ("spline", {"interval": (1, 1)}, ValueError, "interval must be two finite numbers, the lower first"),
        ("spline", {"interval": 3}, ValueError, "interval must be two finite numbers, .*, not 3"),
        ("spline", {"init": "gelo"}, ValueError, "unknown activation 'gelo'; .*; the nearest is 'gelu'"),
        ("spline", {"init": nn.GELU}, TypeError, "init is the name of a function, a module, .*None"),
        ("spline", {"init": torch.log}, ValueError, "the function is not finite everywhere on"),
        ("swish", {"init": torch.log}, ValueError, "the function is not finite everywhere on"),
        ("prelu", {"groups": 0}, ValueError, "groups must be a whole number from 1 on, not 0"),
        ("prelu", {"dim": 0.5}, ValueError, "dim must be the number of an axis, such as 1 or -1, not 0.5"),
        ("prelu", {"dtype": torch.int8}, TypeError, "dtype must be floating, not torch.int8"),
        ("xielu", {"beta": 0.9}, ValueError, "beta must be above 0 and below 0.8, not 0.9"),
        ("polynorm", {"init": "gelu"}, ValueError, "not elementwise, and cannot start from 'gelu'"),
        ("polynorm", {"groups": 2}, ValueError, "normalises over all channels: give groups=1, not 2"),
        ("polynorm", {"degree": 0}, ValueError, "degree must be a whole number from 1 to 6, not 0"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(
    name: str, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(name, **settings)
