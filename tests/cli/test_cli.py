"""The command line as a user types it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForMaskedLM

import raft
from raft.cli.main import COMMANDS, main


def story(seed: int) -> str:
    names, verbs = ["Anna", "Boris", "Clara", "David", "Emma"], ["sees", "likes", "meets", "calls", "helps"]
    places = ["garden", "harbour", "library", "market", "station"]
    sentences = []
    for i in range(14):
        a, b, c = (seed * 7 + i * 3) % 5, (seed * 3 + i) % 5, (seed + i * 2) % 5
        sentences.append(f"On day {seed * 14 + i} {names[a]} {verbs[b]} a friend in the old {places[c]}.")
    return " ".join(sentences)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for split, seeds in (("train", range(200)), ("validation", range(200, 260))):
        lines = "\n".join(json.dumps({"text": story(seed)}) for seed in seeds)
        (folder / f"{split}.jsonl").write_text(lines)
    return folder


SMALL = [
    "--steps",
    "40",
    "--seeds",
    "2",
    "--hidden_size",
    "32",
    "--vocab_size",
    "300",
    "--finetune_epochs",
    "2",
]


def test_demo_from_text_to_report(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["demo", "--corpus", str(corpus), "--out", str(out), *SMALL]
    assert main([*words, "--degrees", "3", "2"]) == 0
    assert "validation loss" in capsys.readouterr().out
    files = {path.name for path in out.iterdir()}
    assert files == {
        "results.json", "results.csv", "table.md", "rafs.safetensors", "activations.png", "activations.svg",
        "losses.png", "losses.svg", "report.html", "raft", "faft", "inputs.json",
    }  # fmt: skip
    results = json.loads((out / "results.json").read_text())
    rows = {row["measure"]: row for row in results["rows"]}
    assert pd.read_csv(out / "results.csv").measure.tolist() == list(rows)
    assert {"validation loss", "perplexity", "word order", "next sentence"} <= set(rows)
    for task, scores in results["scores"].items():
        assert rows[task]["raft"] == pytest.approx(sum(scores["raft"]) / 2)
        difference = sum(scores["raft"]) / 2 - sum(scores["faft"]) / 2
        assert rows[task]["difference"]["mean"] == pytest.approx(difference)
    # the page is that of 'raft report', and of no other folder than where the run ends up
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    (tmp_path / "page.html").unlink()
    assert (out / "report.html").read_text() == page
    assert "<span>run</span> A RAFT beside its FAFT" in page
    assert '"density":{' in page
    learned = raft.hf.rationals(AutoModelForMaskedLM.from_pretrained(out / "raft"))
    with safe_open(out / "rafs.safetensors", "pt") as file:
        for site, act in learned.items():
            assert act.degrees == (3, 2)
            assert (file.get_tensor(f"{site}.numerator") == act.numerator).all()
    assert raft.hf.rationals(AutoModelForMaskedLM.from_pretrained(out / "faft")) == {}
    assert [path for path in tmp_path.iterdir() if path != out] == []

    before = (out / "results.json").read_text()
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith("holds another run; choose another --out, or give --overwrite")
    assert (out / "results.json").read_text() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--stepz", "3"],
            "unknown option '--stepz'; the nearest is '--steps'; 'raft demo --help' lists",
        ),
        (["--steps", "many"], "argument --steps: invalid int value: 'many'"),
        (["--version", "Z"], "version must be one of A, B, C, D, N, not 'Z'"),
        (["--activation", "gelo"], "unknown activation 'gelo'; known are gelu"),
        (["--degrees", "5", "40"], "degrees must be two integers from 0 to 12, not (5, 40)"),
        (["--degrees", "5"], "degrees must be two integers from 0 to 12"),
        (["--corpus", "./nowhere"], "no corpus at ./nowhere: the path does not exist"),
        (["--glue_dir", "./nowhere"], "no GLUE file nowhere/CoLA/train.tsv"),
        (["--seeds", "1"], "--seeds must be from 2 to 10, not 1"),
        (["--raf_learning_rate", "-1"], "--raf_learning_rate must be at least 0, not -1.0"),
        (["--finetune_raf_learning_rate", "nan"], "--finetune_raf_learning_rate must be finite, not nan"),
        (["--minutes", "0"], "--minutes must be above 0, not 0.0"),
        (["--sequence_length", "3"], "--sequence_length must be at least 8, not 3"),
        (["--hidden_size", "100"], "--hidden_size must be a multiple of 32"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_full_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fill(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    monkeypatch.setattr("raft.cli.commands.bench.main", fill)
    assert main(["bench", "step"]) == 1
    assert capsys.readouterr().err == "raft: CUDA out of memory: smaller batches need less memory\n"


def test_a_corpus_too_small_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny").mkdir()
    for name in ("train", "validation"):
        (tmp_path / "tiny" / f"{name}.txt").write_text(story(1))
    assert main(["demo", "--corpus", str(tmp_path / "tiny"), "--out", str(tmp_path / "out")]) == 2
    assert "use a larger corpus" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("words", [[name] for name in COMMANDS] + [["bench", "pretraining"]])
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):  # of argparse
        assert main([*words, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "usage: raft" in printed
    assert "%%" not in printed


def test_help_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "demo" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"raft {raft.__version__}"
    assert main(["dmeo"]) == 2
    assert "unknown command 'dmeo'; known are demo, pretrain" in capsys.readouterr().err
    assert main(["demo", "--help"]) == 0
    assert "--raf_learning_rate" in capsys.readouterr().out
