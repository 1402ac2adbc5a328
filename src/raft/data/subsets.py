"""Low-data draws: few examples, by seed, the same for every model that is compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raft.data.tasks import Example
from raft.errors import InputError

SPLIT_SEED = 96
TRAIN_SHARE = 0.75


def draw(pool: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Draw training examples as the paper does.

    The pool is shuffled once (seed 96) and its first 75 % are drawn from; the rest is for choosing
    checkpoints.

    Args:
        pool: a task's training set.
        count: examples to draw, without replacement.
        seed: of the draw.

    Raises:
        InputError: where three quarters of the pool are fewer than ``count``.

    Source: Fang et al. 2023, section 4.2 and the official scripts.
    """
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(pool))
    usable = shuffled[: int(TRAIN_SHARE * len(pool))]
    if count > len(usable):
        raise InputError(
            f"{count} training examples are asked for, but the task has {len(usable)} to draw from"
        )
    chosen = np.random.default_rng(seed).choice(usable, size=count, replace=False)
    return [pool[i] for i in chosen]
