"""A task as one model reads it: tokenised, and scored by its own metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerBase,
)
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from raft.data.squad.answers import Answers, find_answers, write_null_odds, write_predictions
from raft.data.squad.questions import Question, SquadVersion
from raft.data.squad.scores import score as squad_score
from raft.data.squad.windows import make_windows
from raft.data.tasks.submission import write_submission
from raft.data.tasks.task import Example, Score, Sentences, Task, evaluate
from raft.finetuning.train import EvalSplit, FinetuningData, Outputs

NULL_THRESHOLD = 0.0
"""Null odds above which a question of SQuAD 2.0 has no answer: the model's own opinion."""


def sentence_data(
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example] | None,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = 128,
) -> FinetuningData:
    """A classification or regression task.

    Args:
        task: labels, metric and tests.
        train: the examples that are trained on.
        validation: those that the epoch is chosen on.
        tokenizer: of the model.
        max_length: tokens that an input is cut to, the second sentence and the first alike.
    """

    def labelled(examples: Sequence[Example]) -> EvalSplit:
        rows = _encode(examples, tokenizer, max_length)
        labels = np.array([example.label for example in examples])

        def score(outputs: Outputs) -> Score:
            return evaluate(task.metric, decode_predictions(task, outputs), labels)

        return EvalSplit(rows, len(rows), _lengths(rows), score)

    def unlabelled(file: str, sentences: Sequence[Sentences]) -> EvalSplit:
        rows = _encode(sentences, tokenizer, max_length)

        def write(outputs: Outputs, folder: Path) -> None:
            write_submission(folder, file, decode_predictions(task, outputs), task.labels)

        return EvalSplit(rows, len(rows), _lengths(rows), None, write)

    names = task.labels or ("score",)
    config: dict[str, Any] = {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": "regression" if task.labels is None else "single_label_classification",
    }
    return FinetuningData(
        head=AutoModelForSequenceClassification,
        config=config,
        train=_encode(train, tokenizer, max_length),
        validation=None if validation is None else labelled(validation),
        tests={
            **{name: labelled(examples) for name, examples in task.tests.items()},
            **{f"{file} (hidden)": unlabelled(file, rows) for file, rows in task.hidden.items()},
        },
        # XLNet is read out at the last token of the row, and has no absolute positions
        collate=_collate(tokenizer, None if type(tokenizer).__name__.startswith("XLNet") else "right"),
        texts=[text for example in train for text in (example.first, example.second) if text],
    )


def decode_predictions(task: Task, outputs: Outputs) -> NDArray[Any]:
    """Classes (int64), or the scores of a regression (float32), from a model's logits."""
    (logits,) = outputs
    return logits[:, 0] if task.labels is None else logits.argmax(axis=1)


def question_data(
    train: Sequence[Question],
    validation: Sequence[Question] | None,
    tests: Mapping[str, Sequence[Question]],
    tokenizer: Any,
    version: SquadVersion,
    max_length: int = 384,
) -> FinetuningData:
    """Extractive question answering; points are those of F1. Windows share a third with the next one.

    Args:
        train: the questions that are trained on.
        validation: those that the epoch is chosen on.
        tests: what is scored, by name.
        tokenizer: a fast one.
        version: of SQuAD, ``1.1`` or ``2.0``.
        max_length: tokens of a window.
    """
    longest = min(max_length, tokenizer.model_max_length)
    stride = longest // 3
    threshold = NULL_THRESHOLD if version == "2.0" else None

    def eval_split(questions: Sequence[Question]) -> EvalSplit:
        windows = make_windows(questions, tokenizer, longest, stride)

        def answers(outputs: Outputs) -> Answers:
            start, end = outputs
            return find_answers(start, end, windows, questions)

        def score(outputs: Outputs) -> Score:
            texts = answers(outputs).texts(threshold)
            exact, f1 = squad_score(texts, questions, version)
            return Score(f1, {"exact": exact, "f1": f1}, len(set(texts.values())) == 1)

        def write(outputs: Outputs, folder: Path) -> None:
            predicted = answers(outputs)
            write_predictions(folder / "squad.json", predicted.texts(threshold))
            if version == "2.0":
                write_null_odds(folder / "squad-null-odds.json", predicted.null_odds)

        return EvalSplit(windows, len(questions), windows.lengths, score, write)

    inputs = make_windows(train, tokenizer, longest, stride).without_offsets()
    return FinetuningData(
        head=AutoModelForQuestionAnswering,
        config={"num_labels": 2},  # start and end, whatever the checkpoint was tuned on before
        train=inputs,
        validation=None if validation is None else eval_split(validation),
        tests={name: eval_split(questions) for name, questions in tests.items()},
        collate=_collate(tokenizer, "right"),  # a token has one position in window, batch and logits
        texts=[f"{question.question} {question.context}" for question in train],
    )


def _collate(tokenizer: PreTrainedTokenizerBase, side: str | None) -> Callable[..., Mapping[str, Tensor]]:
    """Pad a batch at a side, whatever the tokenizer's: models count positions over padding, too."""
    return partial(pad_without_fast_tokenizer_warning, tokenizer, padding_side=side, return_tensors="pt")


def _encode(
    examples: Sequence[Sentences], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[dict[str, Any]]:
    first = [example.first for example in examples]
    second = None if examples[0].second is None else [example.second for example in examples]
    longest = min(max_length, tokenizer.model_max_length)
    encoded = tokenizer(first, second, truncation=True, max_length=longest)
    keys = list(encoded)
    rows: list[dict[str, Any]] = []
    for number, example in enumerate(examples):
        row = {key: encoded[key][number] for key in keys}
        if not row["input_ids"]:  # an empty text, and a tokenizer that adds nothing
            row = {**{key: [0] for key in keys}, "input_ids": [tokenizer.pad_token_id], "attention_mask": [1]}
        rows.append({**row, "labels": example.label} if isinstance(example, Example) else row)
    return rows


def _lengths(rows: Sequence[dict[str, Any]]) -> NDArray[np.int64]:
    return np.array([len(row["input_ids"]) for row in rows])
