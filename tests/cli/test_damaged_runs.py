"""Folders of runs whose files are not what they were: one line, no traceback, nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file

from raft.cli.main import main
from raft.data.tasks.submission import write_submission
from tests.report import run_folders

MAKERS: dict[str, Callable[[Path], Path]] = {
    "demo": run_folders.demo, "comparison": run_folders.pretraining, "grid": run_folders.grid,
    "finetuning": run_folders.finetuning,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    actual = {name: make(folder / name) for name, make in MAKERS.items()}
    actual["pretraining"] = actual["comparison"] / "raf-2022"
    return actual


def names(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def line_of(status: int, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The only line of an error."""
    capsys.readouterr()
    assert main(words) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("raft: ")
    return line


def changed(**values: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), **values}).encode()


def without_a_result(content: bytes) -> bytes:
    comparison = json.loads(content)
    comparison["variants"].append(comparison["variants"][0] | {"activation": "relu"})
    comparison["variants"][-1]["results"] = comparison["variants"][-1]["results"][1:] or [
        {**comparison["variants"][0]["results"][0], "seed": 99}
    ]
    return json.dumps(comparison).encode()


DAMAGE: list[tuple[str, str, bytes | Callable[[bytes], bytes], str]] = [
    ("pretraining", "recipe.yaml", b"", "holds no recipe: it must be an object"),
    ("pretraining", "recipe.yaml", b"- a", "holds no recipe: it must be an object"),
    ("pretraining", "recipe.yaml", b"[" * 9999, "holds no recipe: it is nested too deeply"),
    ("pretraining", "recipe.yaml", b"\xff", "can't decode byte 0xff"),
    ("pretraining", "pretraining.json", b"", "holds no result of 'raft pretrain'"),
    ("pretraining", "pretraining.json", b"[" * 99999, "it is nested too deeply"),
    ("pretraining", "pretraining.json", changed(loss="x"), "loss must be a finite number, not 'x'"),
    ("pretraining", "pretraining.json", changed(loss=float("nan")), "must be a finite number, not nan"),
    ("pretraining", "pretraining.json", changed(steps=10**30), "steps must be a whole number"),
    ("pretraining", "pretraining.json", changed(history=[[1, 2.0]]), "history[0] must be 3 values"),
    ("pretraining", "inputs.json", b"[]", "holds no histograms of inputs"),
    ("pretraining", "rafs.safetensors", b"", "cannot read"),
    ("pretraining", "rafs.safetensors", b"\0" * 99, "cannot read"),
    ("comparison", "comparison.json", changed(variants=[]), "a variant has no results"),
    ("comparison", "comparison.json", without_a_result, "its variants have other seeds"),
    ("comparison", "comparison.json", changed(variants="x"), "variants must be a list, not 'x'"),
    ("comparison", "comparison.json", changed(setup=[]), "setup must be an object"),
    ("finetuning", "finetuning.json", b"{}", "it has no 'task'"),
    ("finetuning", "finetuning.json", changed(tests={}), "it has no tests"),
    ("finetuning", "finetuning.json", changed(tests={"MRPC": None}), "tests.MRPC must be a finite number"),
    ("finetuning", "finetuning.json", changed(seconds={}), "it has no seconds of 'all'"),
    ("finetuning", "recipe.yaml", b"3", "holds no recipe: it must be an object"),
    ("grid", "results.csv", b"", "cannot read"),
    ("grid", "results.csv", b"\xff\xfe", "cannot read"),
    ("grid", "results.csv", lambda content: content.replace(b"50.0", b"x"), "'points' is not of finite numb"),
    ("grid", "results.csv", lambda content: content.replace(b"50.0", b""), "'points' has gaps"),
    ("grid", "results.csv", lambda content: content.splitlines(True)[0], "has no rows"),
    ("grid", "results.csv", lambda content: content.replace(b"False", b"2"), "'constant' is not of true or"),
    ("grid", "raf-0/cell.json", b"[]", "holds no options of a cell: it must be an object"),
    ("demo", "results.json", changed(runs=3), "runs must be a list, not 3"),
    ("demo", "results.json", changed(runs=[]), "it has no network with 'GELU'"),
    ("demo", "rafs.safetensors", b"x", "cannot read"),
]


