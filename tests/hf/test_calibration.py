"""What a calibration keeps of the inputs that it sees, and how much of a text it reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

import raft
from raft.data.text.tokens import train_tokenizer
from raft.hf import calibration
from raft.hf.calibration import InputSample
from tests.hf.architectures import TINY

WORDS = "anna sees a friend in the old garden today"


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """Which allows longer texts than the models here have positions for."""
    return train_tokenizer([WORDS] * 50, 100, max_length=1000)


def test_samples_are_drawn_alike_from_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MAX_SAMPLES", 2000)
    sample = InputSample()
    sample.add(torch.tensor([[-50.0], [5000.0]]))
    for number in range(100):
        sample.add(torch.full((20, 30), float(number)))
    kept = sample.values()
    assert kept.numel() <= 2002
    assert (sample.count, sample.low, sample.high) == (60_002, -50.0, 5000.0)
    assert {-50.0, 5000.0} <= set(kept.tolist())  # however few were drawn
    inside = kept[(kept >= 0) & (kept < 100)]
    assert len(inside) > 900
    # what came early and what came late
    assert stats.chisquare(torch.histc(inside, 10, 0, 99).numpy()).pvalue > 1e-3


def test_inputs_that_are_not_finite_are_left_out() -> None:
    sample = InputSample()
    sample.add(torch.tensor([float("nan"), float("inf")]))
    assert sample.count == 0
    sample.add(torch.tensor([float("nan"), 1.0, -float("inf"), 3.0]))
    assert (sample.count, sample.low, sample.high) == (2, 1.0, 3.0)
    assert sorted(set(sample.values().tolist())) == [1.0, 3.0]


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
