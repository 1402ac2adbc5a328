"""How many tokens a model takes, beside what happens when it gets them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

import raft
from raft.data.text.tokens import train_tokenizer
from raft.hf import rationals
from raft.hf.positions import max_positions

SIZE: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32,
}  # fmt: skip
BEHIND_PADDING = [
    "roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "esm", "ibert", "data2vec-text", "xmod",
    "luke",
]  # fmt: skip
FROM_ZERO = ["bert", "electra", "distilbert", "albert", "deberta-v2", "nystromformer", "gpt2", "opt"]


def model(kind: str, **values: Any) -> Any:
    config = AutoConfig.for_model(kind, **SIZE, max_position_embeddings=34, **values)
    for name, value in {"default_language": "en", "attention_window": [8]}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    if kind == "esm":
        config.pad_token_id = 1
    return AutoModel.from_config(config).eval()


def takes(actual: Any, tokens: int) -> bool:
    inputs = torch.full((1, tokens), 5)
    try:
        actual(input_ids=inputs, attention_mask=torch.ones_like(inputs))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("kind", [*BEHIND_PADDING, *FROM_ZERO])
def test_the_longest_input_is_known(kind: str) -> None:
    actual = model(kind, **({"languages": ["en"]} if kind == "xmod" else {}))
    longest = max_positions(actual)
    assert longest == (32 if kind in BEHIND_PADDING else 34)
    assert takes(actual, longest)
    assert not takes(actual, longest + 1)


def test_a_model_on_the_meta_device_says_the_same() -> None:
    with torch.device("meta"):
        assert max_positions(model("roberta")) == 32


def test_relative_positions_have_no_limit() -> None:
    config = AutoConfig.for_model("t5", vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    assert max_positions(AutoModel.from_config(config)) is None


@pytest.mark.parametrize("kind", BEHIND_PADDING[:3])
def test_calibration_texts_are_cut_to_it(kind: str) -> None:
    tokenizer = train_tokenizer(["one two three four five six seven"] * 9, 100, int(1e30))
    actual = model(kind, pad_token_id=0)
    actual.resize_token_embeddings(len(tokenizer))
    assert rationals(raft.convert(actual, calibration=["one two three " * 50], tokenizer=tokenizer))
