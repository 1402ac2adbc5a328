"""Bottleneck adapters with learned activations behave as PEFT's own methods do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    set_seed,
)

import raft
from raft.hf.peft import names_without_adapter
from raft.hf.raf_bottleneck.layer import RafBottleneckLayer
from raft.learned_activation import learned_activations
from raft.training.optimizer import param_groups

peft = pytest.importorskip("peft")

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32,
}  # fmt: skip
IDS = torch.randint(5, 50, (4, 10), generator=torch.Generator().manual_seed(0))


def base() -> PreTrainedModel:
    set_seed(0)
    model: PreTrainedModel = BertForSequenceClassification(BertConfig(**SIZES))
    model.eval()
    return model


def logits(model: Any, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = model.eval()(input_ids=IDS, **kwargs).logits
    return outputs


def move(model: nn.Module, adapter: str = "default", seed: int = 0) -> None:
    """Give an adapter numbers of its own."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in model.named_parameters():
        if f"raf_bottleneck_adapters.{adapter}." in name:
            values.data.add_(0.1 * torch.rand(values.shape, generator=generator))


def adapted(**settings: Any) -> Any:
    model = peft.get_peft_model(base(), raft.RafBottleneckConfig(r=3, **settings))
    move(model)
    return model


def test_a_model_is_unchanged_at_the_start_to_the_bit() -> None:
    model = peft.get_peft_model(base(), raft.RafBottleneckConfig(r=3))
    assert torch.equal(logits(model), logits(base()))
    assert model.get_nb_trainable_parameters()[0] == 2 * (2 * 3 * 16 + 3 + 16 + 10)


def test_it_stands_behind_the_last_projection_as_the_formula_says() -> None:
    model = adapted(degrees=(3, 2), init="silu")
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, RafBottleneckLayer)}
    assert list(layers) == [f"base_model.model.bert.encoder.layer.{i}.output.dense" for i in range(2)]
    layer: Any = layers["base_model.model.bert.encoder.layer.0.output.dense"]
    x = torch.randn(2, 3, 32)
    y = x @ layer.base_layer.weight.T + layer.base_layer.bias
    part: Any = layer.parts["default"]
    a, b = part.activation.numerator, part.activation.denominator
    h = y @ part.down.weight.T + part.down.bias
    f = sum(a[i] * h**i for i in range(4)) / (1 + sum((b[i] * h ** (i + 1)).abs() for i in range(2)))
    torch.testing.assert_close(layer(x), y + f @ part.up.weight.T + part.up.bias)


def test_the_activation_can_be_fixed() -> None:
    model = adapted(learned=False)
    assert not learned_activations(model)
    assert any(isinstance(module, nn.GELU) for module in model.modules())
    assert model.get_nb_trainable_parameters()[0] == 2 * (2 * 3 * 16 + 3 + 16)


def test_its_rafs_are_named_by_their_projections() -> None:
    model = adapted()
    model.add_adapter("second", raft.RafBottleneckConfig(r=2, layers=[1]))
    names = names_without_adapter(model, learned_activations(model))
    assert list(names.values()) == [f"bert.encoder.layer.{i}.output.dense" for i in range(2)]
    assert all(".default." in name for name in names)


def test_rafs_have_a_rate_of_their_own() -> None:
    groups = param_groups(adapted(), lr=1e-3, raf_lr=1e-2)
    assert {group["lr"]: len(group["params"]) for group in groups if group["lr"] == 1e-2} == {1e-2: 4}


def test_adapters_switch_are_turned_off_and_deleted_to_the_bit() -> None:
    before, model = logits(base()), adapted()
    first = logits(model)
    model.add_adapter("second", raft.RafBottleneckConfig(r=2, layers=[1]))
    move(model, "second", seed=1)
    assert torch.equal(logits(model), first)
    model.set_adapter("second")
    second = logits(model)
    assert not torch.equal(first, second)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)
    mixed = logits(model, adapter_names=["default", "second", "__base__", "default"])
    for number, expected in enumerate((first, second, before, first)):
        torch.testing.assert_close(mixed[number], expected[number], rtol=1e-5, atol=1e-6)
    model.set_adapter("default")
    model.delete_adapter("second")
    assert torch.equal(logits(model), first)
    assert torch.equal(logits(model.unload()), before)


def test_a_file_gives_the_same_logits(tmp_path: Path) -> None:
    base().save_pretrained(tmp_path / "base")
    original = BertForSequenceClassification.from_pretrained(tmp_path / "base")
    model = peft.get_peft_model(original, raft.RafBottleneckConfig(r=3, task_type="SEQ_CLS"))
    move(model)
    model.save_pretrained(tmp_path / "adapter")
    again = peft.AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))


