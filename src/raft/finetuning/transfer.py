"""Zero-shot transfer: a model that was tuned on one task, judged on another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from raft.data.tasks.label_maps import LabelMap, map_labels
from raft.data.tasks.task import Score, Task, evaluate
from raft.errors import InputError
from raft.finetuning.data import decode_predictions, question_data, sentence_data
from raft.finetuning.task_source import SQUADS, Sources, TaskOptions
from raft.finetuning.train import fit_tokens, predict_logits
from raft.hf.loading import load_pretrained
from raft.hf.saving.hooks import FORM

BATCH = 64


def evaluate_transfer(
    model: str,
    options: TaskOptions,
    sources: Sources,
    labels: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> dict[str, Score]:
    """Load a tuned model, and score it as ``score_transfer`` does.

    Args:
        model: folder or hub name of a tuned model.
        options: the task.
        sources: of the process.
        labels: names of the model's or the task's labels, and what they are to be called.
        device: to run on.

    Returns:
        Scores by the test's name.

    Raises:
        InputError: for a model without a tuned head for such a task, or labels that cannot be mapped.
    """
    head = AutoModelForQuestionAnswering if options.is_squad else AutoModelForSequenceClassification
    tokenizer, tuned = sources.tokenizer(model), _load_tuned(head, model)
    fit_tokens(tuned.config, tokenizer, model)
    return score_transfer(tuned.to(device), tokenizer, options, sources, labels)


def score_transfer(
    tuned: Any,
    tokenizer: Any,
    options: TaskOptions,
    sources: Sources,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Score]:
    """Score a tuned model on a task's tests, without training.

    A classification is scored by its metric over the labels that model and task have in common (see
    ``raft.data.tasks.label_maps``); SQuAD, and whatever is in its form, by F1 and exact match.

    Args:
        tuned: a model with a head for such a task.
        tokenizer: of the model.
        options: the task.
        sources: of the process.
        labels: names of the model's or the task's labels, and what they are to be called.

    Returns:
        Scores by the test's name.

    Raises:
        InputError: for labels that cannot be mapped.
    """
    if options.is_squad:
        questions = sources.questions(options, "validation")
        data = question_data(
            questions[:1], None, {"SQuAD": questions}, tokenizer, SQUADS[options.task],
            options.max_length or 384,
        )  # fmt: skip
        return {
            name: split.score(predict_logits(tuned, split, data.collate, BATCH))
            for name, split in data.tests.items()
            if split.score is not None
        }
    task = sources.task(options)
    names = [str(tuned.config.id2label[number]) for number in range(tuned.config.num_labels)]
    mapped = _map_labels(names, task, labels)
    is_same = len(mapped.labels) == len(task.labels or ())
    task = replace(task, metric=task.metric if is_same else "accuracy", hidden={})
    data = sentence_data(task, task.test[:1], None, tokenizer, options.max_length or 128)
    scores = {}
    for name, split in data.tests.items():
        predicted = decode_predictions(task, predict_logits(tuned, split, data.collate, BATCH))
        wanted = np.array([example.label for example in task.tests[name]])
        scores[name] = evaluate(task.metric, mapped.map_predictions(predicted), mapped.map_targets(wanted))
    return scores


class TransferError(InputError):
    """Two tasks of which the model of one cannot be judged on the other."""


def check_transfer(tuned: TaskOptions, other: TaskOptions, sources: Sources) -> None:
    """Raise ``TransferError`` where a model that is tuned on one task could not be judged on another, and
    ``InputError`` where one of them cannot be read."""
    kinds = ["questions" if options.is_squad else "sentences" for options in (tuned, other)]
    if kinds[0] != kinds[1]:
        raise TransferError(
            f"a model that is tuned on {kinds[0]} cannot be judged on {kinds[1]}: {other.task}"
        )
    if not tuned.is_squad:
        labels = sources.task(tuned).labels
        if labels is None:
            raise TransferError(f"{tuned.task} is a regression: its model cannot be judged on {other.task}")
        _map_labels(labels, sources.task(other))


def _map_labels(tuned_labels: Sequence[str], task: Task, labels: Mapping[str, str] | None = None) -> LabelMap:
    if task.labels is None:
        raise TransferError(f"{task.name} is a regression, to which no other task's labels can be mapped")
    try:
        return map_labels(tuned_labels, task.labels, labels)
    except InputError as error:
        raise TransferError(str(error)) from error


def _load_tuned(head: Any, model: str) -> Any:
    tuned, info = load_pretrained(head, model)
    if info["missing_keys"]:
        raise InputError(
            f"{model} has no tuned head for such a task: {sorted(info['missing_keys'])[0]} is missing; tune "
            "it first, with raft finetune --save_model"
        )
    if any(re.search(FORM, name) for name in info["unexpected_keys"]):
        raise InputError(
            f"{model} holds RAFs for a model that has none: its adapter was trained on a converted model; "
            "merge it (merge_and_unload) and save that"
        )
    return tuned.eval()
