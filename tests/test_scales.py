"""Coefficients in units of what they do: the function stays, one rate suits all, the units are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, BertConfig, BertModel

import raft
from raft.coefficients import sensitivities
from raft.modules import ResidualRational
from raft.training.monitoring import coefficients
from tests.hf.architectures import TINY, scrambled, texts

RAFS = {
    "A": lambda: raft.Rational("gelu"),
    "B, degrees (3, 2)": lambda: raft.Rational("silu", (3, 2), "B"),
    "groups": lambda: raft.Rational("gelu", groups=4),
    "residual": lambda: ResidualRational(torch.nn.GELU(), raft.named_fit("gelu")),
}


def wide_inputs() -> Tensor:
    torch.manual_seed(0)
    return 8 * torch.randn(500, 4)


@pytest.mark.parametrize("kind", RAFS)
def test_units_change_no_function_and_no_gradient_of_the_input(kind: str) -> None:
    act: Any = RAFS[kind]()
    x = wide_inputs().requires_grad_()
    y = act(x)
    (before,) = torch.autograd.grad(y.square().sum(), x)
    a, b = (values.detach().clone() for values in act.coefficients())
    act.scale_to(x)
    assert float(act.numerator_scale.min()) < 1e-2
    assert torch.equal(act(x), y)
    assert torch.equal(torch.autograd.grad(act(x).square().sum(), x)[0], before)
    assert all(torch.equal(now, then) for now, then in zip(act.coefficients(), (a, b), strict=True))


@pytest.mark.parametrize("kind", RAFS)
def test_a_step_in_each_unit_moves_the_function_by_at_most_the_rate(kind: str) -> None:
    act: Any = RAFS[kind]()
    x = wide_inputs()
    fixed = torch.nn.functional.gelu(x).flatten() if act.is_residual else 0.0
    a, b = act.coefficients()
    plain = torch.cat([each.flatten() for each in sensitivities(x, a, b, act.version, fixed)])
    act.scale_to(x)
    scales = torch.cat([act.numerator_scale.flatten(), act.denominator_scale.flatten()])
    assert torch.equal(scales.log2(), scales.log2().round())
    assert (scales <= 1).all()
    moved = plain * scales
    assert float(plain.max()) > 100
    assert float(moved.max()) < 2**0.5 + 1e-6  # a power of two is as near as that
    assert (moved[plain > 1] > 0.7).all()


def test_scaling_again_is_by_the_new_inputs() -> None:
    act, again = raft.Rational(), raft.Rational()
    act.scale_to(100 * wide_inputs())
    act.scale_to(wide_inputs())
    again.scale_to(wide_inputs())
    assert torch.equal(act.numerator, again.numerator)
    act.reset_parameters()
    assert torch.equal(act(wide_inputs()), raft.Rational()(wide_inputs()))


def test_units_come_with_a_state_and_go_with_one_that_has_none() -> None:
    scaled, x = raft.Rational("silu"), wide_inputs()
    scaled.scale_to(x)
    plain = raft.Rational()
    plain.load_state_dict(scaled.state_dict())
    assert torch.equal(plain(x), raft.Rational("silu")(x))
    scaled.load_state_dict(raft.Rational("tanh").state_dict())
    assert torch.equal(scaled(x), raft.Rational("tanh")(x))


@pytest.mark.parametrize("calibrated", [False, True])
def test_what_was_converted_keeps_its_units_through_files(tmp_path: Path, calibrated: bool) -> None:
    batch: Any = texts()
    model: Any = raft.convert(
        scrambled(BertModel(BertConfig(**TINY))), calibration=[batch] if calibrated else None
    )
    model.save_pretrained(tmp_path)
    for dtype in (torch.float32, torch.bfloat16):
        again = AutoModel.from_pretrained(tmp_path, dtype=dtype)
        for name, act in raft.hf.rationals(again).items():
            before = model.get_submodule(name)
            assert act.numerator_scale is not None
            assert act.denominator_scale is not None
            assert act.numerator_scale.dtype == torch.float32
            assert torch.equal(act.numerator_scale, before.numerator_scale)
            assert torch.equal(act.denominator_scale, before.denominator_scale)
            assert torch.equal(act.numerator, before.numerator)
    assert torch.equal(
        AutoModel.from_pretrained(tmp_path)(**batch).last_hidden_state,
        model.eval()(**batch).last_hidden_state,
    )
    assert coefficients(again).keys() == coefficients(model).keys()


def test_the_rate_for_new_models_does_not_ruin_a_converted_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BertModel(BertConfig(**TINY, initializer_range=2.0)).eval()  # whose inputs are far from zero
    expected = model(**texts()).last_hidden_state
    raft.convert(model).save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path)
    optimizer = torch.optim.AdamW(raft.param_groups(model, lr=0.0, raf_lr=5e-3, raf_weight_decay=0.0))
    for _ in range(3):
        model(**texts()).last_hidden_state.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert any(not torch.equal(act.coefficients()[0].detach(), act.start_coefficients()[0])
               for act in raft.hf.rationals(model).values())  # fmt: skip
    similar = torch.nn.functional.cosine_similarity(model(**texts()).last_hidden_state, expected, dim=-1)
    assert similar.min().item() > 0.9


def test_kept_coefficients_are_those_of_the_function(tmp_path: Path) -> None:
    model = raft.convert(BertModel(BertConfig(**TINY)))
    for site, act in raft.hf.rationals(model).items():
        a, b = act.start_coefficients()
        assert not torch.equal(act.numerator, a)
        assert torch.equal(coefficients(model)[f"{site}.numerator"], a)
        assert torch.equal(coefficients(model)[f"{site}.denominator"], b)
        assert act.functions()[0].numerator == tuple(a.tolist())


def test_units_of_a_shared_raf_are_for_the_inputs_of_all_its_places() -> None:
    model: Any = BertModel(BertConfig(**TINY, initializer_range=0.02))
    with torch.no_grad():
        model.encoder.layer[1].intermediate.dense.weight.mul_(1000)  # the second place's inputs reach far
    (act,) = raft.hf.rationals(raft.convert(model, {"sites": ["ffn"], "shared": "all"}, [texts()])).values()
    assert act.numerator_scale is not None
    assert act.numerator_scale[-1] < 0.01


def norms(model: nn.Module) -> tuple[float, float]:
    """Of the RAFs' gradients, and of all others."""
    rafs = {id(p) for act in raft.hf.rationals(model).values() for p in act.parameters()}
    parts: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for p in model.parameters():
        if p.grad is not None:
            parts[id(p) not in rafs].append(p.grad.flatten())
    return float(torch.cat(parts[0]).norm()), float(torch.cat(parts[1]).norm())


