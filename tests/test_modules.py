"""The module: coefficients, dtypes, noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats

import raft


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
    y = raft.modules.SharedRational(owner, torch.nn.GELU())(x)
    y.sum().backward()
    torch.testing.assert_close(y.cpu(), owner(x.cpu()))
    assert owner.numerator.grad is not None
    assert owner.numerator.grad.device.type == "cpu"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"degrees": 5}, ValueError, "degrees must be two integers from 0 to 12, not 5"),
        ({"groups": 2.5}, ValueError, "groups must be a whole number from 1 on, not 2.5"),
        ({"init": torch.nn.GELU()}, TypeError, "init is the name of a function or a Fit, not a GELU"),
    ],
)
def test_what_is_no_raf_is_refused(values: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        raft.Rational(**values)


def test_what_no_kernel_computes_is_refused() -> None:
    act = raft.Rational()
    for dtype in (torch.float8_e4m3fn, torch.int64, torch.complex64):
        with pytest.raises(TypeError, match="x must be a 16-bit or wider floating tensor"):
            act(torch.zeros(3).to(dtype))
