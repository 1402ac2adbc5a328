"""Pretraining of any architecture of ``transformers``: what is refused, and what a run leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, pipeline

from raft.data.text.tokens import CLM, MLM
from raft.errors import InputError
from raft.hf import rationals
from raft.pretraining.architectures import build_config, check_attention, describe_model, new_model
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.run import PretrainingResult, read_text, run
from raft.pretraining.samples import read_samples
from raft.pretraining.train import build_model
from raft.report.model_card import write_card
from raft.training.arguments import RaftTrainingArguments

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 32},
    "llama": {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 32,
    },
    "qwen3": {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 32,
    },
    "modernbert": {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 32,
    },
    "bert": {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 32,
    },
}  # fmt: skip
GPT2: dict[str, Any] = {"objective": "clm", "architecture": "gpt2", "model": SIZES["gpt2"]}
SHORT: dict[str, Any] = {"sequence_length": 16, "vocab_size": 300}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objective": "lm"}, "--objective must be one of mlm, clm, not 'lm'"),
        ({"architecture": "lama"}, "no masked language model of this type, nor any other"),
        ({"objective": "clm", "architecture": "lama"}, "causal .*; the nearest is .llama."),
        ({"objective": "clm", "architecture": "raft_bert"}, "has no causal language model of this"),
        ({"architecture": "gpt2"}, "gpt2: transformers has no masked language model of this type"),
        ({**GPT2, "model": {"n_layers": 2}}, "gpt2 has no n_layers; the nearest is 'n_layer'"),
        ({**GPT2, "model": {"hidden_size": 32, "n_head": 2}}, None),
        ({**GPT2, "model": '{"n_layer": 2, "n_embd": 32, "n_head": 2}'}, None),
        ({**GPT2, "model": "n_layer"}, "--model n_layer is no JSON object"),
        ({**GPT2, "model": {"n_layer": "two"}}, "--architecture gpt2: .*n_layer"),
        ({**GPT2, "model": {"n_embd": 33, "n_head": 2}}, "--architecture gpt2: .*33"),
        ({**GPT2, "model": {"vocab_size": 9}}, "--model: vocab_size follows from --vocab_size"),
        ({**GPT2, "model": {"activation_function": "relu"}}, "activation_function follows from --activation"),
        ({**GPT2, "sequence_length": 64}, "--sequence_length must be at most the model's .*, 32, not 64"),
        ({**GPT2, "hidden_size": 64}, "--hidden_size is an option of raft_bert: give gpt2 the fields"),
        ({**GPT2, "activation": "swiglu"}, "swiglu is for raft_bert: .*the function of gpt2 alone"),
        ({**GPT2, "compare": "raf,gelu,relu2,leaky_relu2,xielu,spline:knots=9"}, None),
        ({**GPT2, "activation": "raf", "raf_init": "relu3"}, "unknown activation 'relu3'"),
        ({"model": {"hidden_size": 64}}, "--model is for other architectures; raft_bert has options"),
        ({"attention_within_documents": True}, "--attention_within_documents is for --objective clm"),
        ({"objective": "clm", "architecture": "bloom"}, "the configuration of bloom does not name its"),
        ({"architecture": "modernbert", "model": SIZES["modernbert"]}, None),
        # whose configurations take no None for a special token
        ({"architecture": "eurobert", "model": SIZES["modernbert"]}, None),
        ({"architecture": "nomic_bert", "model": SIZES["modernbert"]}, None),
        ({"objective": "clm", "architecture": "cwm", "model": SIZES["qwen3"]}, None),
        ({"objective": "clm", "architecture": "modernbert-decoder", "model": SIZES["modernbert"]}, None),
    ],
)  # fmt: skip
def test_what_a_recipe_takes(values: dict[str, Any], message: str | None) -> None:
    recipe = PretrainingRecipe(**{"activation": "gelu", **SHORT, **values})
    if message is None:
        recipe.check()
    else:
        with pytest.raises(InputError, match=message) as error:
            recipe.check()
        assert "\n" not in str(error.value)


def test_a_model_that_sees_later_tokens_is_refused() -> None:
    for is_decoder in (False, True):
        config = build_config("bert", {**SIZES["bert"], "is_decoder": is_decoder}, "gelu", None, None, 40)
        model = new_model(config, CLM)
        if is_decoder:
            check_attention(model, within_documents=False)
        else:
            with pytest.raises(InputError, match="bert sees later tokens, and would predict what it sees"):
                check_attention(model, within_documents=False)


def test_attention_that_does_not_end_with_documents_is_refused() -> None:
    check_attention(new_model(build_config("gpt2", SIZES["gpt2"], "gelu", None, None, 40), CLM), True)
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "ffn_dim": 48, "num_hidden_layers": 1}
    config = build_config("opt", {**sizes, "word_embed_proj_dim": 32}, "relu", None, None, 40)
    model = new_model(config, CLM)
    check_attention(model, within_documents=False)
    original = type(model).forward

    def deaf(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return original(model, *args, **kwargs)

    model.forward = deaf
    with pytest.raises(InputError, match="opt does not end its attention where positions begin anew"):
        check_attention(model, within_documents=True)


@pytest.mark.parametrize("architecture", SIZES)
def test_raft_and_baseline_start_from_the_same_weights(architecture: str) -> None:
    objective = MLM if "bert" in architecture else CLM
    models = [
        build_model(build_config(architecture, SIZES[architecture], fixed, raf, None, 60), 3, None, objective)
        for fixed, raf in (("gelu", None), ("relu2", None), (None, {"init": "gelu"}))
    ]
    gelu, relu2, raf = (model.state_dict() for model in models)
    assert gelu.keys() == relu2.keys()
    assert {name.rpartition(".")[2] for name in raf.keys() - gelu.keys()} == {
        "numerator", "denominator", "raf_form",
    }  # fmt: skip
    assert all(torch.equal(gelu[name], other[name]) for name in gelu for other in (relu2, raf))
    assert len(rationals(models[2])) == 2
    tokens = torch.arange(8)[None] + 2
    first, second, third = (model.eval()(input_ids=tokens).logits for model in models)
    assert not torch.equal(first, second)
    assert torch.allclose(first, third, atol=1e-2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("corpus") / "texts.txt"
    texts = (f"The {i % 7} foxes of number {i % 5} jump over {i % 3} lazy dogs." for i in range(600))
    file.write_text("\n\n".join(texts))
    return file


def pretrained(folder: Path, corpus: Path, steps: int = 30, **values: Any) -> PretrainingResult:
    recipe = PretrainingRecipe(
        corpus=str(corpus), tokenizer="train", global_batch_size=8, validation_sequences=20,
        snapshot_steps=10, **{**SHORT, **values},
    )  # fmt: skip
    recipe.check()
    arguments = RaftTrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=8, learning_rate=1e-2, seed=1,
        eval_strategy="steps", eval_steps=10, report_to="none", disable_tqdm=True, max_grad_norm=0.0,
        use_cpu=True,
    )  # fmt: skip
    text = read_text(recipe)
    result = run(recipe, arguments, text)
    write_card(folder, recipe, text, result)
    return result


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_a_causal_run_leaves_a_model_that_generates(architecture: str, corpus: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {"objective": "clm", "architecture": architecture, "model": SIZES[architecture]}
    result = pretrained(tmp_path, corpus, **values)
    assert result.loss < min(result.history[0][2], result.unigram_loss)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(rationals(model)) == 2
    inputs = tokenizer("The 3 foxes", return_tensors="pt")
    cached, whole = (
        model.generate(**inputs, max_new_tokens=12, do_sample=False, use_cache=use) for use in (True, False)
    )
    assert torch.equal(cached, whole)
    assert cached.shape[1] > inputs["input_ids"].shape[1]
    samples = read_samples(tmp_path)
    assert len(samples) == 3
    assert all(sample.prompt and sample.likeliest for sample in samples)
    generate = pipeline("text-generation", model=str(tmp_path))
    assert generate("The 3 foxes", max_new_tokens=8)[0]["generated_text"].startswith("The 3 foxes")
    card = (tmp_path / "README.md").read_text()
    assert "pretrained by causal language modelling" in card
    assert "AutoModelForCausalLM.from_pretrained" in card
    assert "at these sites: ffn." in card
    recipe = yaml.safe_load(card.partition("```yaml")[2].partition("```")[0])
    assert recipe["architecture"] == architecture
    assert not {"num_hidden_layers", "deepnorm", "mlm_probability"} & recipe.keys()
    assert f"| bits per byte | {result.bits_per_byte:.4f} |" in card


def test_bits_per_byte_are_those_of_the_held_out_text(corpus: Path, tmp_path: Path) -> None:
    result = pretrained(tmp_path, corpus, steps=2, **GPT2)
    recipe = PretrainingRecipe(
        corpus=str(corpus), tokenizer="train", validation_sequences=20, **SHORT, **GPT2
    )
    text = read_text(recipe)
    sequences = text.validation.sequences[:, 1:]
    size = sum(len(text.tokenizer.decode(row, skip_special_tokens=True)) for row in sequences)
    assert result.bits_per_byte == pytest.approx(result.loss * sequences.size / size / math.log(2))
    assert json.loads((tmp_path / "pretraining.json").read_text())["bits_per_byte"] == result.bits_per_byte


def test_other_masked_models_can_be_pretrained(corpus: Path, tmp_path: Path) -> None:
    result = pretrained(tmp_path, corpus, architecture="modernbert", model=SIZES["modernbert"])
    assert math.isfinite(result.loss)
    assert result.bits_per_byte is None
    assert len(rationals(AutoModelForMaskedLM.from_pretrained(tmp_path))) == 2
    assert "masked language modelling" in (tmp_path / "README.md").read_text()


def test_models_are_described_by_what_makes_them() -> None:
    own = {"deepnorm": True, "num_hidden_layers": 2, "hidden_size": 64}
    assert describe_model(own) == "a BERT encoder with DeepNorm of 2 layers, hidden size 64"
    other = {"objective": "clm", "architecture": "llama", "model": {"hidden_size": 64}}
    assert describe_model(other) == "a llama decoder (hidden_size 64)"
    assert describe_model({"objective": "mlm", "architecture": "electra"}) == "an electra encoder"
