"""Vocabulary, packing and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from raft.data.masking import IGNORED, MaskedSequences, unigram_loss
from raft.data.tokens import pack, train_tokenizer
from raft.errors import InputError

TEXTS = [f"The Quick brown fox number {i} jumps over the lazy dogs of street {i * 7}." for i in range(120)]
TOKENIZER = train_tokenizer(TEXTS, 150, max_length=16)
SEQUENCES = pack(TEXTS, TOKENIZER, 16)


def test_tokenizer_is_lower_cased_and_loads_with_auto_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    encoded = again("THE fox", "the dogs")
    assert encoded.input_ids == TOKENIZER("the fox", "the dogs").input_ids
    tokens = again.convert_ids_to_tokens(encoded.input_ids)
    assert tokens[0] == "[CLS]"
    assert tokens.count("[SEP]") == 2
    assert max(encoded.token_type_ids) == 1
    assert len(again) <= 150


def test_packing_loses_nothing_but_the_rest() -> None:
    stream = [
        i
        for text in TEXTS
        for i in (*TOKENIZER(text, add_special_tokens=False).input_ids, TOKENIZER.sep_token_id)
    ]
    assert (SEQUENCES[:, 0] == TOKENIZER.cls_token_id).all()
    assert (SEQUENCES[:, -1] == TOKENIZER.sep_token_id).all()
    packed = SEQUENCES[:, 1:-1].ravel().tolist()
    assert packed == stream[: len(packed)]
    assert len(stream) - len(packed) < 14
    assert np.array_equal(pack(TEXTS, TOKENIZER, 16, most=5), SEQUENCES[:5])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2000))
def test_a_draw_is_a_function_of_seed_and_number(seed: int, number: int) -> None:
    one, other = (MaskedSequences(SEQUENCES, TOKENIZER, seed, draws=2001) for _ in range(2))
    other[0], torch.rand(3)  # whatever was drawn before must not matter
    assert all(torch.equal(one[number][key], other[number][key]) for key in one[number])


def test_every_epoch_holds_every_sequence_once_with_new_masks() -> None:
    n = len(SEQUENCES)
    draws = MaskedSequences(SEQUENCES, TOKENIZER, 1, draws=2 * n)

    def originals(items: list[dict[str, torch.Tensor]]) -> list[list[int]]:
        return sorted(
            torch.where(i["labels"] != IGNORED, i["labels"], i["input_ids"]).tolist() for i in items
        )

    epochs = [[draws[i] for i in range(k * n, (k + 1) * n)] for k in (0, 1)]
    assert originals(epochs[0]) == originals(epochs[1]) == sorted(SEQUENCES.tolist())
    assert not torch.equal(epochs[0][0]["labels"], epochs[1][0]["labels"])


def test_shares_are_those_of_bert() -> None:
    sequences = np.tile(SEQUENCES, (40, 1))
    data = MaskedSequences(sequences, TOKENIZER, 3)
    items = [data[i] for i in range(len(data))]
    inputs, labels = (torch.stack([item[key] for item in items]) for key in ("input_ids", "labels"))
    original = torch.from_numpy(sequences.astype(np.int64))
    special = torch.isin(original, torch.tensor(TOKENIZER.all_special_ids))
    chosen = labels != IGNORED
    assert not (chosen & special).any()
    assert torch.equal(inputs[~chosen], original[~chosen])
    assert chosen.sum() / (~special).sum() == pytest.approx(0.15, abs=0.01)
    masked = (inputs == TOKENIZER.mask_token_id)[chosen].float().mean()
    kept = (inputs == original)[chosen].float().mean()
    assert masked == pytest.approx(0.8, abs=0.02)
    assert kept == pytest.approx(0.1 + 0.1 / len(TOKENIZER), abs=0.02)


def test_unigram_loss_by_hand() -> None:
    tokenizer: PreTrainedTokenizerFast = TOKENIZER
    a, b = 20, 21
    train = np.array([[2, a, a, a, b, 3]], dtype=np.int32)
    held_out = MaskedSequences(
        np.array([[2, a, b, a, b, 3]] * 50, dtype=np.int32), tokenizer, 0, probability=1.0
    )
    ordinary = len(tokenizer) - len(tokenizer.all_special_ids)
    expected = -(np.log(4 / (ordinary + 4)) + np.log(2 / (ordinary + 4))) / 2
    assert unigram_loss(train, held_out) == pytest.approx(expected, rel=1e-9)


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="at least 100 tokens, not 7"):
        train_tokenizer(TEXTS, 7)
