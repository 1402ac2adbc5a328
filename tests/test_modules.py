"""The module: coefficients, dtypes, noise."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, fx, nn

import raft
from raft.learned_activation import SharedActivation
from raft.modules import TORCH_FUNCTIONS, ResidualRational


@pytest.mark.parametrize("cast", [torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.double])
def test_coefficients_stay_float32_bit_for_bit(cast: Callable[[torch.nn.Module], torch.nn.Module]) -> None:
    linear, act = torch.nn.Linear(2, 2), raft.Rational()
    before = act.numerator.detach().clone()
    cast(torch.nn.Sequential(linear, act))
    assert linear.weight.dtype != torch.float32
    assert act.numerator.dtype == act.denominator.dtype == torch.float32
    assert torch.equal(act.numerator, before)


def test_default_dtype_does_not_reach_the_coefficients() -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert raft.Rational().numerator.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_version_d_is_noisy_in_training_only() -> None:
    noisy, plain = raft.Rational(version="D"), raft.Rational(version="B")
    x = torch.linspace(-3, 3, 50)
    torch.manual_seed(0)
    first, second = noisy(x), noisy(x)
    assert not torch.equal(first, second)
    assert (first - plain(x)).abs().max() < 0.5 * x.abs().max()
    assert torch.equal(noisy.eval()(x), plain(x))


def test_the_noise_of_version_d_is_uniform_up_to_a_tenth() -> None:
    act = raft.Rational("identity", (0, 1), "D", groups=20_000)
    with torch.no_grad():
        act.numerator.fill_(3.0)
        act.denominator.fill_(2.0)
    torch.manual_seed(0)
    # a u / 1 at zero and a u / (1 + b v) at one
    at_zero, at_one = act(torch.tensor([[0.0], [1.0]]).expand(2, 20_000)).detach().double()
    for factor in (at_zero / 3, (at_zero / at_one - 1) / 2):
        shares = ((factor - 0.9) / 0.2).numpy()
        assert stats.kstest(shares, "uniform").pvalue > 1e-3
        assert (shares.min(), shares.max()) == pytest.approx((0, 1), abs=1e-3)


def test_state_dict_round_trip() -> None:
    act = raft.Rational("gelu", degrees=(7, 6), version="C")
    with torch.no_grad():
        act.numerator.add_(0.1)
    other = raft.Rational("tanh", degrees=(7, 6), version="C")
    other.load_state_dict(act.state_dict())
    x = torch.randn(100)
    assert torch.equal(act(x), other(x))


def test_a_fit_of_other_degrees_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the fit has degrees \(5, 4\) and version A, not \(3, 2\) and A"):
        raft.Rational(raft.fit("gelu"), degrees=(3, 2))


def test_groups_have_coefficients_of_their_own() -> None:
    act = raft.Rational("silu", groups=4)
    assert (act.numerator.shape, act.denominator.shape) == ((4, 6), (4, 4))
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(act(x), raft.Rational("silu")(x))
    with torch.no_grad():
        act.numerator[2, 0] += 1
    changed = act(x) != raft.Rational("silu")(x)
    assert changed[..., 4:6].all()
    assert not changed[..., [0, 1, 2, 3, 6, 7]].any()
    assert "groups=4" in repr(act)
    with pytest.raises(ValueError, match="groups must be a whole number from 1 on, not 0"):
        raft.Rational(groups=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_shared_raf_serves_places_on_other_devices() -> None:
    owner = raft.Rational()
    x = torch.randn(9, device="cuda")
    y = SharedActivation(owner, torch.nn.GELU())(x)
    y.sum().backward()
    torch.testing.assert_close(y.cpu(), owner(x.cpu()))
    assert owner.numerator.grad is not None
    assert owner.numerator.grad.device.type == "cpu"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"degrees": 5}, ValueError, "degrees must be two integers from 0 to 12, not 5"),
        ({"groups": 2.5}, ValueError, "groups must be a whole number from 1 on, not 2.5"),
        ({"init": 3}, TypeError, "init is the name of a function, a module, a function or a Fit, not 3"),
        ({"init": nn.GELU}, TypeError, "init is the name of a function, a module, .* not <class"),
        ({"init": nn.Linear(4, 4)}, ValueError, "the function cannot be called with a float64 tensor: mat1"),
        ({"init": torch.sum}, ValueError, "the function must give a tensor of its input's shape"),
        ({"init": torch.log}, ValueError, r"the function is not finite everywhere on \[-5, 5\]"),
        ({"dtype": torch.int64}, TypeError, "dtype must be floating, not torch.int64"),
    ],
)
def test_what_is_no_raf_is_refused(values: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        raft.Rational(**values)


def test_inplace_is_taken_as_networks_give_it_and_ignored() -> None:
    x = torch.randn(5)
    before = x.clone()
    act = raft.Rational("relu", inplace=True)  # as timm calls an ``act_layer``
    assert torch.equal(act(x), raft.Rational("relu")(x))
    assert torch.equal(x, before)


def test_what_no_kernel_computes_is_refused() -> None:
    act = raft.Rational()
    for dtype in (torch.float8_e4m3fn, torch.int64, torch.complex64):
        with pytest.raises(TypeError, match="x must be a 16-bit or wider floating tensor"):
            act(torch.zeros(3).to(dtype))


@pytest.mark.parametrize(
    ("init", "name"),
    [
        (nn.SiLU(), "silu"),
        (nn.ReLU(inplace=True), "relu"),
        (F.gelu, "gelu"),
        (lambda x: x * x.sigmoid(), "silu"),
    ],
    ids=["module", "in place", "function", "lambda"],
)
def test_a_known_function_starts_as_its_ready_fit(init: Callable[[Tensor], Tensor], name: str) -> None:
    assert raft.Rational(init, (3, 2), "B").start is raft.Rational(name, (3, 2), "B").start


def test_any_other_function_is_fitted() -> None:
    x = torch.linspace(-5, 5, 101)
    for init in (torch.sin, nn.Softshrink(), raft.Rational("gelu", version="C").eval()):
        act = raft.Rational(init, (7, 6))
        assert (act(x) - init(x)).abs().max() < 2 * act.start.max_error + 1e-5


def test_device_and_dtype_are_taken_as_by_other_modules() -> None:
    act = raft.Rational("silu", groups=2, device="meta", dtype=torch.bfloat16)
    assert act.numerator.is_meta
    assert act.denominator.is_meta
    assert act.numerator.dtype == torch.float32
    filled = torch.nn.utils.skip_init(raft.Rational, "silu", groups=2)
    filled.reset_parameters()
    assert torch.equal(filled.numerator, raft.Rational("silu", groups=2).numerator)


@pytest.mark.parametrize("shared", [False, True], ids=["residual", "shared"])
def test_a_traced_graph_has_the_module_as_a_leaf(shared: bool) -> None:
    owner = raft.Rational("silu", version="D")
    last = SharedActivation(owner, nn.SiLU()) if shared else raft.ResidualRational(nn.GELU(), owner.start)
    model = nn.Sequential(nn.Linear(4, 8), owner, nn.Linear(8, 4), last)
    traced = fx.symbolic_trace(model)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["0", "1", "2", "3"]
    x = torch.randn(5, 4)
    assert torch.equal(traced.eval()(x), model.eval()(x))
    traced(x).sum().backward()
    assert owner.numerator.grad is not None
    assert [g["name"] for g in raft.param_groups(traced, lr=1.0)] == [
        g["name"] for g in raft.param_groups(model, lr=1.0)
    ]


def test_a_module_can_be_traced_by_itself() -> None:
    for act in (raft.Rational(), raft.Rational(version="D").eval(), raft.Rational(groups=4)):
        traced = fx.symbolic_trace(act)
        x = torch.randn(3, 8)
        assert torch.equal(traced(x), act(x))
        assert any(node.target is raft.rational for node in traced.graph.nodes)


def test_scripting_says_what_to_use_instead() -> None:
    model = nn.Sequential(nn.Linear(4, 4), raft.Rational())
    with pytest.raises(TypeError, match=r"use torch.compile or torch.export, or torch.jit.trace"):
        torch.jit.script(model)
    x = torch.randn(3, 4)
    torch.testing.assert_close(torch.jit.trace(model, x)(2 * x), model(2 * x))


def encoder_layer(activation: Any = F.relu) -> nn.TransformerEncoderLayer:
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation=activation, batch_first=True)


def with_activation(layer: nn.TransformerEncoderLayer, activation: nn.Module) -> nn.TransformerEncoderLayer:
    layer.activation = activation
    return layer


OWNER = raft.Rational("tanh")
ENCODER_LAYERS: dict[str, Callable[[], nn.TransformerEncoderLayer]] = {
    "set": lambda: with_activation(encoder_layer(), raft.Rational("tanh")),
    "set over a module": lambda: with_activation(encoder_layer(nn.GELU()), raft.Rational("tanh")),
    "set and copied": lambda: deepcopy(with_activation(encoder_layer(F.gelu), raft.Rational("tanh"))),
    "set within a module": lambda: with_activation(encoder_layer(), nn.Sequential(raft.Rational("tanh"))),
    "shared": lambda: with_activation(encoder_layer(), SharedActivation(OWNER, F.relu)),
    "given": lambda: encoder_layer(raft.Rational("tanh")),
}


@pytest.mark.parametrize("make", ENCODER_LAYERS.values(), ids=ENCODER_LAYERS.keys())
@pytest.mark.filterwarnings("ignore")
def test_torchs_fused_encoder_layer_does_not_leave_the_raf_out(
    make: Callable[[], nn.TransformerEncoderLayer],
) -> None:
    layer = make()
    x = torch.randn(3, 5, 8)
    expected = layer.train()(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), expected)
    hidden = layer.norm1(x + layer.self_attn(x, x, x)[0])
    y = hidden + layer.linear2(OWNER(layer.linear1(hidden)))
    torch.testing.assert_close(layer.norm2(y).detach(), expected)


@pytest.mark.parametrize("is_late", [False, True], ids=["layers converted", "encoder converted"])
@pytest.mark.filterwarnings("ignore")
def test_torchs_encoder_with_padding(is_late: bool) -> None:
    """Whose layers get nested tensors where it was made with an activation that is known to torch."""
    encoder = nn.TransformerEncoder(encoder_layer() if is_late else ENCODER_LAYERS["set"](), 2)
    for layer in list(encoder.layers) if is_late else []:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        with_activation(layer, raft.Rational("tanh"))
    x, padding = torch.randn(2, 5, 8), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    expected = encoder.train()(x, src_key_padding_mask=padding).detach()
    with torch.no_grad():
        actual = encoder.eval()(x, src_key_padding_mask=padding)
    torch.testing.assert_close(actual[~padding], expected[~padding])


def test_other_layers_keep_torchs_fast_path() -> None:
    layer = encoder_layer()
    layer.linear1 = nn.Linear(8, 16)
    assert layer.activation_relu_or_gelu == 1


def test_residual_states_are_of_one_base_function() -> None:
    start = raft.named_fit("gelu")
    acts = {name: ResidualRational(base, start) for name, base in TORCH_FUNCTIONS.items()}
    for name, act in acts.items():
        for other, wrong in acts.items():
            if other == name:
                wrong.load_state_dict(act.state_dict())
            else:
                with pytest.raises(RuntimeError, match=rf"residual beside {name},.*residual beside {other}:"):
                    wrong.load_state_dict(act.state_dict())
