"""Labelled examples: GLUE files, tasks made from text, draws and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raft.data.glue import load_glue
from raft.data.sentence_tasks import sentence_tasks
from raft.data.subsets import draw
from raft.data.tasks import Example, score
from raft.errors import InputError

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
        InputError, match=r"no GLUE file .*CoLA.train.tsv; --glue_dir must hold CoLA/train.tsv"
    ):
        load_glue(tmp_path, "cola")


def test_sentence_tasks_are_balanced_and_share_no_text_between_pool_and_test() -> None:
    first, second = sentence_tasks(DOCUMENTS, needed=50), sentence_tasks(DOCUMENTS, needed=50)
    assert first == second
    for task in first:
        for part in (task.train, task.test):
            assert sum(example.label for example in part) * 2 == len(part)
        words = [{tuple(sorted(e.first.split())) for e in part} for part in (task.train, task.test)]
        assert not words[0] & words[1]
    order, following = first
    written = {s + "." for d in DOCUMENTS for s in d.rstrip(".").split(". ")}
    assert all((e.first in written) == bool(e.label) for e in order.train)
    text = " ".join(DOCUMENTS)
    assert all((f"{e.first} {e.second}" in text) == bool(e.label) for e in following.train)


def test_too_little_text_is_refused() -> None:
    with pytest.raises(InputError, match="too few to draw 100 from; use a larger corpus"):
        sentence_tasks(DOCUMENTS[:4], needed=100)


def test_draws_depend_on_the_seed_and_leave_a_quarter_alone() -> None:
    pool = [Example(str(i), None, i % 2) for i in range(400)]
    one, again, other = (draw(pool, 100, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert len(set(one)) == 100
    reachable = {e for seed in range(200) for e in draw(pool, 100, seed)}
    assert len(reachable) == 300
    with pytest.raises(InputError, match="301 training examples are asked for, but the task has 300"):
        draw(pool, 301, 0)


def test_scores_by_hand() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    found = np.array([1, 1, 0, 1, 0, 0, 0, 0])  # 2 true and 1 false positives, 4 true and 1 false negatives
    assert score("accuracy", found, labels) == pytest.approx(75.0)
    assert score("accuracy_and_f1", found, labels) == pytest.approx(100 * (0.75 + 2 / 3) / 2)
    assert score("matthews", found, labels) == pytest.approx(100 * (2 * 4 - 1) / np.sqrt(3 * 3 * 5 * 5))
    assert score("matthews", np.ones(8, dtype=np.int64), labels) == 0.0