def test_gradients_in_units_do_not_rule_a_common_norm() -> None:
    """Plain coefficients would take all of a norm that is clipped, and leave little for all others."""
    torch.manual_seed(0)
    model: Any = BertModel(BertConfig(**TINY, initializer_range=1.0)).eval()
    rafs = raft.hf.rationals(raft.convert(model, calibration=[texts()]))
    direction = torch.randn_like(model(**texts()).last_hidden_state)

    def measure() -> tuple[float, float]:
        model.zero_grad()
        (model(**texts()).last_hidden_state * direction).mean().backward()
        return norms(model)

    of_rafs, others = measure()
    assert of_rafs < others
    for act in rafs.values():
        act.scale_to()
    of_rafs, others = measure()
    assert of_rafs > 10 * others


def test_units_of_inputs_that_overflow_change_no_function() -> None:
    act = raft.Rational("identity")
    before = [values.clone() for values in act.coefficients()]
    act.scale_to(torch.tensor([1e8, -1e8]))
    for values, kept in zip(act.coefficients(), before, strict=True):
        assert torch.equal(values, kept)


def test_inputs_that_are_not_finite_do_not_count() -> None:
    act, spoiled = raft.Rational("gelu"), raft.Rational("gelu")
    x = torch.linspace(-3, 3, 50)
    act.scale_to(x)
    spoiled.scale_to(torch.cat([x, torch.tensor([torch.nan, torch.inf])]))
    assert isinstance(act.numerator_scale, Tensor)
    assert isinstance(spoiled.numerator_scale, Tensor)
    assert torch.equal(spoiled.numerator_scale, act.numerator_scale)
    for nothing in (torch.empty(0), torch.tensor([torch.nan])):
        with pytest.raises(ValueError, match="no input is finite"):
            spoiled.scale_to(nothing)
