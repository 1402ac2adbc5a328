"""What ``results/`` keeps of pretrainings is enough for their page, and has no models but those asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raft.experiments.pretraining import PretrainingComparison
from raft.report.page.page import render_page
from raft.report.page.pretraining_section import build_pretraining_section
from tests.report import run_folders
from tests.stored_scripts import load_script

MODEL = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
CARD = {"README.md", "curves.png", "activations.png", "text.json"}
LOG = {"recipe.yaml", "metrics.jsonl"}
RAFS = {"rafs.safetensors", "inputs.json"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def keep(*words: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["keep_run", *map(str, words)])
    load_script("keep_run").main()


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    folder = run_folders.pretraining(tmp_path / "a" / "pretrained")
    for run in folder.glob("*-20??"):
        for name in MODEL | CARD | {"metrics.jsonl"}:
            (run / name).touch()
    (folder / "curves.png").touch()
    return folder


def test_a_comparison_is_kept_without_what_its_page_does_not_need(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "b" / "pretrained"
    chosen = ("--models", "gelu-20?2", "--with", "raf-2022/activations.png")
    keep(comparison, kept, *chosen, monkeypatch=monkeypatch)
    assert names(kept) == names(comparison)
    assert names(kept / "raf-2022") == {"recipe.yaml", "activations.png"} | RAFS
    assert names(kept / "raf-2023") == {"recipe.yaml"} | RAFS
    assert names(kept / "gelu-2022") == LOG | MODEL | {"pretraining.json"}
    assert names(kept / "gelu-2023") == {"recipe.yaml"}
    pages = [
        render_page([build_pretraining_section(folder, PretrainingComparison.read(folder))])
        for folder in (comparison, kept)
    ]
    assert pages[0] == pages[1]


def test_a_run_of_its_own_keeps_its_result(
    comparison: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (comparison / "comparison.json").unlink()
    keep(comparison, tmp_path / "kept", monkeypatch=monkeypatch)
    assert names(tmp_path / "kept" / "raf-2022") == LOG | RAFS | {"pretraining.json"}


def test_results_that_lack_models_are_told(comparison: Path) -> None:
    lacks_models = load_script("make_results").lacks_models
    assert not lacks_models(comparison)
    (comparison / "gelu-2023" / "model.safetensors").unlink()
    assert lacks_models(comparison)
    assert not lacks_models(comparison / "gelu-2023")  # no comparison: nothing begins from its models
