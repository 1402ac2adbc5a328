"""What a calibration keeps of the inputs that it sees, and how much of a text it reads."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

import raft
from raft.data.text.tokens import train_tokenizer
from tests.hf.architectures import TINY

WORDS = "anna sees a friend in the old garden today"


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """Which allows longer texts than the models here have positions for."""
    return train_tokenizer([WORDS] * 50, 100, max_length=1000)


def inputs_seen(model: Any, texts: list[str], tokenizer: PreTrainedTokenizerFast) -> int:
    """Tokens that the first layer's activation saw."""
    raft.convert(model, {"sites": ["ffn"]}, calibration=texts, tokenizer=tokenizer)
    actual: int = model.conversion_report[0].inputs
    return actual // int(TINY["intermediate_size"])


def test_a_text_is_cut_where_the_positions_end(tokenizer: PreTrainedTokenizerFast) -> None:
    text = [" ".join([WORDS] * 20)]
    assert len(tokenizer(text[0]).input_ids) > TINY["max_position_embeddings"]
    bert = BertModel(BertConfig(**{**TINY, "vocab_size": 100}))
    assert inputs_seen(bert, text, tokenizer) == TINY["max_position_embeddings"]
    # whose first position is behind that of the padding
    roberta = RobertaModel(RobertaConfig(**{**TINY, "vocab_size": 100, "pad_token_id": 0}))
    assert inputs_seen(roberta, text, tokenizer) == TINY["max_position_embeddings"] - 1


@pytest.mark.parametrize("is_padding", [True, False])
def test_texts_of_other_lengths_need_no_padding(is_padding: bool, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["anna", WORDS, "a friend"]
    tokens = sum(len(tokenizer(text).input_ids) for text in texts)
    if not is_padding:
        tokenizer.pad_token = None
    model = BertModel(BertConfig(**{**TINY, "vocab_size": 100}))
    assert inputs_seen(model, texts, tokenizer) == tokens
