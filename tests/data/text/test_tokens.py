"""A tokenizer that does not fit a model is refused before anything is trained."""

from __future__ import annotations

import pytest
from transformers import BertConfig

from raft.data.text.tokens import check_vocabulary, train_tokenizer
from raft.errors import InputError

TOKENIZER = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 3, 120)


def config(**values: int) -> BertConfig:
    return BertConfig(**{"vocab_size": len(TOKENIZER), "pad_token_id": TOKENIZER.pad_token_id, **values})


def test_a_model_with_an_embedding_for_each_token_fits() -> None:
    check_vocabulary(TOKENIZER, config())
    check_vocabulary(TOKENIZER, config(vocab_size=len(TOKENIZER) + 8))  # padded, as for tensor cores


def test_tokens_without_an_embedding_are_refused() -> None:
    with pytest.raises(InputError, match=rf"has {len(TOKENIZER)} tokens, but the model's vocab_size is 40"):
        check_vocabulary(TOKENIZER, config(vocab_size=40))
    # a token that was added stands beyond the vocabulary
    larger = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 3, 120)
    larger.add_tokens(["[NEW]"])
    with pytest.raises(InputError, match="take the tokenizer that belongs to the model"):
        check_vocabulary(larger, config())


def test_another_padding_token_is_refused() -> None:
    other = TOKENIZER.pad_token_id + 1
    with pytest.raises(InputError, match=f"pads with token .*, but the model's pad_token_id is {other}"):
        check_vocabulary(TOKENIZER, config(pad_token_id=other))
