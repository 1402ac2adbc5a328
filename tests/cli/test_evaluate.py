"""``raft evaluate``: tables, files and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from raft.cli.main import main


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "zorro"
    folder.mkdir()
    (folder / "case-x.txt").write_text("anna sees the where\nanna sees the garden\n" * 2)
    (folder / "case-y.txt").write_text("where the is anna\nwhere is the friend\n")
    return folder


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words), "--task", "zorro"])


def test_models_are_compared_with_the_first(
    model: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    words = (model, other, "--data_dir", pairs, "--output_dir", tmp_path / "out")
    assert run(*words) == 0
    assert f"other − {model.name}" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    first, second = content["results"].values()
    assert first == second
    assert {name: score["items"] for name, score in first["paradigms"].items()} == {"case-x": 2, "case-y": 1}
    (difference,) = content["differences_to_the_first"].values()
    assert difference["overall"]["by_sum"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert "| case-y |" in (tmp_path / "out" / "evaluation.md").read_text()
    assert run(*words) == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert run(*words, "--overwrite") == 0


def test_bad_input_is_one_line(
    model: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(model, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    classifier = tmp_path / "classifier"
    shutil.copytree(model, classifier)
    config = json.loads((model / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (classifier / "config.json").write_text(json.dumps(config))
    for words, message in (
        ((bare, "--data_dir", pairs), "tokenizer"),
        ((classifier, "--data_dir", pairs), "is a BertForSequenceClassification, which is neither"),
        ((tmp_path / "none", "--data_dir", pairs), "the path does not exist"),
        ((model, "--data_dir", tmp_path / "none"), "the path does not exist"),
        ((model, f"{model}/", "--data_dir", pairs), "is given twice"),
        ((model, "--data_dir", pairs, "--dtype", "int8"), "--dtype must be one of"),
        ((model, "--data_dir", pairs, "--items", "0"), "--items must be at least 1"),
        ((), "the following arguments are required: MODEL"),
    ):
        assert run(*words) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
