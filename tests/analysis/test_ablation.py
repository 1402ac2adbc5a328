"""Put back to a fixed function, a RAF does what that function does, and only while it is asked to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

import raft
from raft.analysis.ablation import ablate, replace_functions
from raft.hf import rationals
from raft.hf.histogram import count_inputs
from raft.learned_activation import learned_activations

SIZE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
IDS = torch.arange(24).reshape(2, 12)


def both_models() -> tuple[BertModel, BertModel]:
    torch.manual_seed(0)
    faft = BertModel(BertConfig(**SIZE), add_pooling_layer=False).eval()
    model = BertModel(BertConfig(**SIZE), add_pooling_layer=False).eval()
    model.load_state_dict(faft.state_dict())
    raft.convert(model)
    with torch.no_grad():
        for number, act in enumerate(rationals(model).values()):
            act.numerator[0] += 0.5 * (number + 1)
    return faft, model


@torch.no_grad()
def test_all_put_back_is_the_faft() -> None:
    faft, model = both_models()
    expected = faft(IDS).last_hidden_state
    before = model(IDS).last_hidden_state
    assert (before - expected).abs().max() > 0.01
    with replace_functions(model, dict.fromkeys(rationals(model), torch.nn.GELU())):
        assert torch.equal(model(IDS).last_hidden_state, expected)
    assert torch.equal(model(IDS).last_hidden_state, before)


def test_the_table_holds_each_case() -> None:
    faft, model = both_models()
    target = faft(IDS).last_hidden_state.detach()

    def loss() -> float:
        return float((model(IDS).last_hidden_state.detach() - target).square().mean())

    table = ablate(model, loss)
    sites = list(rationals(model))
    assert list(table["replaced"]) == ["as it is", *sites, "all", "all by their mean"]
    losses = dict(zip(table["replaced"], table["loss"], strict=True))
    assert losses["all"] == 0
    assert losses["as it is"] > losses[sites[1]] > 0
    assert list(table["change"]) == [value - losses["as it is"] for value in table["loss"]]
    assert loss() == losses["as it is"]


def test_each_is_put_back_to_what_it_replaced_and_what_is_not_reached_is_left_out() -> None:
    torch.manual_seed(0)
    model: Any = raft.convert(BertModel(BertConfig(**SIZE)).eval(), {"residual": True})
    pooled = ablate(model, lambda: float(model(IDS).pooler_output.square().sum()))
    # residual RAFs that begin at zero: the pooler's tanh, the layers' GELU, nothing changes
    assert list(pooled["by"]) == ["", "gelu", "gelu", "tanh", "gelu, tanh", "mean"]
    assert pooled["change"].abs().max() < 1e-6
    encoder = ablate(model, lambda: float(model.encoder.layer[0](torch.ones(1, 2, 8))[0].sum()))
    assert list(encoder["replaced"])[1:] == ["encoder.layer.0.intermediate.intermediate_act_fn", "all"]


def test_what_is_fitted_to_a_raf_stands_in_its_place() -> None:
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZE), add_pooling_layer=False).eval()
    raft.convert(model)
    first, second = rationals(model).values()
    with torch.no_grad():
        first.numerator.mul_(-0.3)  # GELU, mirrored and smaller
        second.load_state_dict(raft.Rational("tanh").state_dict())
    inputs = count_inputs(model, [{"input_ids": IDS}])
    before = model(IDS).last_hidden_state.detach()
    table = ablate(
        model, lambda: float((model(IDS).last_hidden_state.detach() - before).square().mean()), inputs=inputs
    )
    sites = list(rationals(model))
    losses = {(row["replaced"], row["by"]): float(row["loss"]) for row in table.to_dict("records")}
    assert list(losses)[-6:] == [
        (name, by) for by in ("scaled gelu", "nearest, scaled and moved") for name in [*sites, "all"]
    ]
    # of GELU scaled nothing is lost, of tanh the shape; what comes nearest is tanh itself
    assert losses[sites[0], "scaled gelu"] < 0.01 * losses[sites[0], "gelu"]
    assert 0.01 * losses[sites[1], "gelu"] < losses[sites[1], "scaled gelu"]
    assert losses["all", "nearest, scaled and moved"] < 0.01 * losses["all", "scaled gelu"]


def test_alike_rafs_lose_nothing_by_their_mean() -> None:
    _, model = both_models()
    first, second = rationals(model).values()
    second.load_state_dict(first.state_dict())
    ids = IDS.clone()
    table = ablate(model, lambda: float(model(ids).last_hidden_state.detach().square().sum()))
    assert table["change"].iloc[-1] == pytest.approx(0, abs=1e-4)


def test_other_learned_functions_are_put_back_too() -> None:
    faft, _ = both_models()
    target = faft(IDS).last_hidden_state.detach()
    model = raft.convert(faft, {"function": "swish"})
    with torch.no_grad():
        for act in learned_activations(model).values():
            next(act.parameters()).mul_(3)
    table = ablate(
        model,
        lambda: float((model(IDS).last_hidden_state.detach() - target).square().mean()),
        inputs=count_inputs(model, [IDS]),
    )
    losses = table.groupby(["replaced", "by"]).loss.first()
    assert losses["as it is", ""] > 1e-8
    assert losses["all", "gelu"] == 0
    # Swish of a steepness of its own is a SiLU whose input is scaled
    assert losses["all", "nearest, scaled and moved"] == pytest.approx(losses["as it is", ""], rel=1e-3)


def test_what_has_no_curve_is_ablated_by_its_function_alone() -> None:
    model = raft.convert(both_models()[0], {"function": "polynorm", "init": "default"})
    table = ablate(
        model,
        lambda: float(model(IDS).last_hidden_state.detach().square().sum()),
        inputs=count_inputs(model, [IDS]),
    )
    sites = list(learned_activations(model))
    assert list(table["replaced"]) == ["as it is", *sites, "all", "all by their mean"]


def test_what_cannot_be_replaced_is_refused() -> None:
    faft, model = both_models()
    with (
        pytest.raises(ValueError, match="'layer' is no RAF of the model; they are encoder"),
        replace_functions(model, {"layer": torch.sin}),
    ):
        pass
    with pytest.raises(ValueError, match="has no learned activation"):
        ablate(faft, lambda: 0.0)
    with pytest.raises(ValueError, match="unknown activation"):
        ablate(model, lambda: 0.0, "cosine")
