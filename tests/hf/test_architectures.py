"""Every architecture: convert, compare, train a step, save, load in a new process, compare again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

import raft
from raft.hf.sites.adapters import install_adapters
from raft.models import RaftBertConfig, RaftBertForMaskedLM
from raft.networks.config import INPUT_SITES, LAYER_SITES, SITES
from tests.hf.architectures import ARCHITECTURES, TINY, Architecture, scrambled

EVERY = sorted(ARCHITECTURES)


def output(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """The first floating tensor that the model gives."""
    actual = model(**inputs)
    tensors = [
        value for value in actual.to_tuple() if isinstance(value, Tensor) and value.is_floating_point()
    ]
    return tensors[0]


def train_a_step(model: PreTrainedModel, inputs: dict[str, Any]) -> None:
    model.train()
    optimizer = torch.optim.AdamW(raft.param_groups(model, lr=1e-3))
    output(model, inputs).square().mean().backward()
    optimizer.step()
    model.eval()


@pytest.mark.parametrize("name", EVERY)
def test_every_site_is_found(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model = architecture.build()
    install_adapters(model, SITES)
    kinds = Counter(site.kind for site in raft.hf.find_sites(model))
    assert kinds == Counter(architecture.counts())
    for kind in LAYER_SITES:
        layers = [site.layer for site in raft.hf.find_sites(model) if site.kind == kind]
        assert set(layers) == ({0, 1} if architecture.ffn > 1 else {0})


@pytest.mark.parametrize("name", EVERY)
def test_making_an_activation_a_module_changes_nothing(name: str) -> None:
    model, inputs = ARCHITECTURES[name].build(), ARCHITECTURES[name].inputs()
    with torch.no_grad():
        before = output(model, inputs)
        install_adapters(model, SITES)
        assert torch.equal(output(model, inputs), before)


@pytest.mark.parametrize("name", ["roberta", "distilbert", "deberta-v2"])
def test_a_whole_model_with_adapters_can_be_pickled_and_reverted(name: str, tmp_path: Path) -> None:
    model, inputs = ARCHITECTURES[name].build(), ARCHITECTURES[name].inputs()
    classes = [type(module) for module in model.modules()]
    kinds = Counter(site.kind for site in raft.hf.find_sites(model))
    with pytest.raises(ValueError, match=r"has no .* activation that can be replaced"):
        raft.convert(model, {"sites": SITES, "layers": [7]})
    assert [type(module) for module in model.modules()] == classes  # a refusal leaves it alone
    install_adapters(model, SITES)
    more = set(Counter(site.kind for site in raft.hf.find_sites(model)) - kinds)
    raft.convert(model, {"sites": sorted(more)})
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    with torch.no_grad():
        assert torch.equal(output(again, inputs), output(model, inputs))
    raft.revert(again)
    assert [type(module) for module in again.modules()] == classes


def converted(architecture: Architecture, inputs: dict[str, Any]) -> PreTrainedModel:
    """Checked on the way: near what it was, all other weights kept, and a step of training moves the RAFs."""
    model = scrambled(architecture.build(), 0.2)
    with torch.no_grad():
        before = output(model, inputs)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    assert raft.convert(model, calibration=[inputs]) is model
    report: Any = model.conversion_report
    assert len(report) == architecture.ffn + architecture.pooler
    worst = max(each.max_error for each in report)
    assert 1e-5 < worst < 0.1  # a kink such as ReLU's is the hardest
    with torch.no_grad():
        after = output(model, inputs)
    assert (after - before).abs().max() < 3 * worst * before.abs().max().clamp(min=1)
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in weights.items())

    acts = raft.hf.rationals(model)
    starts = [act.numerator.detach().clone() for act in acts.values()]
    train_a_step(model, inputs)
    moved = [not torch.equal(a.numerator, s) for a, s in zip(acts.values(), starts, strict=True)]
    assert sum(moved) >= len(moved) - architecture.pooler  # a bare model's output may not need its pooler
    return model


@pytest.mark.parametrize("name", EVERY)
def test_the_inputs_of_layers_begin_as_they_were_learn_and_come_back(name: str, tmp_path: Path) -> None:
    architecture, inputs = ARCHITECTURES[name], ARCHITECTURES[name].inputs()
    model = scrambled(architecture.build(), 0.2)
    original = output(model, inputs).detach()
    raft.convert(model, {"sites": INPUT_SITES}, calibration=[inputs])
    report: Any = model.conversion_report
    assert [row.replaced for row in report] == ["identity"] * len(report)
    assert all(row.max_error == 0 < row.inputs for row in report)
    assert torch.equal(output(model, inputs), original)

    train_a_step(model, inputs)
    for act in raft.hf.rationals(model).values():
        for coefficients in (act.numerator, act.denominator):
            assert isinstance(coefficients.grad, Tensor)
            assert bool((coefficients.grad != 0).all())
    expected = output(model, inputs).detach()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(output(again, inputs), expected)

    raft.revert(again)
    assert not raft.hf.rationals(again)
    assert output(again, inputs).shape == expected.shape
    assert not any("_input" in name.rpartition(".")[2] for name, _ in again.named_modules())


LOAD = """
import json, sys
import torch, transformers
import raft
from tests.hf.architectures import ARCHITECTURES
from tests.hf.test_architectures import output

for name, folder in json.loads(sys.argv[1]).items():
    architecture = ARCHITECTURES[name]
    auto = transformers.CLIPTextModel if name == "clip-text" else getattr(transformers, architecture.auto)
    model = auto.from_pretrained(folder).eval()
    with torch.no_grad():
        torch.save(output(model, architecture.inputs()), folder + "/again.pt")
