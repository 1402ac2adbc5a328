"""Adapters of RAFs behave as those of PEFT's own methods do."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

import raft
from raft.hf.raf_adapters.layer import RafAdapterLayer
from raft.kernels import reference
from raft.learned_activation import learned_activations

peft = pytest.importorskip("peft")

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32,
}  # fmt: skip
IDS = torch.randint(5, 50, (4, 10), generator=torch.Generator().manual_seed(0))


def base(raf: dict[str, Any] | None = None) -> PreTrainedModel:
    set_seed(0)
    model: PreTrainedModel = BertForSequenceClassification(BertConfig(**{**SIZES, "raf": raf}))
    model.eval()
    return model


def logits(model: Any, **kwargs: Any) -> Tensor:
    model.eval()
    with torch.no_grad():
        outputs: Tensor = model(input_ids=IDS, **kwargs).logits
    return outputs


def move(model: nn.Module, adapter: str = "default", seed: int = 0) -> None:
    """Give an adapter's functions coefficients of their own."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in model.named_parameters():
        if f"raf_adapter_functions.{adapter}." in name:
            values.data.add_(0.1 * torch.rand(values.shape, generator=generator))


def adapted(config: raft.RafAdapterConfig | None = None, raf: dict[str, Any] | None = None) -> Any:
    model = peft.get_peft_model(base(raf), config or raft.RafAdapterConfig(groups=4))
    move(model)
    return model


@pytest.mark.parametrize("raf", [None, {"init": "silu"}, {"init": "gelu", "shared": "all"}])
def test_a_model_is_unchanged_at_the_start_to_the_bit(raf: dict[str, Any] | None) -> None:
    before = logits(base(raf))
    model = peft.get_peft_model(base(raf), raft.RafAdapterConfig(groups=4))
    assert torch.equal(logits(model), before)
    trained = {name for name, values in model.named_parameters() if values.requires_grad}
    assert len(trained) == 4
    assert model.get_nb_trainable_parameters()[0] == 2 * 4 * 10
    assert all("raf_adapter_functions.default" in name for name in trained)


def test_an_adapter_is_what_the_formula_says() -> None:
    model = adapted()
    layer: Any = next(module for module in model.modules() if isinstance(module, RafAdapterLayer))
    x = torch.randn(2, 3, 32)
    act: Any = layer.raf_adapter_functions["default"]
    a, b = (values.double() for values in act.coefficients())
    parts = [
        reference.forward(part.double(), a[group], b[group], "A") for group, part in enumerate(x.chunk(4, -1))
    ]
    torch.testing.assert_close(
        layer(x).double(), nn.functional.gelu(x.double()) + torch.cat(parts, -1), rtol=1e-5, atol=1e-6
    )


def test_functions_are_of_the_input_where_the_activation_works_in_place() -> None:
    model = base()
    for module in model.modules():
        if hasattr(module, "intermediate_act_fn"):
            module.intermediate_act_fn = nn.ReLU(inplace=True)
    model = peft.get_peft_model(model, raft.RafAdapterConfig(groups=4))
    model.add_adapter("second", raft.RafAdapterConfig(groups=4))
    move(model)
    layer: Any = next(module for module in model.modules() if isinstance(module, RafAdapterLayer))
    x = torch.randn(2, 3, 32)
    alone = layer(x.clone())
    torch.testing.assert_close(layer(x.clone(), adapter_names=["default", "default"]), alone)
    model.base_model.set_adapter(["default", "second"])  # the second is zero
    torch.testing.assert_close(layer(x.clone()), alone)


def test_copies_of_a_models_own_rafs_are_trained() -> None:
    raf = {"init": "silu", "degrees": [3, 2]}
    before = logits(base(raf))
    config = raft.RafAdapterConfig(groups=4, degrees=(3, 2), residual=False)
    model = peft.get_peft_model(base(raf), config)
    torch.testing.assert_close(logits(model), before, rtol=1e-6, atol=1e-7)
    assert model.get_nb_trainable_parameters()[0] == 2 * 4 * 6
    move(model)
    assert not torch.equal(logits(model), before)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)


def test_adapters_switch_and_are_turned_off_to_the_bit() -> None:
    before = logits(base())
    model = adapted()
    first = logits(model)
    model.add_adapter("second", raft.RafAdapterConfig(groups=2))
    move(model, "second", seed=1)
    assert torch.equal(logits(model), first)
    model.set_adapter("second")
    second = logits(model)
    assert not torch.equal(first, second)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    both = copy.deepcopy(model)
    both.base_model.set_adapter(["default", "second"])
    assert not torch.equal(logits(both), first)
    model.delete_adapter("default")
    assert model.active_adapters == ["second"]
    assert torch.equal(logits(model), second)
    plain = model.unload()
    assert not any(isinstance(module, RafAdapterLayer) for module in plain.modules())
    assert torch.equal(logits(plain), before)


