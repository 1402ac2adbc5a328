"""Classification and regression tasks on sentences or pairs of sentences, and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torchmetrics.functional.classification import (
    binary_f1_score,
    multiclass_accuracy,
    multiclass_matthews_corrcoef,
)
from torchmetrics.functional.regression import pearson_corrcoef

from raft.errors import InputError, TrainingError

Metric = Literal["accuracy", "matthews", "accuracy_and_f1", "pearson_and_spearman"]


@dataclass(frozen=True, slots=True)
class Sentences:
    """One or two sentences, as a model gets them."""

    first: str
    second: str | None


@dataclass(frozen=True, slots=True)
class Example(Sentences):
    """One or two sentences and their label: the number of a class, or a score."""

    label: int | float


@dataclass(frozen=True)
class Task:
    """A classification or regression task.

    Attributes:
        name: as shown in tables.
        metric: of all test sets.
        train: pool that training examples are drawn from.
        test: never trained on; the development set of a benchmark that hides its test labels.
        labels: names of the classes in the order of their numbers; None for a regression.
        validation: the data set's own validation set; None where it has none.
        further_tests: other test sets, by the name shown in tables.
        hidden: sentences whose labels only the benchmark's server has, by the name of the submission file.
        train_rows: rows of ``train`` in the original training file, from 0; None for all.

    Raises:
        InputError: for a metric that does not fit the labels.
    """

    name: str
    metric: Metric
    train: Sequence[Example]
    test: Sequence[Example]
    labels: tuple[str, ...] | None = ("0", "1")
    validation: Sequence[Example] | None = None
    further_tests: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    hidden: Mapping[str, Sequence[Sentences]] = field(default_factory=dict)
    train_rows: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.metric not in get_args(Metric):
            raise InputError(f"unknown metric {self.metric!r}; known are {', '.join(get_args(Metric))}")
        if (self.labels is None) != (self.metric == "pearson_and_spearman"):
            kind = "a regression" if self.labels is None else "a classification"
            raise InputError(
                f"{self.name} is {kind}, which {self.metric} does not score; choose another metric"
            )
        if self.metric == "accuracy_and_f1" and self.labels is not None and len(self.labels) != 2:
            raise InputError(
                f"{self.name} has {len(self.labels)} classes, but F1 is of two; choose accuracy or matthews"
            )

    @property
    def tests(self) -> dict[str, Sequence[Example]]:
        """All test sets, by the name shown in tables; ``test`` first."""
        return {self.name: self.test, **self.further_tests}


@dataclass(frozen=True)
class Score:
    """A score of predictions.

    Attributes:
        points: 0 to 100; correlations −100 to 100. The mean of the parts.
        parts: each of the metric's numbers in points, by name.
        constant: whether all predictions are the same.
        single_class: points of the best constant class, 0 for a correlation; None where answers are no
            classes.
    """

    points: float
    parts: Mapping[str, float]
    constant: bool
    single_class: float | None = None


def evaluate(metric: Metric, predictions: NDArray[Any], labels: NDArray[Any]) -> Score:
    """Score predictions as the official scorers do.

    Correlations of constant predictions (or with constant labels) are 0.

    Args:
        metric: ``accuracy``, ``matthews``, ``accuracy_and_f1`` (of class 1; their mean) or
            ``pearson_and_spearman`` (their mean).
        predictions: ``[N]`` classes (int64), or scores of a regression (floating point).
        labels: ``[N]``, of the same type.

    Raises:
        TrainingError: where predicted scores are not finite.
    """
    constant = bool(np.all(predictions == predictions[0]))
    parts = _parts(metric, predictions, labels)
    answers = labels[:1] if metric == "pearson_and_spearman" else np.unique(labels)
    single_class = max(_mean(_parts(metric, np.full_like(labels, answer), labels)) for answer in answers)
    return Score(_mean(parts), parts, constant, single_class)


def _parts(metric: Metric, predictions: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    constant = bool(np.all(predictions == predictions[0]))
    is_defined = not constant and bool(np.any(labels != labels[0]))
    if metric == "pearson_and_spearman":
        if broken := int(np.sum(~np.isfinite(predictions))):
            raise TrainingError(
                f"{broken} of {len(predictions)} predicted scores are not finite: the training has diverged; "
                "lower the learning rate"
            )
        # torchmetrics' own Spearman sums ranks in int32, which overflows with many ties, and adds 1e-6
        parts = {
            "pearson": _pearson(predictions, labels) if is_defined else 0.0,
            "spearman": _pearson(rankdata(predictions), rankdata(labels)) if is_defined else 0.0,
        }
    else:
        predicted, true = (torch.from_numpy(np.asarray(a, dtype=np.int64)) for a in (predictions, labels))
        classes = max(2, int(predicted.max()) + 1, int(true.max()) + 1)
        if metric == "matthews":
            matthews = multiclass_matthews_corrcoef(predicted, true, classes) if is_defined else 0.0
            parts = {"matthews": float(matthews)}
        else:
            parts = {"accuracy": float(multiclass_accuracy(predicted, true, classes, average="micro"))}
            if metric == "accuracy_and_f1":
                parts["f1"] = float(binary_f1_score(predicted, true))
    return {name: 100.0 * value for name, value in parts.items()}


def _mean(parts: Mapping[str, float]) -> float:
    return sum(parts.values()) / len(parts)


def _pearson(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
    return float(
        pearson_corrcoef(*(torch.from_numpy(np.asarray(a, dtype=np.float64)) for a in (predictions, labels)))
    )
