"""When a conversion warns, and that no fit is taken for another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedModel, RobertaConfig, RobertaForMaskedLM

import raft
from raft.networks import build
from tests.hf.architectures import TINY

CONVERTED, BUILT = (-10.0, 10.0), (-5.0, 5.0)
"""Where fits are made of a model's activations, and of those of one that is being built."""


def with_activation(activation: nn.Module) -> Any:
    model: Any = BertModel(BertConfig(**TINY), add_pooling_layer=False)
    for layer in model.encoder.layer:
        layer.intermediate.intermediate_act_fn = activation
    return model


@pytest.mark.parametrize(("error", "is_said"), [(0.199, False), (0.201, True)])
def test_a_fit_is_said_to_miss_from_two_tenths_on(
    error: float, is_said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    # the straight line that comes nearest to (1 - s) relu(x) + s x on [-10, 10] misses it by 2.5 (1 - s)
    model = with_activation(nn.LeakyReLU(1 - error / 2.5))
    raft.convert(model, {"degrees": [1, 0], "sites": ["ffn"]})
    assert model.conversion_report[0].max_error == pytest.approx(error, rel=1e-4)
    assert ("misses LeakyReLU by up to" in caplog.text) == is_said


def start_of(model: PreTrainedModel) -> raft.Fit:
    """What all RAFs of a model began as."""
    (actual,) = {act.start for act in raft.hf.rationals(model).values()}
    return actual


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.Hardswish()], ids=["named", "without a name"])
@pytest.mark.parametrize(
    ("first", "second"),
    [({"degrees": [3, 2]}, {"degrees": [3, 1]}), ({"version": "A"}, {"version": "N"})],
    ids=["degrees", "version"],
)
def test_conversions_of_other_forms_get_fits_of_their_own(
    activation: nn.Module, first: dict[str, Any], second: dict[str, Any]
) -> None:
    model = with_activation(activation)
    for values in (first, second, first):
        block = {"degrees": [2, 1], "sites": ["ffn"], **values}
        expected = raft.fit(
            activation, tuple(block["degrees"]), block.get("version", "A"), interval=CONVERTED
        )
        actual = start_of(raft.convert(model, block))
        assert actual.degrees == expected.degrees
        assert actual.version == expected.version
        assert actual.numerator == pytest.approx(expected.numerator, rel=1e-4, abs=1e-6)
        assert actual.denominator == pytest.approx(expected.denominator, rel=1e-4, abs=1e-6)
        raft.revert(model)


@pytest.mark.parametrize(
    "activations",
    [(nn.SiLU(), nn.Softplus()), (nn.Hardswish(), nn.SELU()), (nn.SELU(), nn.SiLU())],
    ids=["named", "without a name", "both"],
)
def test_other_activations_get_fits_of_their_own(activations: tuple[nn.Module, nn.Module]) -> None:
    x = torch.linspace(-10, 10, 201)
    for activation in (*activations, activations[0]):
        model = raft.convert(with_activation(activation), {"degrees": [4, 2], "sites": ["ffn"]})
        for act in raft.hf.rationals(model).values():
            torch.testing.assert_close(act(x), activation(x), rtol=0, atol=0.15)


@pytest.mark.parametrize(
    ("name", "function"),
    [("relu2", lambda x: x.relu().square()), ("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x))],
)
def test_models_that_are_built_get_other_fits_than_converted_ones(name: str, function: Any) -> None:
    block = {"degrees": [3, 1], "sites": ["ffn"]}
    values: dict[str, Any] = {**TINY, "hidden_act": name}
    converted = start_of(raft.convert(BertModel(BertConfig(**values), False), block))
    built = start_of(BertModel(BertConfig(**{**values, "raf": block}), False))
    again = start_of(raft.convert(BertModel(BertConfig(**values), False), block))
    for actual, interval in ((converted, CONVERTED), (built, BUILT), (again, CONVERTED)):
        expected = raft.fit(function, (3, 1), interval=interval)
        assert actual.interval == interval
        assert actual.numerator == pytest.approx(expected.numerator, rel=1e-4, abs=1e-6)


def test_layers_are_chosen_of_feed_forward_blocks_alone() -> None:
    model = raft.convert(BertModel(BertConfig(**TINY)), {"layers": "1"})
    assert list(raft.hf.rationals(model)) == [
        "encoder.layer.1.intermediate.intermediate_act_fn", "pooler.activation",
    ]  # fmt: skip
    again = BertModel(BertConfig(**{**TINY, "raf": {"layers": [1]}}))
    assert list(raft.hf.rationals(again)) == list(raft.hf.rationals(model))


def test_a_fit_to_narrow_inputs_stays_near_its_function_beside_them() -> None:
    torch.manual_seed(0)
    model = BertModel(BertConfig(**TINY), add_pooling_layer=False)
    raft.convert(model, {"sites": ["ffn"]}, calibration=[torch.arange(24).reshape(2, 12)])
    x = torch.linspace(-5, 5, 1001)
    seen = torch.linspace(-0.2, 0.2, 101)
    report: Any = model.conversion_report
    for act, converted in zip(raft.hf.rationals(model).values(), report, strict=True):
        assert converted.rms_error < 1e-3
        assert converted.interval == (-5.0, 5.0)
        torch.testing.assert_close(act(seen), nn.functional.gelu(seen), rtol=0, atol=2e-3)
        torch.testing.assert_close(act(x), nn.functional.gelu(x), rtol=0, atol=0.05)


def test_inputs_that_are_all_the_same_are_no_samples() -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(x)

    model = with_activation(nn.GELU())
    for layer in model.encoder.layer:
        layer.intermediate.dense = nn.Sequential(layer.intermediate.dense, Constant())
    raft.convert(model, {"sites": ["ffn"]}, calibration=[torch.arange(24).reshape(2, 12)])
    assert start_of(model).interval == CONVERTED  # as without a calibration
    x = torch.linspace(-5, 5, 101)
    for act in raft.hf.rationals(model).values():
        torch.testing.assert_close(act(x), nn.functional.gelu(x), rtol=0, atol=0.05)


def test_a_raf_beside_its_function_misses_nothing_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    # a straight line would miss it by 2.5
    model = with_activation(nn.ReLU())
    raft.convert(model, {"degrees": [1, 0], "sites": ["ffn"], "residual": True})
    assert [(each.max_error, each.rms_error) for each in model.conversion_report] == [(0, 0)] * 2
    assert "misses" not in caplog.text


def test_a_model_that_is_refused_is_as_it_was() -> None:
    model = RobertaForMaskedLM(RobertaConfig(**TINY))
    kinds = [type(module) for module in model.modules()]
    for block in ({"layers": "7"}, {"groups": 5}):
        with pytest.raises(ValueError, match=r"layer|groups"):
            raft.convert(model, {"sites": ["ffn", "mlm_head"], **block})
        assert [type(module) for module in model.modules()] == kinds


def test_a_fit_that_fails_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    real = build.build_activation

    def fails_later(*args: Any) -> Any:
        made.append(args)
        if len(made) > 1:
            raise ValueError("no fit")
        return real(*args)

    monkeypatch.setattr(build, "build_activation", fails_later)
    model = BertModel(BertConfig(**TINY))
    before = {name: type(module) for name, module in model.named_modules()}
    with pytest.raises(ValueError, match="no fit"):
        raft.convert(model, {"sites": ["ffn", "attention_input"]})
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert model.config.raf is None
