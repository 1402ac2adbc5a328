"""Which examples a run trains and validates on: the same for every model that is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raft.data.tasks.task import Example, Task
from raft.errors import InputError

SPLIT_SEED = 96
TRAIN_SHARE = 0.75
SCORE_STRATA = 5

SplitSource = Literal["paper", "official"]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SampledSplit:
    """The examples of one run.

    Attributes:
        train: to train on.
        validation: to choose checkpoints by.
        train_rows: rows of ``train`` in the original training file, from 0, in the same order.
        validation_rows: the same of ``validation``.
        validation_part: the original file that ``validation`` comes from.
    """

    train: list[Example]
    validation: list[Example]
    train_rows: list[int]
    validation_rows: list[int]
    validation_part: Literal["train", "validation"]

    def record(self) -> dict[str, Any]:
        """The rows as a JSON object, for a run's folder."""
        return {
            "train_rows": self.train_rows,
            "validation_part": self.validation_part,
            "validation_rows": self.validation_rows,
        }


def sample_split(
    task: Task,
    seed: int,
    train_examples: int | Literal["all"] = "all",
    split: SplitSource = "paper",
    stratified: bool = False,
) -> SampledSplit:
    """Sample the examples of a run; a function of the task and these arguments alone.

    * ``paper``: the training set is shuffled once (seed 96); the first 75 %, or of each class 75 % where
      ``stratified``, are for training, the rest for choosing checkpoints. The task's own validation set is
      not used.
    * ``official``: the training set is for training, the task's validation set for choosing checkpoints.

    With ``train_examples``, that many are drawn for training, and as many for validation, or all where there
    are fewer.

    Args:
        task: pool and validation set.
        seed: of the draws.
        train_examples: how many to train on.
        split: what is drawn from.
        stratified: keep the share of each class, or of each fifth of a regression's scores.

    Raises:
        InputError: where there are too few examples, or no validation set.

    Source: Fang et al. 2023, section 4.2 and the official scripts.
    """
    if split == "paper":
        random, count = np.random.default_rng(SPLIT_SEED), int(TRAIN_SHARE * len(task.train))
        shuffled = random.permutation(len(task.train))
        train = draw_stratified(task.train, shuffled, count, random) if stratified else shuffled[:count]
        validation = shuffled[~np.isin(shuffled, train)]
        held_out: Sequence[Example] = task.train
    elif split == "official":
        if task.validation is None:
            raise InputError(f"{task.name} has no validation set of its own; use --split paper")
        held_out = task.validation
        train, validation = np.arange(len(task.train)), np.arange(len(held_out))
    else:
        raise InputError(f"--split must be paper or official, not {split!r}")
    if not len(train):
        raise InputError(f"{task.name} has no training examples")
    if train_examples != "all":
        _check_count(train_examples, len(train))
        sample = draw_stratified if stratified else _uniform
        train = sample(task.train, train, train_examples, np.random.default_rng(seed))
        count = min(train_examples, len(validation))
        validation = sample(held_out, validation, count, np.random.default_rng([seed, 1]))
    if not len(validation):
        raise InputError(f"{task.name} has no examples to choose checkpoints by; use a larger training set")
    is_of_train = split == "paper"
    return SampledSplit(
        [task.train[i] for i in train],
        [held_out[i] for i in validation],
        _rows(task, train),
        _rows(task, validation) if is_of_train else validation.tolist(),
        "train" if is_of_train else "validation",
    )


def _check_count(count: int, available: int) -> None:
    if count < 1:
        raise InputError(f"--train_examples must be above zero or 'all', not {count}")
    if count > available:
        raise InputError(
            f"{count} training examples are asked for, but the task has {available} to draw from: ask "
            "for fewer, or for 'all'"
        )


def _uniform(pool: Sequence[Example], usable: Rows, count: int, random: np.random.Generator) -> Rows:
    return random.choice(usable, size=count, replace=False)


def draw_stratified(pool: Sequence[Example], usable: Rows, count: int, random: np.random.Generator) -> Rows:
    """Each stratum by its share; what rounding leaves goes to the largest remainders."""
    labels = np.array([pool[i].label for i in usable])
    if labels.dtype.kind == "f":
        labels = np.digitize(labels, np.quantile(labels, np.arange(1, SCORE_STRATA) / SCORE_STRATA))
    strata = [usable[labels == label] for label in np.unique(labels)]
    exact = np.array([len(stratum) for stratum in strata]) * count / len(usable)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: count - counts.sum()]] += 1
    samples = [
        random.choice(stratum, size=n, replace=False) for stratum, n in zip(strata, counts, strict=True)
    ]
    return random.permutation(np.concatenate(samples))


def _rows(task: Task, indices: Rows) -> list[int]:
    return [int(i if task.train_rows is None else task.train_rows[i]) for i in indices]
