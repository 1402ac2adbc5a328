"""Maps between the labels of a model and those of another task, for zero-shot transfer.

Either side may be coarser: a model with entailment, neutral and contradiction predicts "not entailment" by
either of the last two; one with entailment and not-entailment is scored on telling entailment from the other
two. So both sides are mapped to labels that both have.
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
"""Labels that a coarser one includes: RTE's two classes were made of three in this way."""

_NUMBERED = re.compile(r"label_\d+")


@dataclass(frozen=True)
class LabelMap:
    """Common labels of a model and a task.

    Attributes:
        labels: names of the common labels.
        of_model: number of the common label of each of the model's labels.
        of_task: number of the common label of each of the task's labels.
    """

    labels: tuple[str, ...]
    of_model: tuple[int, ...]
    of_task: tuple[int, ...]

    def map_predictions(self, predictions: NDArray[Any]) -> NDArray[np.int64]:
        """``[N]`` of the model's classes as common ones."""
        return np.array(self.of_model, dtype=np.int64).take(predictions)

    def map_targets(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """``[N]`` of the task's classes as common ones."""
        return np.array(self.of_task, dtype=np.int64).take(labels)


def map_labels(model: Sequence[str], task: Sequence[str], given: Mapping[str, str] | None = None) -> LabelMap:
    """Map the labels of a model and of a task to common ones.

    Labels are matched by name, in any order; neutral and contradiction are not-entailment where the other
    side has only that.

    Args:
        model: names of the model's classes in the order of its outputs (``config.id2label``).
        task: names of the task's classes in the order of their numbers.
        given: other names for some labels: of the model's, and of those of the task's that do not match the
            model's by then.

    Raises:
        InputError: where labels remain that the other side does not have, or that are only numbered.
    """
    given = given or {}
    unknown = next((name for name in given if name not in (*model, *task)), None)
    if unknown is not None:
        raise InputError(
            f"the label map names {unknown!r}, which is a label of neither the model ({', '.join(model)}) "
            f"nor the task ({', '.join(task)})"
        )
    ours = [_normalize(given.get(name, name)) for name in model]
    theirs = [_normalize(name if _normalize(name) in ours else given.get(name, name)) for name in task]
    ours, theirs = _coarsen(ours, theirs), _coarsen(theirs, ours)
    if set(ours) != set(theirs) or len(set(ours)) < 2 or any(_NUMBERED.fullmatch(name) for name in ours):
        raise InputError(
            f"no mapping is known from the model's labels ({', '.join(model)}) to the task's "
            f"({', '.join(task)}); raft transfer takes one, as --labels name=name for each that differs"
        )
    common = tuple(dict.fromkeys(theirs))
    of_model, of_task = (tuple(common.index(name) for name in side) for side in (ours, theirs))
    return LabelMap(common, of_model, of_task)


def _coarsen(labels: Sequence[str], others: Sequence[str]) -> list[str]:
    """Replace labels by the coarser ones of the other side."""
    return [COARSER[name] if COARSER.get(name) in others else name for name in labels]


def _normalize(name: str) -> str:
    normalized = re.sub(r"[\s-]+", "_", name.strip().lower())
    return SAME.get(normalized, normalized)
