"""Zero-shot transfer: a model that was tuned on one task, judged on another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from raft.data.label_maps import map_labels
from raft.data.tasks import Score, evaluate
from raft.errors import InputError
from raft.training.finetune import outputs_of
from raft.training.finetuning_data import predictions, question_data, sentence_data
from raft.training.task_source import SQUADS, Sources, TaskOptions

BATCH = 64


def judge(
    model: str,
    options: TaskOptions,
    sources: Sources,
    labels: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> dict[str, Score]:
    """Score a tuned model on a task's tests, without training.

    A classification is scored by its metric over the labels that model and task have in common (see
    ``raft.data.label_maps``); SQuAD, and whatever is in its form, by F1 and exact match.

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
    tokenizer = sources.tokenizer(model)
    if options.dataset is None and options.task in SQUADS:
        tuned = _tuned(AutoModelForQuestionAnswering, model).to(device)
        questions = sources.questions(options, "validation")
        data = question_data(
            questions[:1], None, {"SQuAD": questions}, tokenizer, SQUADS[options.task],
            options.max_length or 384,
        )  # fmt: skip
        return {
            name: judged.score(outputs_of(tuned, judged, data.collate, BATCH))
            for name, judged in data.tests.items()
            if judged.score is not None
        }
    task = sources.task(options)
    if task.labels is None:
        raise InputError(f"{task.name} is a regression, to which no other task's labels can be mapped")
    tuned = _tuned(AutoModelForSequenceClassification, model).to(device)
    names = [str(tuned.config.id2label[number]) for number in range(tuned.config.num_labels)]
    mapped = map_labels(names, task.labels, labels)
    task = replace(
        task, metric=task.metric if len(mapped.labels) == len(task.labels) else "accuracy", hidden={}
    )
    data = sentence_data(task, task.test[:1], None, tokenizer, options.max_length or 128)
    found = {}
    for name, judged in data.tests.items():
        said = predictions(task, outputs_of(tuned, judged, data.collate, BATCH))
        wanted = np.array([example.label for example in task.tests[name]])
        found[name] = evaluate(task.metric, mapped.predictions(said), mapped.wanted(wanted))
    return found


def _tuned(head: Any, model: str) -> Any:
    try:
        found, info = head.from_pretrained(model, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load {model}: {str(error).splitlines()[0]}") from error
    if info["missing_keys"]:
        raise InputError(
            f"{model} has no tuned head for such a task: {sorted(info['missing_keys'])[0]} is missing; tune "
            "it first, with raft finetune --save_model"
        )
    return found.eval()