@pytest.mark.parametrize(
    ("kind", "name", "damage", "reason"), DAMAGE, ids=[f"{d[1]}-{number}" for number, d in enumerate(DAMAGE)]
)
def test_a_report_of_a_damaged_run_is_one_line(
    kind: str, name: str, damage: Any, reason: str, made: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "run"
    shutil.copytree(made[kind], folder)
    file = folder / name
    file.write_bytes(damage(file.read_bytes()) if callable(damage) else damage)
    before = names(folder)
    line = line_of(2, ["report", str(folder), "--out", str(folder / "page.html")], capsys)
    assert reason in line
    assert str(file) in line
    assert names(folder) - {str(folder / f"tables.{kind}") for kind in ("md", "tex")} <= before


@pytest.mark.parametrize(
    "arrays",
    [
        {"a.numerator": np.zeros((1, 2, 3, 4), np.float32), "a.denominator": np.zeros((1, 4), np.float32)},
        {"a.numerator": np.zeros((1, 2, 6), np.float32), "a.denominator": np.zeros((1, 3, 4), np.float32)},
        {"a.numerator": np.zeros((1, 1, 0), np.float32), "a.denominator": np.zeros((1, 4), np.float32)},
        {"a.numerator": np.zeros((1, 6), np.int64), "a.denominator": np.zeros((1, 4), np.float32)},
        {"a.numerator": np.zeros((1, 6), np.float32)},
    ],
    ids=["three dimensions", "groups", "empty", "whole numbers", "no denominator"],
)
def test_coefficients_of_wrong_shapes_are_one_line(
    arrays: dict[str, Any], made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made["finetuning"], folder)
    save_file({"steps": np.zeros(1, np.int64), **arrays}, folder / "rafs.safetensors")
    assert "RAF a" in line_of(2, ["report", str(folder)], capsys)


@pytest.mark.parametrize("kind", ["folder", "loop"])
def test_a_folder_or_a_loop_in_a_files_place_is_one_line(
    kind: str, made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made["pretraining"], folder)
    file = folder / "rafs.safetensors"
    file.unlink()
    if kind == "folder":
        file.mkdir()
    else:
        file.symlink_to(file.name)
    assert str(file) in line_of(2, ["report", str(folder)], capsys)


# ---- a full disk ----


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_report_on_a_full_disk_names_its_page(
    made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    line = line_of(1, ["report", str(made["demo"]), "--out", str(tmp_path / "page.html")], capsys)
    assert line == f"raft: {tmp_path}/page.html could not be written: the disk is full"
    assert not any(tmp_path.iterdir())


def test_a_submission_on_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match=r"RTE\.tsv could not be written: the disk is full"):
        write_submission(tmp_path, "RTE", np.array([0]), ("a",))
    assert not any(tmp_path.iterdir())


def test_a_converted_model_on_a_full_disk_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    line = line_of(1, ["convert", str(model), str(tmp_path / "out")], capsys)
    assert line == f"raft: {tmp_path}/out/model.safetensors could not be written: the disk is full"
    assert not any(tmp_path.iterdir())


# ---- models that would run code ----


class Payload:
    """What leaves a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def pickled(folder: Path, trace: Path) -> None:
    weights = {**load_file(folder / "model.safetensors"), "more": Payload(trace)}
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin", pickle_module=pickle)


def with_code(folder: Path, trace: Path) -> None:
    code = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoTokenizer": ["own.Tokenizer", None]}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": code}))
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')")


ON_RTE = "--data_dir GLUE --max_length 16"
READERS = [
    "inspect M",
    "convert M OUT",
    f"finetune --model M --output_dir OUT --task rte {ON_RTE}",
    f"grid --models M --output_dir OUT --tasks rte --activations keep --seeds 1 --sizes 20 {ON_RTE}",
    "transfer --model M --task rte --data_dir GLUE",
]


@pytest.mark.parametrize("words", READERS, ids=lambda words: words.split()[0])
@pytest.mark.parametrize(("change", "reason"), [(pickled, "could run code"), (with_code, "is not run")])
def test_a_model_that_would_run_code_is_not_read(
    change: Callable[[Path, Path], None], reason: str, words: str, model: Path, glue: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shutil.copytree(model, tmp_path / "model")
    change(tmp_path / "model", tmp_path / "trace")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the user was asked"))
    places = {"M": tmp_path / "model", "OUT": tmp_path / "out", "GLUE": glue}
    capsys.readouterr()
    assert main([str(places.get(word, word)) for word in words.split()]) in (1, 2)
    line = capsys.readouterr().err.splitlines()[-1]
    assert reason in line
    assert "weights_only" not in line
    assert "trust_remote_code" not in line
    assert not (tmp_path / "trace").exists()


# ---- names with a meaning elsewhere ----


def test_a_name_is_a_text_in_latex_and_markdown(made: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    shutil.copytree(made["grid"], folder)
    content = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(content.replace("rte", r"\input{/etc/passwd}^~#$%&_|`<b>"))
    assert main(["report", str(folder)]) == 0
    tex, markdown = ((folder / f"tables.{kind}").read_text() for kind in ("tex", "md"))
    assert r"\textbackslash{}input\{/etc/passwd\}\textasciicircum{}\textasciitilde{}\#\$\%\&\_" in tex
    assert r"\input" not in tex
    assert r"\\input{/etc/passwd}^~#$%&_\|\`&lt;b>" in markdown
