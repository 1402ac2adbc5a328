"""What a run trains on and chooses its checkpoints by: the same for every model that is compared."""

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

Split = Literal["paper", "official"]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Subset:
    """The examples of one run.

    Attributes:
        train: to train on.
        validation: to choose checkpoints by.
        train_rows: rows, from 0, of the original training file that ``train`` stands in, in this order.
        validation_rows: the same of ``validation``.
        validation_part: the original file that ``validation`` comes from.
    """

    train: list[Example]
    validation: list[Example]
    train_rows: list[int]
    validation_rows: list[int]
    validation_part: Literal["train", "validation"]

    def record(self) -> dict[str, Any]:
        """The rows as JSON can hold them, for a run's folder."""
        return {
            "train_rows": self.train_rows,
            "validation_part": self.validation_part,
            "validation_rows": self.validation_rows,
        }


def select(
    task: Task,
    seed: int,
    train_examples: int | Literal["all"] = "all",
    split: Split = "paper",
    stratified: bool = False,
) -> Subset:
    """Choose the examples of a run. They depend on the task and these arguments alone.

    * ``paper``: the training set is shuffled once (seed 96); its first 75 % are to train on, the rest is to
      choose checkpoints by. The task's own validation set is not used.
    * ``official``: the training set is to train on, the task's validation set to choose checkpoints by.

    Where fewer than all are wanted, they are drawn by the run's seed, and as many for validation, or all that
    there are where those are fewer.

    Args:
        task: pool and validation set.
        seed: of the draws.
        train_examples: how many to train on.
        split: what is drawn from.
        stratified: draw each class, or of a regression each fifth of the scores, by its share of the pool.

    Raises:
        InputError: where more are asked for than there are, or there is no validation set.

    Source: Fang et al. 2023, section 4.2 and the official scripts.
    """
    if split == "paper":
        train, validation = _paper_parts(len(task.train))
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
        choose = _stratified if stratified else _plain
        train = choose(task.train, train, train_examples, np.random.default_rng(seed))
        fitting = min(train_examples, len(validation))
        validation = choose(held_out, validation, fitting, np.random.default_rng([seed, 1]))
    if not len(validation):
        raise InputError(f"{task.name} has no examples to choose checkpoints by; use a larger training set")
    within_train = split == "paper"
    return Subset(
        [task.train[i] for i in train],
        [held_out[i] for i in validation],
        _rows(task, train),
        _rows(task, validation) if within_train else validation.tolist(),
        "train" if within_train else "validation",
    )


def draw(pool: Sequence[Example], count: int, seed: int) -> list[Example]:
    """The training examples of ``select`` by the paper's split, from a pool alone.

    Args:
        pool: a task's training set.
        count: examples to draw, without replacement.
        seed: of the draw.

    Raises:
        InputError: where three quarters of the pool are fewer than ``count``.
    """
    usable, _ = _paper_parts(len(pool))
    _check_count(count, len(usable))
    return [pool[i] for i in _plain(pool, usable, count, np.random.default_rng(seed))]


def draw_indices(size: int, count: int | None, seed: int) -> tuple[Rows, Rows]:
    """The rows of ``select`` by the paper's split, of anything that has no classes.

    Args:
        size: of the training set.
        count: how many to train on; None for all.
        seed: of the draws.

    Returns:
        Rows to train on, and rows to choose checkpoints by.

    Raises:
        InputError: where three quarters of the set are fewer than ``count``, or ``count`` is not above 0.
    """
    train, validation = _paper_parts(size)
    if count is None:
        return train, validation
    _check_count(count, len(train))
    random = np.random.default_rng(seed)
    fitting = min(count, len(validation))
    return (
        random.choice(train, size=count, replace=False),
        np.random.default_rng([seed, 1]).choice(validation, size=fitting, replace=False),
    )


def _paper_parts(size: int) -> tuple[Rows, Rows]:
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(size)
    border = int(TRAIN_SHARE * size)
    return shuffled[:border], shuffled[border:]


def _check_count(count: int, available: int) -> None:
    if count < 1:
        raise InputError(f"--train_examples must be above zero or 'all', not {count}")
    if count > available:
        raise InputError(
            f"{count} training examples are asked for, but the task has {available} to draw from"
        )


def _plain(pool: Sequence[Example], usable: Rows, count: int, random: np.random.Generator) -> Rows:
    return random.choice(usable, size=count, replace=False)


def _stratified(pool: Sequence[Example], usable: Rows, count: int, random: np.random.Generator) -> Rows:
    """As many of each stratum as its share says; what rounding leaves goes to the largest remainders."""
    labels = np.array([pool[i].label for i in usable])
    if labels.dtype.kind == "f":
        labels = np.digitize(labels, np.quantile(labels, np.arange(1, SCORE_STRATA) / SCORE_STRATA))
    strata = [usable[labels == label] for label in np.unique(labels)]
    exact = np.array([len(stratum) for stratum in strata]) * count / len(usable)
    counts = np.floor(exact).astype(int)
    largest = np.argsort(counts - exact, kind="stable")[: count - counts.sum()]
    counts[largest] += 1
    chosen = [
        random.choice(stratum, size=n, replace=False) for stratum, n in zip(strata, counts, strict=True)
    ]
    return random.permutation(np.concatenate(chosen))


def _rows(task: Task, places: Rows) -> list[int]:
    return [int(i if task.train_rows is None else task.train_rows[i]) for i in places]
