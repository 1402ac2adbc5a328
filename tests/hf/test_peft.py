"""RAFs trained, saved, merged and switched off with a LoRA adapter."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, BertModel

import raft
from raft.hf.peft import peft_modules
from raft.training.monitoring import coefficients
from tests.hf.architectures import ARCHITECTURES, TINY, scrambled
from tests.hf.test_hf import IDS, logits

peft = pytest.importorskip("peft")

LABELS = torch.tensor([0, 1])


def converted() -> Any:
    torch.manual_seed(0)
    return scrambled(raft.convert(BertForSequenceClassification(BertConfig(**TINY))))


def with_adapter(model: Any, **options: Any) -> Any:
    torch.manual_seed(1)
    options.setdefault("target_modules", ["query", "value"])
    config = peft.LoraConfig(r=2, modules_to_save=peft_modules(model), init_lora_weights=False, **options)
    return peft.get_peft_model(model, config)


def train_a_step(model: Any) -> None:
    model.train()
    optimizer = torch.optim.AdamW(raft.param_groups(model, lr=1e-1, raf_lr=1e-1))
    model(input_ids=IDS, labels=LABELS).loss.backward()
    optimizer.step()


def named_copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("family", ["Bert", "Albert", "DistilBert", "DebertaV2", "MobileBert"])
def test_the_names_end_those_of_rafs_only(family: str) -> None:
    size: dict[str, Any] = {
        **TINY,
        **{"embedding_size": 16, "intra_bottleneck_size": 16, "n_layers": 2, "n_heads": 2, "dim": 16},
    }
    config = getattr(transformers, f"{family}Config")(**size)
    model = raft.convert(getattr(transformers, f"{family}ForSequenceClassification")(config))
    ends = peft_modules(model)
    actual = {name for name, _ in model.named_modules() if name.endswith(tuple(ends))}
    assert actual == set(raft.hf.rationals(model))
    assert len(ends) <= 2


def test_ambiguous_ends_are_made_longer() -> None:
    raf = raft.Rational
    layers = [
        nn.ModuleDict({"act": raf(), "gate": nn.ModuleDict({"my_act": nn.Identity()})}),
        nn.ModuleDict({"act": nn.ReLU(), "other": nn.ModuleDict({"act": raf()})}),
    ]
    assert peft_modules(nn.ModuleList(layers)) == ["0.act", "other.act"]


def test_rafs_that_several_places_use_are_refused() -> None:
    model = raft.convert(BertForSequenceClassification(BertConfig(**TINY)), {"shared": "all"})
    with pytest.raises(ValueError, match=r"layer.1.intermediate.* uses the rational activation of another"):
        peft_modules(model)


def test_a_causal_language_model_trains_its_rafs() -> None:
    architecture = ARCHITECTURES["llama"]
    model: Any = raft.convert(architecture.build())
    before = named_copy(model)
    adapted = with_adapter(model, target_modules=["q_proj"])
    ids = architecture.inputs()["input_ids"]
    optimizer = torch.optim.AdamW(raft.param_groups(adapted, lr=1e-2))
    adapted(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    merged = adapted.merge_and_unload()
    moved = {name for name, value in merged.named_parameters() if not torch.equal(value, before[name])}
    acts = {f"{name}.numerator" for name in raft.hf.rationals(merged)}
    assert acts <= moved
    assert {name.split(".")[-2] for name in moved} == {"act_fn", "q_proj"}


def test_coefficients_are_those_of_the_active_adapter_by_their_plain_names() -> None:
    model = converted()
    sites = list(raft.hf.rationals(model))
    adapted = with_adapter(model, target_modules=["query"])
    adapted.add_adapter("second", adapted.peft_config["default"])
    for name, act in raft.hf.rationals(adapted).items():
        value = {"default": 7.0, "second": 8.0}.get(name.rpartition(".")[2], 9.0)
        assert act.numerator_scale is not None
        act.numerator.data = value / act.numerator_scale
    for active, value in (("default", 7.0), ("second", 8.0)):
        adapted.set_adapter(active)
        actual = coefficients(adapted)
        assert {name.rpartition(".")[0] for name in actual} == set(sites)
        assert all((actual[f"{site}.numerator"] == value).all() for site in sites)


def test_a_name_that_ends_another_is_refused() -> None:
    model = nn.ModuleDict({"act": raft.Rational(), "layer": nn.ModuleDict({"act": nn.ReLU()})})
    with pytest.raises(ValueError, match=r"cannot tell the rational activation act from layer\.act"):
        peft_modules(model)


def test_a_model_without_rafs_is_refused() -> None:
    with pytest.raises(ValueError, match="BertModel has no rational activation"):
        peft_modules(BertModel(BertConfig(**TINY)))


def test_a_step_trains_the_adapter_and_nothing_else() -> None:
    model = with_adapter(converted())
    before = named_copy(model)
    train_a_step(model)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert len({name for name in changed if ".lora_" in name}) == 8
    assert {name for name in changed if ".lora_" not in name} == {
        f"base_model.model.{name}.modules_to_save.default.{part}"
        for name in raft.hf.rationals(converted())
        for part in ("numerator", "denominator")
    }


def test_the_classification_head_is_trained_beside_the_rafs() -> None:
    model = with_adapter(converted(), task_type="SEQ_CLS")
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert any("classifier" in name for name in trained)
    assert sum("numerator" in name for name in trained) == 3


def test_an_adapter_is_saved_and_loaded_with_its_rafs(tmp_path: Path) -> None:
    model = with_adapter(converted())
    train_a_step(model)
    model.save_pretrained(tmp_path)
    assert (logits(converted()) - logits(model)).abs().max() > 1e-3
    again = peft.PeftModel.from_pretrained(converted(), str(tmp_path))
    assert torch.equal(logits(again), logits(model))


def test_merging_gives_a_plain_model_with_the_trained_rafs(tmp_path: Path) -> None:
    model = with_adapter(converted())
    train_a_step(model)
    expected = logits(model)
    trained = model.base_model.model.bert.pooler.activation.numerator.detach().clone()
    merged = model.merge_and_unload()
    assert len(raft.hf.rationals(merged)) == 3
    assert torch.equal(merged.bert.pooler.activation.numerator, trained)
    torch.testing.assert_close(logits(merged), expected)
    merged.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(type(merged).from_pretrained(tmp_path)), expected)


def test_a_disabled_adapter_leaves_the_original() -> None:
    base = converted()
    expected = logits(base)
    model = with_adapter(base)
    train_a_step(model)
    assert not torch.equal(logits(model), expected)
    with model.disable_adapter():
        assert torch.equal(logits(model), expected)
        act = model.base_model.model.bert.pooler.activation
        assert act.numerator is act.original_module.numerator


def test_a_second_adapter_starts_from_the_original() -> None:
    base = converted()
    expected = logits(base)
    model = with_adapter(base)
    train_a_step(model)
    first = logits(model)
    names = peft_modules(model)
    assert names == peft_modules(converted())
    model.add_adapter("second", peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=names))
    model.set_adapter("second")
    assert torch.equal(logits(model), expected)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)


def test_coefficients_stay_float32_in_bfloat16(tmp_path: Path) -> None:
    model = with_adapter(converted().to(torch.bfloat16)).to(torch.bfloat16)
    train_a_step(model)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(converted().to(torch.bfloat16), str(tmp_path))
    for actual in (model, again):
        acts = raft.hf.rationals(actual)
        assert len(acts) == 6  # the originals and the adapter's
        assert all(p.dtype == torch.float32 for act in acts.values() for p in act.parameters())
        assert actual.base_model.model.bert.encoder.layer[0].output.dense.weight.dtype == torch.bfloat16
    for name, act in raft.hf.rationals(model).items():
        assert torch.equal(act.numerator, raft.hf.rationals(again)[name].numerator)


def test_the_wrapper_looks_like_a_raf() -> None:
    model = with_adapter(converted())
    act = model.base_model.model.bert.pooler.activation
    assert act.numerator is act.modules_to_save["default"].numerator
    assert (act.degrees, act.version, act.start) == ((5, 4), "A", act.original_module.start)


def test_a_raf_at_several_places_is_refused() -> None:
    model = converted()
    first, second = (layer.intermediate for layer in model.bert.encoder.layer)
    second.intermediate_act_fn = first.intermediate_act_fn
    with pytest.raises(ValueError, match=r"layer\.0\.\S+ and \S+layer\.1\.\S+ share one rational activation"):
        peft_modules(model)
    config = peft.LoraConfig(target_modules=["query"], modules_to_save=["intermediate_act_fn"])
    peft.get_peft_model(model, config)
    assert first.intermediate_act_fn.original_module is second.intermediate_act_fn.original_module
    assert first.intermediate_act_fn.numerator is not second.intermediate_act_fn.numerator


def test_copies_of_a_shared_raf_are_accepted() -> None:
    model = converted()
    first, second = (layer.intermediate for layer in model.bert.encoder.layer)
    second.intermediate_act_fn = copy.deepcopy(first.intermediate_act_fn)
    assert peft_modules(model) == ["intermediate_act_fn", "activation"]


def test_a_layer_used_twice_keeps_one_raf(tmp_path: Path) -> None:
    def shared() -> Any:
        model = converted()
        model.bert.encoder.layer[1] = model.bert.encoder.layer[0]
        return model

    model = with_adapter(shared())
    first, second = (layer.intermediate for layer in model.base_model.model.bert.encoder.layer)
    assert first.intermediate_act_fn.numerator is second.intermediate_act_fn.numerator
    assert first.intermediate_act_fn.numerator.requires_grad
    train_a_step(model)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(shared(), str(tmp_path))
    assert torch.equal(logits(again), logits(model))
