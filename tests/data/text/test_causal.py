"""Text of causal language models: tokens, labels, documents, and bytes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from raft.data.text.causal import CausalSequences, count_target_bytes, positions_in_documents
from raft.data.text.encoding import encode
from raft.data.text.sequences import IGNORED
from raft.data.text.tokens import (
    CLM,
    Packer,
    encoder,
    end_token_id,
    train_bpe_tokenizer,
    train_tokenizer,
)
from raft.data.text.unigram import UnigramModel
from raft.errors import InputError
from tests.data.text.packing import pack

TEXTS = [f"Größe {i % 7}: the quick “fox” jumps over {i % 3} lazy dogs.\n" for i in range(200)]
TOKENIZER = train_bpe_tokenizer(TEXTS, 300)
END = end_token_id(TOKENIZER)


def test_any_text_comes_back_from_its_tokens() -> None:
    text = "  Übung\tmacht  den Meister … 𝔘 \n"
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text
    assert (TOKENIZER.bos_token, TOKENIZER.eos_token, TOKENIZER.pad_token) == (
        "<|endoftext|>", "<|endoftext|>", "<|pad|>",
    )  # fmt: skip
    assert len(TOKENIZER) == 300


def test_a_vocabulary_is_the_same_in_another_process() -> None:
    program = "import tests.data.text.test_causal as t; print(end=t.TOKENIZER.backend_tokenizer.to_str())"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output == TOKENIZER.backend_tokenizer.to_str()


@pytest.mark.parametrize("size", [100, 258])
def test_a_vocabulary_without_room_for_merges_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"must have at least 259 tokens, not {size}"):
        train_bpe_tokenizer(TEXTS, size)


def test_documents_are_packed_one_after_the_other_with_ends() -> None:
    packed = pack(TEXTS, TOKENIZER, 16, objective=CLM)
    stream = [token for text in TEXTS for token in [*TOKENIZER(text)["input_ids"], END]]
    assert packed.shape == (len(stream) // 16, 16)
    assert packed.ravel().tolist() == stream[: packed.size]
    packer, rows = Packer(TOKENIZER, 16, CLM), []
    for text in TEXTS:
        rows.append(packer.add(encode(encoder(TOKENIZER), [text], END, packer.rest.dtype)))
    assert np.array_equal(np.concatenate(rows), packed)


def test_every_token_but_the_first_is_a_target() -> None:
    data = CausalSequences(pack(TEXTS, TOKENIZER, 16, objective=CLM), TOKENIZER, seed=3, draws=50)
    inputs, labels = data.batch(range(50))
    assert torch.equal(labels[:, 1:], inputs[:, 1:])
    assert (labels[:, 0] == IGNORED).all()
    assert not torch.equal(inputs, torch.from_numpy(data.sequences[:50].astype(np.int64)))
    batch = data.collate([data[i] for i in range(4)])
    assert batch.keys() == {"input_ids", "labels"}
    assert torch.equal(batch["input_ids"], inputs[:4])


def test_positions_begin_anew_after_an_end() -> None:
    ids = torch.tensor([[5, 9, 6, 7, 9, 9, 5, 5], [9, 5, 5, 5, 5, 5, 5, 9]])
    expected = [[0, 1, 0, 1, 2, 0, 0, 1], [0, 0, 1, 2, 3, 4, 5, 6]]
    assert positions_in_documents(ids, 9).tolist() == expected
    data = CausalSequences(ids.numpy(), TOKENIZER, 0, within_documents=True)
    data.end_token_id = 9
    assert data.prepare(*data.batch([0, 1]))["position_ids"].tolist() == expected


def test_bytes_are_those_of_the_text() -> None:
    packed = pack(TEXTS, TOKENIZER, 16, objective=CLM)
    size = count_target_bytes(packed, TOKENIZER)
    of_tokens = [len(TOKENIZER.convert_ids_to_tokens(i)) for i in range(300)]
    exact = sum(of_tokens[token] for token in packed[:, 1:].ravel().tolist() if token != END)
    assert size == exact
    russian = ["съешь ещё этих мягких французских булок, да выпей чаю"] * 40
    # each but the first token is a target, whatever characters the borders of sequences cut
    packed = pack(russian, TOKENIZER, 16, objective=CLM)
    first = sum(of_tokens[token] for token in packed[:, 0].tolist() if token != END)
    text = str(TOKENIZER.decode(packed.ravel().tolist(), skip_special_tokens=True))
    assert count_target_bytes(packed, TOKENIZER) + first == len(text.rstrip("\ufffd").encode())


def test_bytes_of_sentencepiece_are_those_of_the_text() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(
        {"</s>": 0, "▁h": 1, "aus": 2, "▁": 3, "<0xC3>": 4, "<0xBC>": 5, "ß": 6}, [], byte_fallback=True
    )), eos_token="</s>")  # fmt: skip
    # "haus" after a space, "ü" in two bytes, "ß", an end
    assert count_target_bytes(np.array([[6, 1, 2, 3, 4, 5, 6, 0]]), tokenizer) == 5 + 1 + 2 + 2


def test_unigram_loss_counts_ends_too() -> None:
    sequences = np.array([[1, END, 1, 2]] * 8)
    counts = np.ones(300)
    np.add.at(counts, sequences.ravel(), 1)
    expected = -np.log(counts / counts.sum())[[END, 1, 2]].mean()
    validation = CausalSequences(sequences, TOKENIZER, 0)
    assert UnigramModel.fit(sequences, validation).loss(validation) == pytest.approx(expected, rel=1e-9)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    wordpiece: PreTrainedTokenizerFast = train_tokenizer(TEXTS, 120)
    with pytest.raises(InputError, match="the tokenizer has no eos token"):
        CausalSequences(np.zeros((2, 8), dtype=int), wordpiece, 0)
