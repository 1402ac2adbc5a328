"""Labelled examples: GLUE files, tasks made from text, draws and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from raft.data.tasks.glue import load_glue
from raft.data.tasks.sampling import sample_split
from raft.data.tasks.task import Example, Task, evaluate
from raft.errors import InputError, TrainingError

DOCUMENTS = [
    " ".join(f"In place {i} and {j} lives number {i * 100 + j} of them all." for j in range(12))
    for i in range(40)
]


def test_glue_of_the_official_size_and_labels(shared_data: Path) -> None:
    sizes = {"cola": (8551, 1043), "mrpc": (3668, 408), "rte": (2490, 277)}
    for name, (train, test) in sizes.items():
        task = load_glue(shared_data / "glue", name)
        assert (len(task.train), len(task.test)) == (train, test)
        assert {example.label for example in task.train} == {0, 1}
        assert all((example.second is None) == (name == "cola") for example in task.test)


def write_rte(folder: Path, row: str) -> Path:
    (folder / "RTE").mkdir()
    lines = 'index\tsentence1\tsentence2\tlabel\n0\tHe said "no.\tHe spoke.\tentailment\n' + row
    for name in ("train.tsv", "dev.tsv"):
        (folder / "RTE" / name).write_text(lines)
    return folder


def test_quotation_marks_are_text(tmp_path: Path) -> None:
    task = load_glue(write_rte(tmp_path, '1\tSo "it is.\tYes.\tnot_entailment\n'), "rte")
    assert list(task.train) == [
        Example('He said "no.', "He spoke.", 0),
        Example('So "it is.', "Yes.", 1),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1\tonly two\n", "train.tsv, line 3: 2 columns where 4 are expected"),
        ("1\ta\tb\tmaybe\n", "train.tsv, line 3: label 'maybe' is none of entailment, not_entailment"),
    ],
)
def test_a_broken_row_is_named(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_glue(write_rte(tmp_path, row), "rte")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no GLUE file .*CoLA.train.tsv; --data_dir must hold CoLA/train.tsv"
    ):
        load_glue(tmp_path, "cola")


def test_draws_depend_on_the_seed_and_leave_a_quarter_alone() -> None:
    pool = [Example(str(i), None, i % 2) for i in range(400)]
    task = Task("some", "accuracy", pool, pool[:1])
    one, again, other = (sample_split(task, seed, 100).train for seed in (1, 1, 2))
    assert one == again != other
    assert len(set(one)) == 100
    reachable = {e for seed in range(200) for e in sample_split(task, seed, 100).train}
    assert len(reachable) == 300
    with pytest.raises(InputError, match="301 training examples are asked for, but the task has 300"):
        sample_split(task, 0, 301)


def test_scores_by_hand() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    actual = np.array([1, 1, 0, 1, 0, 0, 0, 0])  # 2 true and 1 false positives, 4 true and 1 false negatives
    assert evaluate("accuracy", actual, labels).points == pytest.approx(75.0)
    assert evaluate("accuracy_and_f1", actual, labels).points == pytest.approx(100 * (0.75 + 2 / 3) / 2)
    assert evaluate("matthews", actual, labels).points == pytest.approx(
        100 * (2 * 4 - 1) / np.sqrt(3 * 3 * 5 * 5)
    )
    assert evaluate("matthews", np.ones(8, dtype=np.int64), labels).points == 0.0


def test_parts_of_a_score_are_kept() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    actual = evaluate("accuracy_and_f1", np.array([1, 1, 0, 1, 0, 0, 0, 0]), labels)
    assert actual.parts == pytest.approx({"accuracy": 75.0, "f1": 200 / 3})
    assert actual.points == pytest.approx((75.0 + 200 / 3) / 2)
    assert not actual.constant


def test_what_a_single_class_gets_at_most() -> None:
    said = np.array([0, 1, 2, 1, 0])
    assert evaluate("accuracy", said, np.array([0, 1, 2, 2, 1])).single_class == pytest.approx(40.0)
    labels = np.array([1, 0, 0, 0, 0])  # of 1 alone, 20 % are right and F1 is 1/3; of 0 alone, 80 % and 0
    assert evaluate("accuracy_and_f1", said % 2, labels).single_class == pytest.approx(40.0)
    labels = np.array([1, 1, 1, 1, 0])
    assert evaluate("accuracy_and_f1", said % 2, labels).single_class == pytest.approx(50 * (0.8 + 8 / 9))
    assert evaluate("matthews", said % 2, labels).single_class == 0.0
    assert evaluate("pearson_and_spearman", said / 2, labels / 2).single_class == 0.0


def test_accuracy_of_three_classes() -> None:
    labels = np.array([0, 1, 2, 2, 1])
    assert evaluate("accuracy", np.array([0, 1, 2, 1, 0]), labels).points == pytest.approx(60.0)
    assert evaluate("accuracy", np.array([0, 0, 0, 0, 0]), labels).points == pytest.approx(20.0)
    assert evaluate("accuracy", np.array([2, 2, 2, 2, 2]), np.zeros(5, dtype=np.int64)).points == 0.0


pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=60)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_matthews_is_the_correlation_of_two_classes(rows: list[tuple[int, int]]) -> None:
    actual, wanted = np.array(rows).T % 2
    constant = len(set(actual)) == 1 or len(set(wanted)) == 1
    expected = 0.0 if constant else 100 * scipy.stats.pearsonr(actual, wanted).statistic
    assert evaluate("matthews", actual, wanted).points == pytest.approx(expected, abs=1e-4)


levels = st.integers(0, 20).map(lambda level: level / 4)


@given(st.lists(st.tuples(levels, levels), min_size=3, max_size=60))
@settings(max_examples=60, deadline=None)
def test_correlations_are_scipys(rows: list[tuple[float, float]]) -> None:
    actual, wanted = np.array(rows).T
    result = evaluate("pearson_and_spearman", actual, wanted)
    if len(set(actual)) > 1 and len(set(wanted)) > 1:
        pearson = 100 * scipy.stats.pearsonr(actual, wanted).statistic
        spearman = 100 * scipy.stats.spearmanr(actual, wanted).statistic
        assert result.parts == pytest.approx({"pearson": pearson, "spearman": spearman}, abs=1e-9)
        assert result.points == pytest.approx((pearson + spearman) / 2, abs=1e-9)
    else:
        assert result.points == 0.0
    assert result.constant == (len(set(actual)) == 1)


def test_rank_correlation_of_many_ties() -> None:
    random = np.random.default_rng(0)
    wanted = np.round(random.normal(size=300_000))
    actual = np.round(wanted + random.normal(size=300_000))
    result = evaluate("pearson_and_spearman", actual.astype(np.float32), wanted)
    assert result.parts["spearman"] == pytest.approx(100 * scipy.stats.spearmanr(actual, wanted).statistic)


def test_a_constant_prediction_is_flagged() -> None:
    wanted = np.array([0.0, 2.5, 5.0])
    result = evaluate("pearson_and_spearman", np.full(3, 2.5, dtype=np.float32), wanted)
    assert (result.points, result.constant) == (0.0, True)
    result = evaluate("accuracy", np.array([1, 1, 1]), np.array([1, 1, 0]))
    assert result.points == pytest.approx(200 / 3)
    assert result.constant


def test_predictions_that_are_not_finite_are_refused() -> None:
    with pytest.raises(TrainingError, match="2 of 3 predicted scores are not finite"):
        evaluate("pearson_and_spearman", np.array([1.0, np.nan, np.inf]), np.array([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("metric", "labels", "message"),
    [
        (
            "pearson_and_spearman",
            ("a", "b"),
            "t is a classification, which pearson_and_spearman does not score",
        ),
        ("accuracy", None, "t is a regression, which accuracy does not score"),
        ("accuracy_and_f1", ("a", "b", "c"), "t has 3 classes, but F1 is of two"),
        ("bleu", ("a", "b"), "unknown metric 'bleu'; known are accuracy, matthews"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(
    metric: Any, labels: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Task("t", metric, [], [], labels)


def test_a_task_names_all_that_is_scored() -> None:
    one, other = [Example("a", None, 0)], [Example("b", None, 1)]
    task = Task("MNLI", "accuracy", [], one, further_tests={"MNLI-mm": other})
    assert list(task.tests.items()) == [("MNLI", one), ("MNLI-mm", other)]
