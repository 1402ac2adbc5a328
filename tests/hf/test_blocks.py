"""Parts of models: converted, saved and loaded by themselves or with the whole."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, BertForMaskedLM

import raft
from raft.networks.config import RafConfig
from tests.hf.architectures import ARCHITECTURES, TINY, scrambled, texts


def test_a_part_that_was_converted_is_saved_with_the_whole(tmp_path: Path) -> None:
    model: Any = scrambled(BertForMaskedLM(BertConfig(**TINY)))
    raft.convert(model.bert)
    model.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert list(raft.hf.rationals(again)) == list(raft.hf.rationals(model))
    assert torch.equal(again(**texts()).logits, model.eval()(**texts()).logits)


def test_a_tower_that_was_converted_is_saved_with_the_whole(tmp_path: Path) -> None:
    clip: Any = scrambled(ARCHITECTURES["clip"].build())
    raft.convert(clip.text_model)
    clip.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert {name.split(".")[0] for name in raft.hf.rationals(again)} == {"text_model"}
    inputs = ARCHITECTURES["clip"].inputs()
    assert torch.equal(again(**inputs).logits_per_text, clip.eval()(**inputs).logits_per_text)


def test_a_tower_can_be_saved_and_loaded_alone(tmp_path: Path) -> None:
    clip: Any = scrambled(raft.convert(ARCHITECTURES["clip"].build())).eval()
    clip.save_pretrained(tmp_path / "clip")
    clip.text_model.save_pretrained(tmp_path / "tower")
    expected = clip.text_model(**texts()).pooler_output
    for folder in ("clip", "tower"):
        tower = transformers.CLIPTextModel.from_pretrained(tmp_path / folder)
        assert len(raft.hf.rationals(tower)) == 2
        assert torch.equal(tower(**texts()).pooler_output, expected)
    config = transformers.CLIPTextConfig.from_pretrained(tmp_path / "clip")
    assert config.hidden_act == "quick_gelu"
    raft.revert(clip).save_pretrained(tmp_path / "reverted")
    assert "raf" not in (tmp_path / "reverted" / "config.json").read_text()


def test_what_no_configuration_can_tell_is_not_saved(tmp_path: Path) -> None:
    t5: Any = ARCHITECTURES["t5"].build()
    raft.convert(t5.encoder)
    place = "decoder.block.0.layer.2.DenseReluDense.act"
    with pytest.raises(ValueError, match=f"cannot be saved: .* {place} has a RAF, but it has none"):
        t5.save_pretrained(tmp_path / "half")
    whole: Any = raft.convert(BertForMaskedLM(BertConfig(**TINY)))
    raft.revert(whole.bert)
    with pytest.raises(ValueError, match="act_fn has a RAF, but it has none; convert or revert the whole"):
        whole.save_pretrained(tmp_path / "reverted")
    assert not any(tmp_path.iterdir())
    raft.convert(BertForMaskedLM(BertConfig(**TINY))).save_pretrained(tmp_path / "whole")


def test_frozen_rafs_are_loaded_frozen(tmp_path: Path) -> None:
    model = raft.convert(BertForMaskedLM(BertConfig(**TINY)), {"trainable": False})
    for folder, is_trainable in (("frozen", False), ("free", True), ("again", False)):
        model.save_pretrained(tmp_path / folder)
        model = AutoModelForMaskedLM.from_pretrained(tmp_path / folder)
        actual = {p.requires_grad for act in raft.hf.rationals(model).values() for p in act.parameters()}
        assert actual == {is_trainable}
        (raft.freeze if is_trainable else raft.unfreeze)(model)
    assert raft.convert(model, {"trainable": False}) is model  # as it is, whether frozen since or not


def test_freezing_one_of_two_models_with_one_configuration(tmp_path: Path) -> None:
    config = BertConfig(**{**TINY, "raf": {}})
    one, other = BertForMaskedLM(config), BertForMaskedLM(config)
    raft.freeze(one)
    assert one.config.raf["trainable"] is one.bert.config.raf["trainable"] is False
    assert one.config is one.bert.config
    other.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert all(p.requires_grad for act in raft.hf.rationals(again).values() for p in act.parameters())


@pytest.mark.parametrize("raf", [{"degrees": [3, 2]}, RafConfig(degrees=(3, 2))])
def test_the_block_can_be_an_argument_of_loading(raf: Any, tmp_path: Path) -> None:
    BertForMaskedLM(BertConfig(**TINY)).save_pretrained(tmp_path / "faft")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "faft", raf=raf)
    assert {act.degrees for act in raft.hf.rationals(model).values()} == {(3, 2)}
    model.save_pretrained(tmp_path / "raft")
    assert len(raft.hf.rationals(AutoModelForMaskedLM.from_pretrained(tmp_path / "raft"))) == 2


def test_a_configuration_object_is_saved_as_what_it_holds(tmp_path: Path) -> None:
    config = BertConfig(**TINY)
    config.raf = RafConfig(layers=range(1), shared={"one": np.arange(2)})  # type: ignore[dict-item]
    config.save_pretrained(tmp_path)
    again = RafConfig.of(BertConfig.from_pretrained(tmp_path))
    assert again is not None
    assert again.layers == (0,)
    assert again.shared == {"one": (0, 1)}


def test_layers_that_the_model_lacks_are_refused() -> None:
    model = BertForMaskedLM(BertConfig(**TINY))
    for raf in ({"layers": "0-2"}, {"shared": {"upper": [1, 2]}}):
        with pytest.raises(ValueError, match=r"has no layer 2: bert.encoder.layer has 2, counted from 0"):
            raft.convert(model, raf)
    assert raft.hf.rationals(model) == {}


def test_a_raf_that_no_configuration_tells_of_is_not_saved(tmp_path: Path) -> None:
    model: Any = BertForMaskedLM(BertConfig(**TINY))
    model.bert.encoder.layer[1].intermediate.intermediate_act_fn = raft.Rational()
    place = "bert.encoder.layer.1.intermediate.intermediate_act_fn"
    with pytest.raises(ValueError, match=f"says that {place} has none, but it has one"):
        model.save_pretrained(tmp_path)


def test_reading_a_configuration_changes_no_dictionary(tmp_path: Path) -> None:
    raft.convert(BertForMaskedLM(BertConfig(**TINY))).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    before = copy.deepcopy(saved)
    assert BertConfig.from_dict(saved).hidden_act == "gelu"
    assert saved == before
