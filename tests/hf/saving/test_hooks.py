"""The patches of ``transformers`` come off without a trace, and on again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedConfig, PreTrainedModel

import raft
from raft.hf import install, uninstall
from raft.hf.saving.saved_config import NEEDS_RAFT

METHODS = {
    PreTrainedModel: ("post_init", "_initialize_weights", "from_pretrained", "save_pretrained"),
    PreTrainedConfig: ("to_dict", "to_json_file", "from_dict"),
}
TINY: dict[str, Any] = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(autouse=True)
def installed_again() -> Iterator[None]:
    yield
    install()


def functions() -> list[Any]:
    methods = [getattr(kind, name) for kind, names in METHODS.items() for name in names]
    return [getattr(method, "__func__", method) for method in methods]


def test_the_very_methods_of_transformers_are_restored() -> None:
    originals = [function.__wrapped__ for function in functions()]
    uninstall()
    assert all(now is original for now, original in zip(functions(), originals, strict=True))
    assert all("/transformers/" in function.__code__.co_filename for function in functions())
    plain = [dict(vars(kind)) for kind in METHODS]
    uninstall()  # once more changes nothing
    install()
    install()
    uninstall()
    assert [dict(vars(kind)) for kind in METHODS] == plain
    assert not any("raf" in name.replace("draft", "") for names in plain for name in names)


def test_a_plain_bert_is_built_and_loaded_as_without_raft(tmp_path: Path) -> None:
    raft.convert(BertModel(BertConfig(**TINY))).save_pretrained(tmp_path / "raft")
    uninstall()
    assert not hasattr(BertConfig(**TINY), "raf")
    model = BertModel(BertConfig(**TINY | {"raf": {}}))  # a key that transformers knows nothing of
    assert raft.hf.rationals(model) == {}
    model.save_pretrained(tmp_path / "bert")
    again = BertModel.from_pretrained(tmp_path / "bert").state_dict()
    assert all(torch.equal(value, again.pop(name)) for name, value in model.state_dict().items())
    assert not again
    with pytest.raises(KeyError, match=re.escape(NEEDS_RAFT)):
        BertModel.from_pretrained(tmp_path / "raft")
    install()
    assert len(raft.hf.rationals(BertModel.from_pretrained(tmp_path / "raft"))) == 3


def test_patches_of_others_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = PreTrainedModel.post_init
    monkeypatch.setattr(PreTrainedModel, "post_init", lambda self: ours(self))
    with pytest.raises(RuntimeError, match=r"PreTrainedModel\.post_init was patched by other code"):
        uninstall()
    assert len(raft.hf.rationals(BertModel(BertConfig(**TINY | {"raf": {}})))) == 3
    monkeypatch.undo()
    uninstall()
    assert raft.hf.rationals(BertModel(BertConfig(**TINY | {"raf": {}}))) == {}
