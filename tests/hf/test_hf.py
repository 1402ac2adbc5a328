"""RAFTs and FAFTs through transformers' own doors: constructors, save_pretrained, from_pretrained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedModel,
)

import raft

TINY: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
IDS = torch.arange(24).reshape(2, 12)


def bert_config(**values: Any) -> BertConfig:
    return BertConfig(**{**TINY, **values})


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(input_ids=IDS).logits
    return found


def scrambled(model: PreTrainedModel) -> PreTrainedModel:
    """Move every parameter, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def test_rafs_sit_in_feed_forward_layers_and_pooler_only() -> None:
    model = BertForSequenceClassification(bert_config(raf={}))
    assert list(raft.hf.rationals(model)) == [
        "bert.encoder.layer.0.intermediate.intermediate_act_fn",
        "bert.encoder.layer.1.intermediate.intermediate_act_fn",
        "bert.pooler.activation",
    ]
    assert raft.hf.rationals(model)["bert.pooler.activation"].start == raft.named_fit("tanh")
    head = BertForMaskedLM(bert_config(raf={})).cls.predictions.transform
    assert not isinstance(head.transform_act_fn, raft.Rational)


def test_no_block_is_a_plain_faft() -> None:
    for config in (BertConfig(**TINY), bert_config(raf=None)):
        assert raft.hf.rationals(BertForMaskedLM(config)) == {}


def test_twins_start_from_the_same_weights() -> None:
    models = []
    blocks: list[dict[str, Any] | None] = [None, {}]
    for raf in blocks:
        torch.manual_seed(0)
        models.append(BertForMaskedLM(bert_config(raf=raf)))
    fixed, learned = (model.state_dict() for model in models)
    assert all(torch.equal(fixed[key], learned[key]) for key in fixed)
    assert (logits(models[0]) - logits(models[1])).abs().max() < 0.01


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("Roberta", {}),
        ("Electra", {}),
        ("Albert", {"embedding_size": 16}),
        ("MobileBert", {"embedding_size": 16, "intra_bottleneck_size": 16}),
        ("DebertaV2", {}),
        ("MPNet", {}),
        ("DistilBert", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}),
    ],
)
def test_bert_like_families(family: str, names: dict[str, Any]) -> None:
    config_class = getattr(transformers, f"{family}Config")
    size: dict[str, Any] = (
        TINY if family != "DistilBert" else {"vocab_size": 50, "max_position_embeddings": 40}
    )
    config = config_class(**size, **names, raf={"version": "B"})
    model = getattr(transformers, f"{family}ForMaskedLM")(config)
    found = raft.hf.rationals(model)
    assert found
    assert all(act.version == "B" for act in found.values())
    model(input_ids=IDS, labels=IDS).loss.backward()
    used = [act for name, act in found.items() if "pooler" not in name]
    assert all(act.numerator.grad is not None and act.numerator.grad.abs().sum() > 0 for act in used)


@pytest.mark.parametrize("kind", ["raft", "faft", "converted"])
@pytest.mark.parametrize("auto", [AutoModelForMaskedLM, AutoModelForSequenceClassification])
def test_reloaded_logits_are_bit_identical(kind: str, auto: Any, tmp_path: Path) -> None:
    config = bert_config(raf={"degrees": [3, 2]} if kind == "raft" else None)
    model = scrambled(auto.from_config(config))
    if kind == "converted":
        model.save_pretrained(tmp_path / "faft")
        model = raft.convert(auto.from_pretrained(tmp_path / "faft"))
    model.save_pretrained(tmp_path / "model")
    again = auto.from_pretrained(tmp_path / "model")
    assert bool(raft.hf.rationals(again)) == (kind != "faft")
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("auto", [AutoModelForMaskedLM, AutoModelForSequenceClassification])
def test_a_checkpoint_without_rafs_gets_the_named_fits(auto: Any, tmp_path: Path) -> None:
    faft = scrambled(auto.from_config(BertConfig(**TINY)))
    faft.save_pretrained(tmp_path)
    config = BertConfig.from_pretrained(tmp_path)
    config.raf = {"version": "C", "init": "silu"}
    junk = [torch.full((6,), float("nan")) for _ in range(200)]  # freed memory, for a careless load to find
    del junk
    model = auto.from_pretrained(tmp_path, config=config)
    expected = raft.named_fit("silu", version="C")
    for act in raft.hf.rationals(model).values():
        torch.testing.assert_close(act.numerator.detach(), torch.tensor(expected.numerator))
        torch.testing.assert_close(act.denominator.detach(), torch.tensor(expected.denominator))
    weights = model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in faft.state_dict().items())
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(logits(auto.from_pretrained(tmp_path / "again")), logits(model))


def test_an_mlm_checkpoint_becomes_a_classifier_with_a_fresh_pooler(tmp_path: Path) -> None:
    scrambled(BertForMaskedLM(bert_config(raf={}))).save_pretrained(tmp_path)
    pretrained = raft.hf.rationals(AutoModelForMaskedLM.from_pretrained(tmp_path))
    found = raft.hf.rationals(AutoModelForSequenceClassification.from_pretrained(tmp_path))
    name = "bert.encoder.layer.1.intermediate.intermediate_act_fn"
    assert torch.equal(found[name].numerator, pretrained[name].numerator)
    tanh = torch.tensor(raft.named_fit("tanh").numerator)
    torch.testing.assert_close(found["bert.pooler.activation"].numerator.detach(), tanh)


def test_half_precision_keeps_the_coefficients_of_the_checkpoint(tmp_path: Path) -> None:
    model = scrambled(BertForMaskedLM(bert_config(raf={})))
    model.save_pretrained(tmp_path)
    half = AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.bert.encoder.layer[0].output.dense.weight.dtype == torch.bfloat16
    for mine, theirs in zip(raft.hf.rationals(half).values(), raft.hf.rationals(model).values(), strict=True):
        assert torch.equal(mine.numerator, theirs.numerator)
    assert torch.isfinite(logits(half)).all()


def test_convert_keeps_other_weights_and_is_idempotent() -> None:
    faft = scrambled(BertForSequenceClassification(BertConfig(**TINY)))
    before, scores = copy.deepcopy(faft.state_dict()), logits(faft)
    model = raft.convert(faft)
    assert (logits(model) - scores).abs().max() < 0.1
    after = copy.deepcopy(model.state_dict())
    assert all(torch.equal(before[key], after[key]) for key in before)
    raft.convert(model)
    assert all(torch.equal(value, after[key]) for key, value in model.state_dict().items())


def test_convert_refuses_a_model_without_sites() -> None:
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    with pytest.raises(ValueError, match="T5ForConditionalGeneration has no ffn or pooler activation"):
        raft.convert(model)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"degree": [5, 4]},
            "unknown key 'degree' in the raf block; known are sites, degrees",
        ),
        ({"degrees": [5, -1]}, "degrees must be two integers from 0 to 12"),
        ({"version": "a"}, "version must be one of A, B, C, D, N, not 'a'"),
        ({"init": "gelo"}, "unknown activation 'gelo'"),
        ({"sites": ["head"]}, "raf.sites must be taken from ffn, pooler"),
    ],
)
def test_bad_blocks_are_refused(block: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BertForMaskedLM(bert_config(raf=block))


def test_an_activation_without_a_fit_asks_for_init() -> None:
    with pytest.raises(ValueError, match="no named fit for the activation ReLUSquaredActivation; set init"):
        BertForMaskedLM(bert_config(hidden_act="relu2", raf={}))
    assert isinstance(raft.hf.sites(BertForMaskedLM(BertConfig(**TINY)))[0].parent, nn.Module)