"""


@pytest.mark.slow
def test_converted_models_train_and_come_back_in_a_new_process(tmp_path: Path) -> None:
    folders, expected = {}, {}
    for name, architecture in ARCHITECTURES.items():
        inputs = architecture.inputs()
        model = converted(architecture, inputs)
        folders[name] = str(tmp_path / name)
        model.save_pretrained(folders[name])
        with torch.no_grad():
            expected[name] = output(model, inputs)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", LOAD, json.dumps(folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, folder in folders.items():
        again = torch.load(f"{folder}/again.pt", weights_only=True)
        assert torch.equal(again, expected[name]), name


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "clip", "deberta-v2"])
def test_a_residual_conversion_is_exact(name: str) -> None:
    architecture, inputs = ARCHITECTURES[name], ARCHITECTURES[name].inputs()
    model = architecture.build()
    with torch.no_grad():
        before = output(model, inputs)
        raft.convert(model, {"residual": True})
        assert (output(model, inputs) - before).abs().max() < 1e-6
    train_a_step(model, inputs)
    for act in raft.hf.rationals(model).values():
        assert isinstance(act, raft.ResidualRational)
    assert any(act.numerator.abs().sum() > 0 for act in raft.hf.rationals(model).values())


@pytest.mark.parametrize("name", ["roberta", "roberta-mlm", "distilbert", "electra", "deberta-v2", "mpnet",
                                  "mpnet-classifier", "modernbert", "distilbert-mlm"])  # fmt: skip
def test_heads_are_converted_where_they_are_asked_for(name: str, tmp_path: Path) -> None:
    architecture, inputs = ARCHITECTURES[name], ARCHITECTURES[name].inputs()
    kinds = tuple(architecture.others)
    model = raft.convert(architecture.build(), raft.RafConfig(sites=kinds))
    acts = raft.hf.rationals(model)
    assert len(acts) == sum(architecture.others.values())
    train_a_step(model, inputs)
    assert all(act.numerator.grad is not None for act in acts.values())
    model.save_pretrained(tmp_path)
    again = getattr(transformers, architecture.auto).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(output(again, inputs), output(model, inputs))


@pytest.mark.parametrize("name", ["bert", "llama", "t5-gated", "roberta", "clip"])
def test_reverted_models_are_what_they_were(name: str) -> None:
    architecture, inputs = ARCHITECTURES[name], ARCHITECTURES[name].inputs()
    model = architecture.build()
    with torch.no_grad():
        before = output(model, inputs)
        raft.revert(raft.convert(model))
        assert torch.equal(output(model, inputs), before)
    assert raft.hf.rationals(model) == {}
    assert getattr(model.config, "raf", None) is None
    assert not hasattr(model, "conversion_report")
    built = raft.revert(architecture.build(raf={}))
    with torch.no_grad():
        assert torch.equal(output(built, inputs), before)


def test_a_reverted_encoder_of_the_paper_stays_so(tmp_path: Path) -> None:
    model = raft.revert(RaftBertForMaskedLM(RaftBertConfig(**TINY)))
    model.save_pretrained(tmp_path)
    assert raft.hf.rationals(RaftBertForMaskedLM.from_pretrained(tmp_path)) == {}


@pytest.mark.parametrize("name", ["mixtral", "switch", "bloom", "qwen3", "vit"])
def test_the_raf_block_builds_rafts_of_any_architecture(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model = architecture.build(raf={"degrees": [3, 2]})
    acts = raft.hf.rationals(model)
    sites = [site for site in raft.hf.find_sites(model) if site.kind == "ffn"]
    assert len(sites) == architecture.ffn
    mixtures = {site.experts for site in sites if site.experts}
    assert len(acts) == len([site for site in sites if not site.experts]) + len(mixtures)
    assert all(act.degrees == (3, 2) for act in acts.values())
    train_a_step(model, architecture.inputs())


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_compiled_models_agree(name: str) -> None:
    pytest.importorskip("torch._inductor")
    architecture, inputs = ARCHITECTURES[name], ARCHITECTURES[name].inputs()
    model = raft.convert(architecture.build(), {"shared": "all"})
    with torch.no_grad():
        eager = output(model, inputs)
        compiled: Any = torch.compile(model, backend="aot_eager")
        torch.testing.assert_close(output(compiled, inputs), eager)


def test_generation_and_checkpointing_work() -> None:
    model: Any = raft.convert(ARCHITECTURES["llama"].build())
    inputs = ARCHITECTURES["llama"].inputs()
    made = model.generate(**inputs, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert made.shape == (3, 16)
    model.train()
    output(model, inputs).square().mean().backward()
    plain = [act.numerator.grad for act in raft.hf.rationals(model).values()]
    model.zero_grad(set_to_none=True)
    model.gradient_checkpointing_enable()
    output(model, {**inputs, "use_cache": False}).square().mean().backward()
    for act, grad in zip(raft.hf.rationals(model).values(), plain, strict=True):
        torch.testing.assert_close(act.numerator.grad, grad)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_a_whole_model_runs_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    architecture = ARCHITECTURES[name]
    model = raft.convert(scrambled(architecture.build(attn_implementation="eager"), 0.2), {"shared": "all"})
    inputs = architecture.inputs()
    file = str(tmp_path / "model.onnx")
    torch.onnx.export(
        model, (), file, kwargs=inputs, dynamo=True, verbose=False, input_names=list(inputs),
        external_data=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    actual = session.run(None, {key: value.numpy() for key, value in inputs.items()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(actual[0]), output(model, inputs), rtol=1e-3, atol=1e-4)
