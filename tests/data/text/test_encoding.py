"""Texts become one stream of tokens, whatever a saved tokenizer truncates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft.data.text import encoding
from raft.data.text.encoding import encode
from raft.data.text.tokens import encoder, train_tokenizer

TEXTS = [f"The quick brown fox number {i} jumps over the lazy dogs of street {i * 7}." for i in range(240)]
TOKENIZER = train_tokenizer(TEXTS, 150, max_length=16)
FAST = encoder(TOKENIZER)
END = TOKENIZER.sep_token_id


def expected(texts: list[str]) -> list[int]:
    return [i for text in texts for i in (*TOKENIZER(text, add_special_tokens=False).input_ids, END)]


@pytest.mark.parametrize("dtype", ["<u2", "<i4"])
def test_each_text_ends_with_the_end_token(dtype: str) -> None:
    actual = encode(FAST, TEXTS, END, dtype)
    assert actual.dtype == np.dtype(dtype)
    assert actual.tolist() == expected(TEXTS)
    assert encode(FAST, [], END, dtype).tolist() == []
    assert encode(FAST, ["", " "], END, dtype).tolist() == [END, END]


def test_texts_longer_than_the_tokenizer_allows_are_not_cut() -> None:
    """TOKENIZER has a model_max_length of 16, and saved tokenizers often truncate."""
    saved = train_tokenizer(TEXTS, 150)
    saved.backend_tokenizer.enable_truncation(16)
    saved.backend_tokenizer.enable_padding(length=16)
    text = " ".join(TEXTS)
    assert encode(encoder(saved), [text], END, "<u2").tolist() == expected([text])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=80), max_size=6),
    st.integers(1, 30),
)
def test_pieces_of_a_long_text_are_the_text(texts: list[str], piece: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoding, "PIECE", piece)
        for text in texts:
            pieces = list(encoding._pieces(text))
            assert "".join(pieces) == text
            assert all(0 < len(part) <= piece for part in pieces) or text == ""


def test_a_long_text_is_cut_at_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "PIECE", 100)
    text = " ".join(TEXTS)
    assert encode(FAST, [text, TEXTS[0]], END, "<u2").tolist() == expected([text, TEXTS[0]])


def test_no_more_than_a_batch_is_tokenized_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Watched:
        def encode_batch_fast(self, pieces: list[str], add_special_tokens: bool) -> Any:
            sizes.append(sum(map(len, pieces)))
            return FAST.encode_batch_fast(pieces, add_special_tokens=add_special_tokens)

    monkeypatch.setattr(encoding, "PIECE", 50)
    monkeypatch.setattr(encoding, "BATCH", 40)
    monkeypatch.setattr(encoding, "usable_cores", lambda: 3)
    watched: Any = Watched()
    texts = [" ".join(TEXTS), *TEXTS, ""]
    assert encode(watched, texts, END, "<u2").tolist() == expected(texts)
    assert len(sizes) > 2
    assert max(sizes) <= 120
