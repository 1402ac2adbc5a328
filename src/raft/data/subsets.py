"""Low-data draws: few examples, by seed, the same for every model that is compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raft.data.tasks import Example
from raft.errors import InputError

SPLIT_SEED = 96
TRAIN_SHARE = 0.75


def draw(pool: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Draw training examples as the paper does.

    Args:
        pool: a task's training set.
        count: examples to draw, without replacement.
        seed: of the draw.

    Raises:
        InputError: where three quarters of the pool are fewer than ``count``.

    Source: Fang et al. 2023, section 4.2 and the official scripts.
    """
    return [pool[i] for i in draw_indices(len(pool), count, seed)[0]]


def draw_indices(pool: int, count: int | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw examples to train on, and as many to choose checkpoints on, as the paper does.

    The pool is shuffled once (seed 96): its first 75 % are for training, the rest is for choosing.

    Args:
        pool: number of examples.
        count: how many to draw of each part, without replacement; None takes both whole, in shuffled order.
        seed: of the draw.

    Returns:
        Indices into the pool, to train on and to choose on. Where the second part has fewer than ``count``
        examples, it is taken whole.

    Raises:
        InputError: where three quarters of the pool are fewer than ``count``, or ``count`` is not above 0.

    Source: Fang et al. 2023, section 4.2 and the official scripts.
    """
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(pool)
    usable, held_out = np.split(shuffled, [int(TRAIN_SHARE * pool)])
    if count is None:
        return usable, held_out
    if count < 1:
        raise InputError(f"at least one training example must be asked for, not {count}")
    if count > len(usable):
        raise InputError(
            f"{count} training examples are asked for, but the task has {len(usable)} to draw from"
        )
    generator = np.random.default_rng(seed)
    train = generator.choice(usable, size=count, replace=False)
    return train, generator.choice(held_out, size=min(count, len(held_out)), replace=False)
