"""Tasks as a model reads them: batches of questions are padded as the logits are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

from raft.data.squad.windows import make_windows
from raft.data.tasks.task import Example, Task
from raft.finetuning.data import question_data, sentence_data
from tests.data.squad.test_windows import QUESTIONS, Maker, every_tokenizer, wordpiece


def batch_of(tokenizer: Any, chosen: list[int]) -> Mapping[str, Tensor]:
    """Windows of 96 tokens, which share 32, as a batch."""
    data = question_data(QUESTIONS, None, {}, tokenizer, "2.0", 96)
    return data.collate([data.train[number] for number in chosen])


@every_tokenizer
def test_windows_are_padded_on_the_right(make: Maker) -> None:
    tokenizer = make()
    windows = make_windows(QUESTIONS, tokenizer, 96, 32)
    chosen = [0, len(windows) // 2, 1]
    batch = batch_of(tokenizer, chosen)
    longest = int(windows.lengths[chosen].max())
    assert set(batch) == {*tokenizer.model_input_names, "start_positions", "end_positions"}
    for row, number in enumerate(chosen):
        span = slice(windows.borders[number], windows.borders[number + 1])
        length = windows.lengths[number]
        padded = longest - length
        assert batch["input_ids"][row].tolist() == [*windows.tokens[span], *[tokenizer.pad_token_id] * padded]
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * padded
        if windows.token_types is not None:
            fill = [tokenizer.pad_token_type_id] * padded
            assert batch["token_type_ids"][row].tolist() == [*windows.token_types[span], *fill]
        assert [batch["start_positions"][row], batch["end_positions"][row]] == windows.labels[number].tolist()
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_a_model_trains_on_a_batch() -> None:
    batch = batch_of(wordpiece(), [0, 1, 2, 3])
    config = BertConfig(
        vocab_size=200, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    output = BertForQuestionAnswering(config)(**batch)
    assert torch.isfinite(output.loss)
    assert output.start_logits.shape == batch["input_ids"].shape


def test_an_empty_text_has_a_token_to_read_out() -> None:
    vocabulary = {"<unk>": 0, "</s>": 1, "a": 2}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, "<unk>")), eos_token="</s>", pad_token="</s>"
    )
    examples = [Example("", None, 1), Example("a", None, 0)]
    data = sentence_data(Task("t", "accuracy", examples, examples), examples, None, tokenizer)
    rows = [data.train[number] for number in range(2)]
    assert [row["input_ids"] for row in rows] == [[1], [2]]
    assert [row["attention_mask"] for row in rows] == [[1], [1]]
    batch = data.collate([data.train[0]])
    assert batch["input_ids"].dtype == torch.int64


@pytest.mark.parametrize("side", ["left", "right"])
def test_sentences_are_padded_on_the_right(side: str) -> None:
    tokenizer = wordpiece()
    tokenizer.padding_side = side
    task = Task("t", "accuracy", [Example("a b c", None, 1), Example("a", None, 0)], [Example("a", None, 0)])
    data = sentence_data(task, task.train, None, tokenizer)
    batch = data.collate([data.train[0], data.train[1]])
    assert batch["attention_mask"][1].tolist() == sorted(batch["attention_mask"][1].tolist(), reverse=True)
    assert batch["labels"].tolist() == [1, 0]


def test_a_test_counts_questions_and_not_their_windows() -> None:
    data = question_data(QUESTIONS, None, {"SQuAD": QUESTIONS}, wordpiece(), "2.0", 96)
    assert data.tests["SQuAD"].examples == len(QUESTIONS) < len(data.tests["SQuAD"].inputs)
