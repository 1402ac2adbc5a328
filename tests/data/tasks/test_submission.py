"""Files for the GLUE server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raft.data.tasks.submission import FILES, write_submission
from raft.errors import InputError


@pytest.mark.parametrize(
    ("file", "predictions", "words"),
    [
        ("CoLA", [0, 1], ["0", "1"]),
        ("SST-2", [1, 0], ["1", "0"]),
        ("MRPC", [1, 0], ["1", "0"]),
        ("QQP", [0, 1], ["0", "1"]),
        ("STS-B", [-0.5, 2.5, 5.25, 1 / 3], ["0.00000", "2.50000", "5.00000", "0.33333"]),
        ("MNLI-m", [0, 1, 2], ["entailment", "neutral", "contradiction"]),
        ("MNLI-mm", [2, 0], ["contradiction", "entailment"]),
        ("QNLI", [0, 1], ["entailment", "not_entailment"]),
        ("RTE", [1, 0], ["not_entailment", "entailment"]),
        ("WNLI", [1, 0], ["1", "0"]),
    ],
)
def test_each_task_as_the_server_takes_it(
    file: str, predictions: list[Any], words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "sent" / f"{file}.tsv"
    write_submission(path.parent, file, np.array(predictions), FILES[file].labels)
    lines = path.read_bytes().decode().split("\n")
    assert lines == ["index\tprediction", *(f"{i}\t{word}" for i, word in enumerate(words)), ""]
    assert list(path.parent.iterdir()) == [path]


def test_the_files_are_the_servers() -> None:
    assert sorted(FILES) == sorted(
        ["CoLA", "MNLI-m", "MNLI-mm", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B", "WNLI"]
    )


@pytest.mark.parametrize(
    ("predictions", "labels", "words"),
    [
        ([1, 0], ("bad", "good"), ["good", "bad"]),
        ([-0.5, 7.25], None, ["-0.50000", "7.25000"]),
    ],
)
def test_data_of_ones_own_keep_their_classes_and_scores(
    predictions: list[Any], labels: tuple[str, ...] | None, words: list[str], tmp_path: Path
) -> None:
    write_submission(tmp_path, "test", np.array(predictions), labels)
    lines = (tmp_path / "test.tsv").read_text().splitlines()
    assert lines == ["index\tprediction", *(f"{i}\t{word}" for i, word in enumerate(words))]


def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="STS-B: predictions that are not finite cannot be sent"):
        write_submission(tmp_path, "STS-B", np.array([1.0, float("nan")]), None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: File exists"):
        write_submission(tmp_path / "file", "CoLA", np.array([0]), FILES["CoLA"].labels)
