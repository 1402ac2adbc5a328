"""What a sentence or sentence-pair classification task is, and how it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_accuracy, binary_f1_score, binary_matthews_corrcoef

Metric = Literal["accuracy", "matthews", "accuracy_and_f1"]


@dataclass(frozen=True)
class Example:
    """One or two sentences and their class, 0 or 1."""

    first: str
    second: str | None
    label: int


@dataclass(frozen=True)
class Task:
    """A binary classification task.

    Attributes:
        name: as shown in tables.
        metric: of the test set.
        train: pool that training examples are drawn from.
        test: never trained on.
    """

    name: str
    metric: Metric
    train: Sequence[Example]
    test: Sequence[Example]


def score(metric: Metric, predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Score in points (0 to 100; Matthews −100 to 100).

    Matthews correlation of a constant prediction is 0, as the official scorer has it.

    Args:
        metric: ``accuracy``, ``matthews`` or ``accuracy_and_f1`` (their mean).
        predictions: ``[N]`` classes.
        labels: ``[N]`` classes.
    """
    found, wanted = torch.from_numpy(predictions), torch.from_numpy(labels)
    if metric == "matthews":
        constant = len(np.unique(predictions)) < 2 or len(np.unique(labels)) < 2
        value = 0.0 if constant else float(binary_matthews_corrcoef(found, wanted))
    else:
        value = float(binary_accuracy(found, wanted))
        if metric == "accuracy_and_f1":
            value = (value + float(binary_f1_score(found, wanted))) / 2
    return 100.0 * value
