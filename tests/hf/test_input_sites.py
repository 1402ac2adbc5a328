"""RAFs before projections in whole models: conversion, sharing, saving, adapters, checkpointing, analysis."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PatchTSTConfig,
    PatchTSTModel,
    SqueezeBertConfig,
    SqueezeBertModel,
)

import raft
from raft.analysis.ablation import ablate
from raft.hf.sites.input_activation import InputActivation
from raft.models import RaftBertConfig, RaftBertForMaskedLM
from raft.networks.config import INPUT_SITES, RafConfig
from tests.hf.architectures import ARCHITECTURES, TINY, scrambled, texts

IDS = torch.arange(24).reshape(2, 12)
WITH_FFN = ("ffn", *INPUT_SITES)


def bert(layers: int = 4, model: Any = BertForMaskedLM) -> Any:
    torch.manual_seed(1)
    return scrambled(model(BertConfig(**{**TINY, "num_hidden_layers": layers})), 0.1).eval()


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        actual: Tensor = model.eval()(input_ids=IDS).logits
    return actual


def moved(model: Any) -> Any:
    """A model whose RAFs are no longer what they began as, and differ from each other."""
    with torch.no_grad():
        for number, act in enumerate(raft.hf.rationals(model).values(), start=1):
            act.numerator[..., 2] += 0.02 * number
            act.denominator[..., 1] += 0.1
    return model.eval()


def places(model: Any) -> list[str]:
    """``2.attention_input`` of each RAF: layer and kind."""
    sites = {site.name: site for site in raft.hf.find_sites(model)}
    return [f"{sites[name].layer}.{sites[name].kind}" for name in raft.hf.rationals(model)]


@pytest.mark.parametrize(
    "block",
    [{}, {"init": "gelu"}, {"version": "N"}, {"degrees": [1, 0]}, {"groups": 4}, {"residual": True},
     {"shared": "all"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("how", ["built", "converted", "calibrated"])
def test_they_begin_as_the_identity_whatever_else_is_configured(block: dict[str, Any], how: str) -> None:
    block = {**block, "sites": INPUT_SITES}
    model = bert()
    expected = logits(model)
    if how == "built":
        state = model.state_dict()
        model = BertForMaskedLM(BertConfig(**{**TINY, "num_hidden_layers": 4, "raf": block}))
        model.load_state_dict(state, strict=False)
    else:
        raft.convert(model, block, calibration=[texts()] if how == "calibrated" else None)
    assert torch.equal(logits(model), expected)


def test_units_and_interval_are_those_of_the_inputs() -> None:
    model = bert(layers=1)
    layer = model.bert.encoder.layer[0]
    seen: list[Tensor] = []
    layer.attention.self.query.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    raft.convert(model, {"sites": ["attention_input"]}, calibration=[{"input_ids": IDS}])
    act = layer.attention.self.attention_input.activation
    x = seen[0].flatten().double()
    assert act.start.interval == (x.min().item(), x.max().item())
    # a unit of a_5 changes the identity by about one: the derivative is x⁵
    sensitivity = x.pow(5).square().mean().sqrt()
    assert 0.5 < act.numerator_scale[5] * sensitivity < 2


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        (False, [f"{layer}.{kind}" for layer in range(4) for kind in WITH_FFN]),
        ("all", ["0.attention_input", "0.ffn"]),
        ("kind", ["0.attention_input", "0.ffn", "0.ffn_input"]),
        ({"lower": "0-2"}, ["0.attention_input", "0.ffn", "0.ffn_input", "3.attention_input", "3.ffn",
                            "3.ffn_input"]),
    ],
)  # fmt: skip
def test_sites_share_rafs_by_start_kind_or_layer(shared: Any, expected: list[str], tmp_path: Path) -> None:
    model = raft.convert(bert(), {"sites": WITH_FFN, "shared": shared})
    assert sorted(places(model)) == sorted(expected)
    assert sum(name.endswith("numerator") for name in model.state_dict()) == len(expected)
    moved(model).save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert sorted(places(again)) == sorted(expected)
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("shared", [False, "all", "kind", {"a": "0-1", "b": "2-3"}], ids=str)
@pytest.mark.parametrize("kept", [slice(None, None, 2), slice(1, None), slice(3)], ids=str)
@pytest.mark.parametrize("layers", ["all", "0,2"])
def test_a_model_whose_layers_were_cut_comes_back(
    shared: Any, kept: slice, layers: str, tmp_path: Path
) -> None:
    if layers != "all" and isinstance(shared, dict):
        shared = {"a": "0,2"}
    model = bert(model=BertModel)
    raft.convert(model, {"sites": WITH_FFN, "shared": shared, "layers": layers})
    moved(model).encoder.layer = model.encoder.layer[kept]
    model.config.num_hidden_layers = len(model.encoder.layer)
    expected = model(**texts()).last_hidden_state
    model.save_pretrained(tmp_path)
    again, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == info["unexpected_keys"] == set()
    assert torch.equal(again(**texts()).last_hidden_state, expected)


def test_a_layer_that_is_new_since_the_conversion_is_saved_without(tmp_path: Path) -> None:
    model = bert(layers=3, model=BertModel)
    fresh = copy.deepcopy(model.encoder.layer[2])
    raft.convert(model, {"sites": ["attention_input"]})
    moved(model).encoder.layer[1] = fresh
    expected = model(**texts()).last_hidden_state
    model.save_pretrained(tmp_path)
    assert model.config.raf["layers"] == [0, 2]
    again = AutoModel.from_pretrained(tmp_path)
    assert places(again) == ["0.attention_input", "2.attention_input"]
    assert torch.equal(again(**texts()).last_hidden_state, expected)


def test_layers_restrict_them_as_they_do_feed_forward_blocks() -> None:
    model = raft.convert(bert(), {"sites": [*WITH_FFN, "mlm_head"], "layers": "1"})
    assert places(model) == ["1.attention_input", "1.ffn", "1.ffn_input", "None.mlm_head"]
    with pytest.raises(ValueError, match="has no layer 7"):
        raft.convert(bert(), {"sites": INPUT_SITES, "layers": "1,7"})


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"degrees": (0, 4)}, r"raf.degrees must be from \(1, 0\) on for attention_input, which starts as"),
        ({"shared": "kinds"}, 'raf.shared must be false, "all", "kind" or a mapping'),
        ({"groups": 3}, "the 16 channels at .*attention_input.activation cannot be cut into 3 groups"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(block: dict[str, Any], message: str) -> None:
    model = bert()
    with pytest.raises(ValueError, match=message):
        raft.convert(model, {"sites": INPUT_SITES, **block})
    assert not any(isinstance(module, InputActivation) for module in model.modules())


def test_convolutions_have_no_groups_of_channels() -> None:
    groups = ("q_groups", "k_groups", "v_groups", "intermediate_groups", "output_groups")
    values: Any = {"embedding_size": 16, "post_attention_groups": 1, **dict.fromkeys(groups, 2)}
    model = SqueezeBertModel(SqueezeBertConfig(**TINY, **values))
    with pytest.raises(ValueError, match=r"channels first at .*attention_input\.activation"):
        raft.convert(model, {"sites": INPUT_SITES, "groups": 2})
    raft.convert(model, {"sites": INPUT_SITES})
    assert len(raft.hf.rationals(model)) == 4


@pytest.mark.parametrize("name", ["bert", "llama", "bart", "mixtral"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(name: str, reentrant: bool) -> None:
    architecture, inputs = ARCHITECTURES[name], ARCHITECTURES[name].inputs()
    model: Any = moved(raft.convert(scrambled(architecture.build()), {"sites": WITH_FFN}))
    gradients: list[dict[str, Tensor]] = []
    for is_checkpointed in (False, True):
        model.zero_grad()
        model.train()
        if is_checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        torch.manual_seed(2)  # of dropout
        model(**inputs)[0].square().mean().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    plain, again = gradients
    assert plain.keys() == again.keys()
    for key in plain:
        torch.testing.assert_close(again[key], plain[key], msg=key)


def test_an_adapter_reads_what_its_projection_reads(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = moved(raft.convert(bert(), {"sites": WITH_FFN}))
    before = logits(model)
    config = peft.LoraConfig(
        r=2, target_modules=["query", "value", "intermediate.dense"], init_lora_weights=False,
        modules_to_save=raft.peft_modules(model),
    )  # fmt: skip
    adapted: Any = peft.get_peft_model(model, config)
    with torch.no_grad():  # of the adapter's copies
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name and name.endswith("numerator"):
                parameter[..., 3] += 0.01
    expected = logits(adapted)
    assert not torch.allclose(expected, before, atol=1e-3)
    with adapted.disable_adapter():
        torch.testing.assert_close(logits(adapted), before)
    adapted.save_pretrained(tmp_path / "adapter")
    base = raft.convert(bert(), {"sites": WITH_FFN})
    again = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(logits(again), expected)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(loaded), logits(merged))


def test_a_copied_and_a_pickled_model_have_rafs_of_their_own(tmp_path: Path) -> None:
    model = moved(raft.convert(bert(), {"sites": WITH_FFN, "shared": "all"}))
    expected = logits(model)
    torch.save(model, tmp_path / "model.pt")
    for again in (copy.deepcopy(model), torch.load(tmp_path / "model.pt", weights_only=False)):
        assert torch.equal(logits(again), expected)
        with torch.no_grad():
            for act in raft.hf.rationals(again).values():
                act.numerator.zero_()
        assert not torch.equal(logits(again), expected)
        assert torch.equal(logits(model), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_compiled_model_gives_the_same(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model: Any = moved(raft.convert(scrambled(architecture.build()), {"sites": WITH_FFN}))
    inputs = architecture.inputs()
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(**inputs)[0], model(**inputs)[0])


def test_analyses_count_them_as_sites() -> None:
    model = moved(raft.convert(bert(layers=1), {"sites": INPUT_SITES}))

    def loss() -> float:
        return float(model(input_ids=IDS, labels=IDS).loss)

    table = ablate(model, loss)
    names = list(raft.hf.rationals(model))
    assert [table["by"][table["replaced"] == name].item() for name in names] == ["identity", "identity"]
    assert all(abs(table["change"][table["replaced"] == name].item()) > 1e-6 for name in names)


def test_the_papers_encoder_has_them() -> None:
    config = RaftBertConfig(**TINY, raf={"sites": WITH_FFN, "init": "gelu", "shared": "kind"})
    model = RaftBertForMaskedLM(config)
    assert sorted(places(model)) == ["0.attention_input", "0.ffn", "0.ffn_input"]
    model(input_ids=IDS, labels=IDS).loss.backward()
    gradients = [act.numerator.grad for act in raft.hf.rationals(model).values()]
    assert all(isinstance(gradient, Tensor) and gradient.all() for gradient in gradients)


def test_the_block_says_itself_back() -> None:
    config = RafConfig(sites=INPUT_SITES, shared="kind")
    assert RafConfig.from_dict(config.to_dict()) == config


def test_half_precision_keeps_the_dtype_of_tensors() -> None:
    model: Any = raft.convert(bert(), {"sites": INPUT_SITES})
    model, plain = model.to(torch.bfloat16), bert().to(torch.bfloat16)
    assert torch.equal(logits(model), logits(plain))


def test_a_block_in_a_container_has_one_that_is_computed_once() -> None:
    """Put into ``PatchTST``'s ``nn.Sequential``, it would be called with what comes out of the block, too."""
    sizes: dict[str, Any] = {"d_model": 16, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = PatchTSTConfig(num_input_channels=1, context_length=16, patch_length=4, patch_stride=4, **sizes)
    model = PatchTSTModel(config).eval()
    values = {"past_values": torch.randn(2, 16, 1)}
    before = model(**values).last_hidden_state
    raft.convert(model, {"sites": ["ffn_input"]})
    calls: list[str] = []
    for name, act in raft.hf.rationals(model).items():
        act.register_forward_hook(lambda *_, name=name: calls.append(name))
        with torch.no_grad():
            act.numerator[0] += 0.5  # a constant added twice would be seen
    after = model(**values).last_hidden_state
    assert len(calls) == len(set(calls)) == 2
    assert not torch.allclose(after, before)
