"""How predictions of one task's classes are judged by another's."""

from __future__ import annotations

import re

import numpy as np
import pytest

from raft.data.tasks.glue import NLI_LABELS, TWO_WAY_LABELS
from raft.data.tasks.label_maps import map_labels
from raft.errors import InputError


def test_the_same_names_in_another_order() -> None:
    actual = map_labels(("contradiction", "entailment", "neutral"), NLI_LABELS)
    assert actual.labels == NLI_LABELS
    assert actual.map_predictions(np.array([0, 1, 2, 0])).tolist() == [2, 0, 1, 2]
    assert actual.map_targets(np.array([0, 1, 2])).tolist() == [0, 1, 2]


def test_three_classes_are_judged_on_two() -> None:
    actual = map_labels(NLI_LABELS, TWO_WAY_LABELS)
    assert actual.labels == TWO_WAY_LABELS
    assert actual.map_predictions(np.array([0, 1, 2])).tolist() == [0, 1, 1]
    assert actual.map_targets(np.array([0, 1])).tolist() == [0, 1]
    assert map_labels(NLI_LABELS, ("not_entailment", "entailment")).of_model == (1, 0, 0)


def test_two_classes_are_judged_on_three() -> None:
    actual = map_labels(("not-entailment", "Entailment"), NLI_LABELS)
    assert actual.labels == TWO_WAY_LABELS
    assert actual.map_predictions(np.array([0, 1])).tolist() == [1, 0]
    assert actual.map_targets(np.array([0, 1, 2])).tolist() == [0, 1, 1]


def test_paraphrases_have_two_names() -> None:
    actual = map_labels(("not_duplicate", "duplicate"), ("not_equivalent", "equivalent"))
    assert (actual.of_model, actual.of_task) == ((0, 1), (0, 1))


def test_a_given_map_names_what_has_no_name() -> None:
    names = {"LABEL_0": "contradiction", "LABEL_1": "entailment", "LABEL_2": "neutral"}
    assert map_labels(list(names), NLI_LABELS, names).of_model == (2, 0, 1)
    assert map_labels(list(names), TWO_WAY_LABELS, names).of_model == (1, 0, 1)


def test_a_given_map_serves_both_sides() -> None:
    actual = map_labels(("good", "bad"), ("1", "2", "3"), {"3": "good", "1": "bad", "2": "bad"})
    assert actual.labels == ("bad", "good")
    assert (actual.of_model, actual.of_task) == ((1, 0), (0, 0, 1))
    swapped = map_labels(("0", "1"), ("0", "1"), {"0": "1", "1": "0"})
    assert (swapped.of_model, swapped.of_task) == ((1, 0), (0, 1))


@pytest.mark.parametrize(
    ("model", "task", "given", "message"),
    [
        (("negative", "positive"), NLI_LABELS, None, "no mapping is known from the model's labels (negat"),
        (("entailment", "neutral"), NLI_LABELS, None, "to the task's (entailment, neutral, contrad"),
        (("LABEL_0", "LABEL_1"), ("LABEL_0", "LABEL_1"), None, "no mapping is known"),
        (NLI_LABELS, TWO_WAY_LABELS, {"neutral": "entailment", "contradiction": "entailment"}, "no mapping"),
        (NLI_LABELS, TWO_WAY_LABELS, {"nothing": "entailment"}, "the label map names 'nothing', which"),
        (("a", "b"), ("c",), {"a": "c", "b": "c"}, "no mapping is known"),
    ],
)
def test_what_cannot_be_mapped_is_refused(
    model: tuple[str, ...], task: tuple[str, ...], given: dict[str, str] | None, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        map_labels(model, task, given)
    assert "\n" not in str(caught.value)
