"""Learned functions in a file come back as they were, wherever they are started from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM

import raft
from raft.analysis.learned import learned_functions
from raft.errors import InputError
from raft.functions import FUNCTIONS, library, load_functions, make, save_functions
from raft.learned_activation import LearnedActivation, learned_activations
from tests.stored_scripts import ROOT, needs_results

SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "vocab_size": 50, "max_position_embeddings": 20,
}  # fmt: skip
X = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))


def moved(act: LearnedActivation) -> LearnedActivation:
    """A function whose numbers are its own."""
    generator = torch.Generator().manual_seed(len(act.name))
    with torch.no_grad():
        for values in act.parameters():
            values.add_(0.05 * torch.rand(values.shape, generator=generator))
    return act


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_file_gives_the_same_function(name: str, tmp_path: Path) -> None:
    act = moved(make(name))
    save_functions(tmp_path / "f.json", {"ffn": act}, {"seeds": [1, 2]})
    again = load_functions(tmp_path / "f.json")["ffn"]
    assert type(again) is type(act)
    assert torch.equal(again(X), act(X))
    assert json.loads((tmp_path / "f.json").read_text())["origin"] == {"seeds": [1, 2]}


def test_scaled_coefficients_are_written_as_the_function_has_them(tmp_path: Path) -> None:
    act = raft.Rational("gelu", degrees=(3, 2))
    act.scale_to(3 * X)
    moved(act)
    save_functions(tmp_path / "f.json", {"ffn": act})
    again = load_functions(tmp_path / "f.json")["ffn"]
    torch.testing.assert_close(again(X), act(X))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    starts = {"ffn": "silu", "attention_input": "identity"}
    acts = {kind: moved(raft.Rational(start, (3, 2), "B")) for kind, start in starts.items()}
    save_functions(tmp_path / "found.json", acts)
    return tmp_path / "found.json"


def test_a_model_starts_from_them_and_is_loaded_without_the_file(file: Path, tmp_path: Path) -> None:
    found = load_functions(file)
    block = {"init": str(file), "sites": ["ffn", "attention_input", "mlm_head"], "shared": "kind"}
    model = BertForMaskedLM(BertConfig(**{**SIZES, "raf": block}))
    acts = learned_activations(model)
    assert len(acts) == 3
    head = acts.pop("cls.predictions.transform.transform_act_fn")
    assert head.start.max_error > 0  # a fit of what was there: the file has no function for heads
    for name, act in acts.items():
        kind = "attention_input" if "attention" in name else "ffn"
        assert act.settings()["degrees"] == [3, 2]
        assert torch.equal(act(X), found[kind](X))
    model.save_pretrained(tmp_path / "model")
    file.unlink()
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    ids = torch.arange(10)[None]
    assert torch.equal(again.eval()(input_ids=ids).logits, model.eval()(input_ids=ids).logits)
    began = {function.site: function.began_as for function in learned_functions(again)}
    assert list(began.values()).count("the found function") == 2


def test_they_are_as_found_whatever_the_inputs_of_a_conversion(file: Path) -> None:
    model = BertForMaskedLM(BertConfig(**SIZES))
    texts = [{"input_ids": torch.arange(10)[None]}]
    raft.convert(model, raft.RafConfig(init=str(file)), calibration=texts)
    acts = learned_activations(model)
    assert len(acts) == 2
    expected = load_functions(file)["ffn"](X)
    for act in acts.values():
        torch.testing.assert_close(act(X), expected)


def test_groups_start_alike(file: Path) -> None:
    model = BertForMaskedLM(BertConfig(**{**SIZES, "raf": {"init": str(file), "groups": 4}}))
    for act in learned_activations(model).values():
        assert act.groups == 4
        torch.testing.assert_close(act(X), load_functions(file)["ffn"](X))


def test_any_network_takes_the_only_function(tmp_path: Path, file: Path) -> None:
    network = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    with pytest.raises(ValueError, match="functions for ffn, attention_input: give one of them alone"):
        raft.convert(network, raft.RafConfig(init=str(file)))
    act = moved(make("spline", knots=9))
    save_functions(tmp_path / "one.json", {"ffn": act})
    raft.convert(network, raft.RafConfig(init=str(tmp_path / "one.json")))
    assert torch.equal(network[1](X), act(X))


def spoil(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return write


def edit_functions(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return spoil(lambda content: [change(one) for one in content["functions"].values()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.unlink(), "cannot read .*found.json"),
        (lambda file: file.write_text("{"), "holds no file of learned functions"),
        (spoil(lambda content: content["functions"].clear()), "it has no functions"),
        (spoil(lambda content: content["functions"]["ffn"].update(function="bspline")), "several kinds"),
        (edit_functions(lambda one: one["parameters"]["numerator"].pop()), "parameters have the sizes"),
        (edit_functions(lambda one: one["parameters"].pop("numerator")), "parameters have the sizes"),
        (edit_functions(lambda one: one["parameters"].update(numerator=[1e999] * 4)), "finite"),
        (edit_functions(lambda one: one["settings"].update(knots=3)), "unexpected keyword"),
        (edit_functions(lambda one: one["settings"].pop("version")), "version"),
        (spoil(lambda c: c["functions"].update(fnn=c["functions"].pop("ffn"))), "a function for 'fnn'"),
    ],
)
def test_what_is_no_such_file_is_refused(change: Callable[[Path], None], message: str, file: Path) -> None:
    change(file)
    with pytest.raises((InputError, ValueError), match=message):
        raft.RafConfig(init=str(file))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degrees": (7, 6)}, r"raf.degrees is \(7, 6\), and raf.init has functions with \(3, 2\)"),
        ({"function": "spline"}, "raf.function is 'spline'"),
        ({"residual": True}, "leave raf.init out"),
    ],
)
def test_what_contradicts_a_file_is_refused(values: dict[str, Any], message: str, file: Path) -> None:
    with pytest.raises(ValueError, match=message):
        raft.RafConfig(init=str(file), **values)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (raft.Rational(groups=2), "has 2 groups"),
        (raft.ResidualRational(nn.GELU(), raft.named_fit("gelu")), "residual"),
    ],
)
def test_what_cannot_be_started_from_is_not_written(
    act: LearnedActivation, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        save_functions(tmp_path / "f.json", {"ffn": act})


@pytest.mark.parametrize("name", library())
def test_functions_of_the_library_have_their_evidence_and_work_wherever_files_do(name: str) -> None:
    assert set(library()[name]) == {"found by", "evidence", "command"}
    for kind, act in load_functions(name).items():
        block: Any = {"raf": {"init": name, "sites": [kind], "trainable": False}}
        model = BertForMaskedLM(BertConfig(**SIZES, **block))
        for learned in learned_activations(model).values():
            torch.testing.assert_close(learned(X), act(X))
            assert not any(parameter.requires_grad for parameter in learned.parameters())


@needs_results
def test_the_wave_is_what_modular_addition_found() -> None:
    x = torch.linspace(-3, 3, 200)
    file = ROOT / "results" / "modular-addition" / "found.json"
    torch.testing.assert_close(load_functions("wave")["ffn"](x), load_functions(file)["ffn"](x))


def test_a_file_beside_is_not_taken_for_one_of_the_library(tmp_path: Path) -> None:
    for name, start in (("f.json", "gelu"), ("f.json.json", "silu")):
        save_functions(tmp_path / name, {"ffn": raft.Rational(start)})
    assert torch.equal(load_functions(tmp_path / "f.json")["ffn"](X), raft.Rational("gelu")(X))
    with pytest.raises(ValueError, match="unknown activation"):
        raft.RafConfig(init=str(tmp_path / "f"))