def test_a_file_is_loaded_under_any_name_and_by_transformers(tmp_path: Path) -> None:
    base().save_pretrained(tmp_path / "base")
    original = BertForSequenceClassification.from_pretrained(tmp_path / "base")
    model = peft.get_peft_model(original, raft.RafBottleneckConfig(r=20))  # wider than the block's channels
    move(model)
    model.add_adapter("second", raft.RafBottleneckConfig(r=2, layers=[1]))
    move(model, "second", seed=1)
    expected = {}
    for name in ("default", "second"):
        model.set_adapter(name)
        expected[name] = logits(model)
    model.save_pretrained(tmp_path / "adapter")

    def again() -> PreTrainedModel:
        loaded: PreTrainedModel = BertForSequenceClassification.from_pretrained(tmp_path / "base")
        return loaded

    other = peft.PeftModel.from_pretrained(again(), tmp_path / "adapter", adapter_name="other")
    assert torch.equal(logits(other), expected["default"])
    other.load_adapter(tmp_path / "adapter" / "second", "another")
    other.set_adapter("another")
    assert torch.equal(logits(other), expected["second"])
    plain: Any = again()
    plain.load_adapter(str(tmp_path / "adapter"))
    assert torch.equal(logits(plain), expected["default"])


@pytest.mark.parametrize("config", [raft.RafBottleneckConfig(r=3), raft.RafAdapterConfig(groups=4)])
def test_deep_models_and_memory_that_comes_late(config: Any, tmp_path: Path) -> None:
    sizes = {**SIZES, "num_hidden_layers": 20}  # from here on PEFT keeps the ends of names

    def deep() -> PreTrainedModel:
        set_seed(0)
        model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2))
        model.eval()
        return model

    model = peft.get_peft_model(deep(), copy.deepcopy(config))
    for name, values in model.named_parameters():
        if values.requires_grad:
            values.data.add_(
                0.01 * torch.rand(values.shape, generator=torch.Generator().manual_seed(len(name)))
            )
    model.save_pretrained(tmp_path)
    for is_late in (False, True):
        loaded = peft.PeftModel.from_pretrained(deep(), tmp_path, low_cpu_mem_usage=is_late)
        assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize("config", [raft.RafBottleneckConfig(r=3), raft.RafAdapterConfig(groups=4)])
def test_an_encoder_reads_each_sample_once_whatever_the_beams(config: Any) -> None:
    set_seed(0)
    sizes: dict[str, Any] = {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2, "d_kv": 8}
    t5: Any = T5ForConditionalGeneration(T5Config(vocab_size=50, **sizes))
    t5.generation_config.decoder_start_token_id = 0
    model = peft.get_peft_model(t5.eval(), copy.deepcopy(config))
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "num_beams": 2}
    with model.disable_adapter():
        before = model.generate(input_ids=IDS[:2], **options)
    for values in model.parameters():
        values.data.add_(values.requires_grad * torch.rand_like(values))
    mixed = model.eval().generate(input_ids=IDS[:2], adapter_names=["__base__", "default"], **options)
    assert torch.equal(mixed[0], before[0])


def test_half_precision_models_keep_float32_adapters() -> None:
    half: Any = base()
    model = peft.get_peft_model(half.to(torch.bfloat16), raft.RafBottleneckConfig(r=3))
    move(model)
    layer: Any = next(m for m in model.modules() if isinstance(m, RafBottleneckLayer))
    assert {values.dtype for values in layer.parts.parameters()} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


def test_decoders_generate_and_other_projections_are_found() -> None:
    set_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)).eval()
    prompt = IDS[:2, :4]
    before = llama.generate(prompt, max_new_tokens=5, do_sample=False)
    model = peft.get_peft_model(llama, raft.RafBottleneckConfig(r=3, task_type="CAUSAL_LM"))
    assert torch.equal(model.generate(input_ids=prompt, max_new_tokens=5, do_sample=False), before)
    gpt2 = GPT2Model(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_inner=32))
    model = peft.get_peft_model(gpt2, raft.RafBottleneckConfig(r=3, layers=[1]))
    layer: Any = next(m for m in model.modules() if isinstance(m, RafBottleneckLayer))
    assert layer.name == "h.1.mlp.c_proj"
    assert layer.parts["default"].up.out_features == 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 0}, "r must be a whole number of at least 1, not 0"),
        ({"r": "3"}, "r must be a whole number of at least 1, not '3'"),
        ({"learned": "no"}, "learned must be true or false, not 'no'"),
        ({"init": "gelo"}, "init must be one of gelu, .*, not 'gelo'"),
        ({"layers": [7]}, "has no layer 7: bert.encoder.layer has 2, counted from 0"),
        ({"target_modules": ["encoder.dense"]}, "no such projection: it is an adapter of another model"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        peft.get_peft_model(base(), raft.RafBottleneckConfig(**settings))
    model = adapted()
    with pytest.raises(ValueError, match="cannot be merged"):
        model.merge_and_unload()
    with pytest.raises(ValueError, match="is for models of transformers"):
        peft.get_peft_model(nn.Sequential(nn.Linear(2, 2), nn.GELU()), raft.RafBottleneckConfig())