def test_a_file_of_kilobytes_gives_the_same_logits_in_a_new_process(tmp_path: Path) -> None:
    base().save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(
        BertForSequenceClassification.from_pretrained(tmp_path / "base"),
        raft.RafAdapterConfig(groups=8, task_type="SEQ_CLS"),
    )
    move(model)
    model.save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size < 20_000
    code = (
        "import raft, torch, json, sys\n"
        "from peft import AutoPeftModelForSequenceClassification as Auto\n"
        "model = Auto.from_pretrained(sys.argv[1]).eval()\n"
        "print(json.dumps(model(input_ids=torch.tensor(json.loads(sys.argv[2]))).logits.tolist()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "adapter"), json.dumps(IDS.tolist())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout.splitlines()[-1]) == logits(model).tolist()


def test_merged_it_is_a_model_with_residual_rafs(tmp_path: Path) -> None:
    model = adapted(raft.RafAdapterConfig(groups=4, layers=[1], task_type="SEQ_CLS"))
    expected = logits(model)
    other = BertForSequenceClassification(model.config)
    merged = model.merge_and_unload()
    other.save_pretrained(tmp_path)  # it has no RAFs, and its configuration says so
    assert not any(isinstance(module, RafAdapterLayer) for module in merged.modules())
    assert torch.equal(logits(merged), expected)
    merged.save_pretrained(tmp_path)
    again = BertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(again), expected)
    assert [act.name for act in learned_activations(again).values()] == ["residual_rational"]


def test_samples_of_a_batch_have_adapters_of_their_own() -> None:
    model = adapted()
    alone = {"__base__": logits(base()), "default": logits(model)}
    model.add_adapter("second", raft.RafAdapterConfig(groups=4, layers=[1]))
    move(model, "second", seed=1)
    model.set_adapter("second")
    alone["second"] = logits(model)
    names = ["default", "second", "__base__", "default"]
    mixed = logits(model, adapter_names=names)
    for number, name in enumerate(names):
        torch.testing.assert_close(mixed[number], alone[name][number], rtol=1e-5, atol=1e-6)
    assert torch.equal(logits(model), alone["second"])  # the names are gone
    with pytest.raises(ValueError, match="there is no adapter 'third', only default, second"):
        logits(model, adapter_names=["third"] * 4)
    with pytest.raises(ValueError, match="has 2 names"):
        logits(model, adapter_names=["default"] * 2)
    model.train()
    with pytest.raises(ValueError, match="for inference"):
        model(input_ids=IDS, adapter_names=names)


def test_a_trainer_trains_the_adapter_alone(tmp_path: Path) -> None:
    model = peft.get_peft_model(base(), raft.RafAdapterConfig(groups=4, task_type="SEQ_CLS"))
    before = {name: values.detach().clone() for name, values in model.named_parameters()}
    data = [{"input_ids": ids, "labels": int(ids.sum()) % 2} for ids in IDS]
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=3,
        learning_rate=1e-2,
        use_cpu=True,
        report_to=[],
        gradient_checkpointing=True,
    )
    Trainer(model, arguments, train_dataset=data).train()
    moved = {name for name, values in model.named_parameters() if not torch.equal(values, before[name])}
    assert moved == {name for name, values in model.named_parameters() if values.requires_grad}
    assert any("classifier.modules_to_save" in name for name in moved)
    assert (tmp_path / "checkpoint-3" / "adapter_model.safetensors").exists()


def test_half_precision_models_keep_float32_coefficients() -> None:
    half: Any = base()
    model = peft.get_peft_model(half.to(torch.bfloat16), raft.RafAdapterConfig(groups=4))
    acts = [act for name, act in learned_activations(model).items() if "raf_adapter" in name]
    assert {act.numerator.dtype for act in acts} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


def test_decoders_generate_and_functions_called_by_name_are_reached() -> None:
    set_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)).eval()
    prompt = IDS[:2, :4]
    before = llama.generate(prompt, max_new_tokens=5, do_sample=False)
    model = peft.get_peft_model(llama, raft.RafAdapterConfig(groups=4, task_type="CAUSAL_LM"))
    assert torch.equal(model.generate(input_ids=prompt, max_new_tokens=5, do_sample=False), before)
    move(model)
    mixed = model.eval().generate(
        input_ids=prompt, max_new_tokens=5, do_sample=False, adapter_names=["__base__", "default"]
    )
    assert torch.equal(mixed[0], before[0])
    distil = DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, hidden_dim=32, n_layers=1, n_heads=2))
    assert peft.get_peft_model(distil, raft.RafAdapterConfig(groups=8)).get_nb_trainable_parameters()[0] == 80


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"groups": 5}, "the 32 channels at .* cannot be cut into 5 groups"),
        ({"layers": [7]}, "has no layer 7: bert.encoder.layer has 2, counted from 0"),
        ({"sites": ["conv"]}, "has no activation of the kinds conv"),
        ({"groups": 4, "residual": False}, "trains copies of a model's RAFs"),
        (
            {"groups": 4, "target_modules": ["encoder.act"]},
            "no such activation: it is an adapter of another model",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        peft.get_peft_model(base(), raft.RafAdapterConfig(**config))


@pytest.mark.parametrize(
    "config", [{"groups": 0}, {"version": "Z"}, {"degrees": (1, 2, 3)}, {"sites": ["nose"]}]
)
def test_what_is_no_configuration_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"raf\.|version|degrees"):
        raft.RafAdapterConfig(**config)


def test_a_name_that_is_there_and_what_cannot_be_merged_are_refused() -> None:
    model = adapted()
    with pytest.raises(ValueError, match="already exists"):
        model.add_adapter("default", raft.RafAdapterConfig(groups=4))
    with pytest.raises(ValueError, match="cannot be merged in place"):
        model.merge_adapter()
    with pytest.raises(ValueError, match="a model that has RAFs of its own"):
        adapted(raf={"init": "silu"}).merge_and_unload()
    model.add_adapter("second", raft.RafAdapterConfig(groups=4))
    with pytest.raises(ValueError, match="one at a time, not default, second"):
        model.merge_and_unload(adapter_names=["default", "second"])
    with pytest.raises(ValueError, match="is for models of transformers"):
        peft.get_peft_model(nn.Sequential(nn.Linear(2, 2), nn.GELU()), raft.RafAdapterConfig())
