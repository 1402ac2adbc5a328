"""Fixed activations by name: in models of transformers, saved and loaded, and under a conversion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import leaky_relu, relu
from transformers import AutoModel, BertConfig, BertModel
from transformers.activations import ACT2FN

import raft
from raft.coefficients.functions import FUNCTIONS
from raft.hf import install, uninstall
from raft.hf.fixed_activations import LEARNED, check_fixed_activation
from raft.models import RaftBertConfig
from raft.networks.build import activation_name

TINY: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
SQUARED = {"relu2": lambda x: relu(x) ** 2, "leaky_relu2": lambda x: leaky_relu(x, 0.5) ** 2}


@pytest.fixture
def installed_again() -> Iterator[None]:
    yield
    install()


@pytest.mark.parametrize("name", sorted({*FUNCTIONS, *ACT2FN} - {*LEARNED}))
def test_every_name_makes_a_model(name: str) -> None:
    check_fixed_activation(name)
    model = AutoModel.from_config(RaftBertConfig(**TINY, hidden_act=name, raf=None)).eval()
    layer = model.encoder.layer[0].intermediate
    assert type(layer.intermediate_act_fn) is type(ACT2FN[name])
    x = torch.linspace(-9, 9, 101, dtype=torch.float64)
    if name in FUNCTIONS:
        expected = torch.from_numpy(FUNCTIONS[name](x.numpy()))
        torch.testing.assert_close(layer.intermediate_act_fn(x), expected, rtol=1e-6, atol=1e-6)


def test_learned_names_are_those_with_parameters() -> None:
    with_parameters = {name for name in ACT2FN if next(ACT2FN[name].parameters(), None) is not None}
    assert with_parameters == set(LEARNED)
    for name in LEARNED:
        with pytest.raises(ValueError, match=f"{name} has parameters"):
            check_fixed_activation(name)
    with pytest.raises(ValueError, match=r"unknown activation 'relu22'; .*quick_gelu.*'relu2'"):
        check_fixed_activation("relu22")


@pytest.mark.parametrize("name", SQUARED)
def test_a_saved_model_is_loaded_with_the_same_function(name: str, tmp_path: Path) -> None:
    model = AutoModel.from_config(RaftBertConfig(**TINY, hidden_act=name, raf=None)).eval()
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    act = again.encoder.layer[1].intermediate.intermediate_act_fn
    x = torch.linspace(-9, 9, 101)
    torch.testing.assert_close(act(x), SQUARED[name](x))
    words = torch.arange(12).reshape(2, 6)
    assert torch.equal(again(words)[0], model(words)[0])


@pytest.mark.parametrize("name", SQUARED)
def test_a_converted_model_starts_from_its_function(name: str, tmp_path: Path) -> None:
    model = BertModel(BertConfig(**TINY, hidden_act=name)).eval()
    words = torch.arange(96).reshape(8, 12)
    before = model(words)[0]
    (first, second, _) = raft.hf.find_sites(model)
    assert [activation_name(site.activation) for site in (first, second)] == [name, name]
    model = raft.convert(
        model, raft.RafConfig(sites=["ffn"], degrees=(6, 4)), calibration=[{"input_ids": words}]
    )
    torch.testing.assert_close(model(words)[0], before, rtol=0, atol=0.02)
    assert raft.hf.rationals(model)[first.name].degrees == (6, 4)
    model.save_pretrained(tmp_path)
    assert torch.equal(BertModel.from_pretrained(tmp_path).eval()(words)[0], model(words)[0])


@pytest.mark.parametrize("name", SQUARED)
def test_a_new_model_starts_from_the_stored_fit(name: str) -> None:
    block = raft.RafConfig(init=name, degrees=(6, 4))
    model = BertModel(BertConfig(**TINY | {"raf": block}))
    stored = raft.named_fit(name, (6, 4))
    assert {act.start for act in raft.hf.rationals(model).values()} == {stored}
    act = raft.ResidualRational(ACT2FN[name], stored)
    x = torch.randn(40)
    assert torch.equal(raft.Rational.from_json(act.to_json())(x), SQUARED[name](x))


@pytest.mark.usefixtures("installed_again")
def test_names_are_taken_back() -> None:
    own = [name for name in ACT2FN if not type(ACT2FN[name]).__module__.startswith(("torch", "raft"))]
    uninstall()
    assert "leaky_relu2" not in ACT2FN
    assert "relu2" in ACT2FN
    assert set(own) <= set(ACT2FN)
    with pytest.raises(KeyError):
        BertModel(BertConfig(**TINY, hidden_act="leaky_relu2"))
    install()
    install()
    assert "leaky_relu2" in ACT2FN
