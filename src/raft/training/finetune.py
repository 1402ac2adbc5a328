"""Fine-tune a pretrained model on a classification task with few examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    set_seed,
)

from raft.data.subsets import draw
from raft.data.tasks import Example, Task, score
from raft.training.arguments import RaftTrainingArguments
from raft.training.trainer import RaftTrainer


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast) -> list[dict[str, Any]]:
    """Tokenised examples, cut to the tokenizer's longest length, with their labels."""
    rows = []
    for example in examples:
        row = dict(tokenizer(example.first, example.second, truncation=True))
        rows.append({**row, "labels": example.label})
    return rows


def finetune(
    checkpoint: Path,
    tokenizer: PreTrainedTokenizerFast,
    task: Task,
    train_examples: int,
    arguments: RaftTrainingArguments,
) -> float:
    """Train on examples drawn with ``arguments.seed`` and return the test score in points.

    The draw, the order of the batches and the new head's weights depend on the seed alone, not on the model.

    Args:
        checkpoint: folder with a pretrained encoder.
        tokenizer: of that encoder.
        task: pool and test set.
        train_examples: how many to draw from the pool.
        arguments: seed, learning rates, epochs, batch size.

    Raises:
        InputError: where the task has too few examples.
        TrainingError: where the loss is not finite.
    """
    examples = draw(task.train, train_examples, arguments.seed)
    set_seed(arguments.seed)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2)
    trainer = RaftTrainer(
        model=model,
        args=arguments,
        train_dataset=encode(examples, tokenizer),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer.train()
    test = encode(task.test, tokenizer)
    order = np.argsort([len(row["input_ids"]) for row in test], kind="stable")  # little padding
    predictions = np.empty(len(test), dtype=np.int64)
    logits = trainer.predict([test[i] for i in order]).predictions  # type: ignore[arg-type]
    predictions[order] = np.asarray(logits).argmax(axis=-1)
    labels = np.array([example.label for example in task.test], dtype=np.int64)
    return score(task.metric, predictions, labels)
