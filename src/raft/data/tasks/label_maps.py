"""From the labels that a model was trained with to those of another task, for zero-shot transfer.

Either may have labels that the other does not tell apart: a model that knows entailment, neutral and
contradiction says "not entailment" by either of the last two; one that knows entailment and not-entailment is
judged by whether it finds the entailed among all three. So both sides are mapped to labels that both have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raft.errors import InputError

SAME = {"non_entailment": "not_entailment", "duplicate": "equivalent", "not_duplicate": "not_equivalent"}
"""Labels that mean what others mean: paraphrases are called duplicates by QQP, equivalent by MRPC."""

COARSER = {"neutral": "not_entailment", "contradiction": "not_entailment"}
"""Labels that are part of what another says: the two classes of RTE were made of three in this way."""

_NAMELESS = re.compile(r"label_\d+")


@dataclass(frozen=True)
class LabelMap:
    """What both sides' labels are in common terms.

    Attributes:
        labels: names of the common labels.
        of_model: the common label's number of each of the model's.
        of_task: the common label's number of each of the task's.
    """

    labels: tuple[str, ...]
    of_model: tuple[int, ...]
    of_task: tuple[int, ...]

    def predictions(self, found: NDArray[Any]) -> NDArray[np.int64]:
        """``[N]`` of the model's classes as common ones."""
        return np.array(self.of_model, dtype=np.int64).take(found)

    def wanted(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """``[N]`` of the task's classes as common ones."""
        return np.array(self.of_task, dtype=np.int64).take(labels)


def map_labels(model: Sequence[str], task: Sequence[str], given: Mapping[str, str] | None = None) -> LabelMap:
    """How a model's predictions are judged by a task's labels.

    Labels are the same where their names are, in any order; neutral and contradiction are not-entailment
    where the other side knows no better.

    Args:
        model: names of the model's classes in the order of its outputs (``config.id2label``).
        task: names of the task's classes in the order of their numbers.
        given: other names for some of the labels: of the model's, and of those of the task's that the model's
            are not called by then.

    Raises:
        InputError: where labels are left that the other side does not have, or whose names say nothing.
    """
    given = given or {}
    unknown = next((name for name in given if name not in (*model, *task)), None)
    if unknown is not None:
        raise InputError(
            f"the label map names {unknown!r}, which is a label of neither the model ({', '.join(model)}) "
            f"nor the task ({', '.join(task)})"
        )
    ours = [_plain(given.get(name, name)) for name in model]
    theirs = [_plain(name) if _plain(name) in ours else _plain(given.get(name, name)) for name in task]
    ours, theirs = _coarser(ours, theirs), _coarser(theirs, ours)
    if set(ours) != set(theirs) or len(set(ours)) < 2 or any(_NAMELESS.fullmatch(name) for name in ours):
        raise InputError(
            f"no mapping is known from the model's labels ({', '.join(model)}) to the task's "
            f"({', '.join(task)}); raft transfer takes one, as --labels name=name for each that differs"
        )
    common = tuple(dict.fromkeys(theirs))
    of_model, of_task = (tuple(common.index(name) for name in side) for side in (ours, theirs))
    return LabelMap(common, of_model, of_task)


def _coarser(labels: Sequence[str], others: Sequence[str]) -> list[str]:
    """The labels in the others' terms, where those tell fewer apart."""
    return [COARSER[name] if COARSER.get(name) in others else name for name in labels]


def _plain(name: str) -> str:
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return SAME.get(plain, plain)
