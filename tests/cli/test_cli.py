"""The command line as a user types it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import raft
from raft.cli.main import COMMANDS, main
from raft.experiments.modular_addition import GELU, LEARNED, SumComparison


def test_demo_from_nothing_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["demo", "--out", str(out), "--seeds", "2", "--max_steps", "300"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "With GELU 0 of 2 networks learn to add" in printed
    assert re.search(r"its\s+shape,\s+2\s+of\s+2,\s+after\s+\d+\s+steps", printed)
    files = {path.name for path in out.iterdir()}
    assert files == {
        "results.json", "table.md", "rafs.safetensors", "inputs.json", "functions.json", "accuracies.png",
        "report.html",
    }  # fmt: skip
    runs = {(run.activation, run.seed): run for run in SumComparison.read(out).runs}
    assert {seed for _, seed in runs} == {1, 2}
    assert all(runs[LEARNED, seed].steps and runs[GELU, seed].steps is None for seed in (1, 2))
    # the page is that of 'raft report', and of no other folder than where the run ends up
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    (tmp_path / "page.html").unlink()
    assert (out / "report.html").read_text() == page
    assert "<span>run</span> Which activation learns to add?" in page
    assert '"density":{' in page
    # the function is the one of the last snapshot, and another model starts with it
    act = raft.Rational(raft.functions.load_functions(out / "functions.json")["ffn"])
    with safe_open(out / "rafs.safetensors", "pt") as file:
        last = file.get_tensor("activation.numerator")[-1, 0]
    assert act(torch.zeros(1)).item() == pytest.approx(last[0].item(), abs=0.02)
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
            ["--max_stepz", "3"],
            "unknown option '--max_stepz'; the nearest is '--max_steps'; 'raft demo --help' lists",
        ),
        (["--output_dir", "x"], "unknown option '--output_dir'; the nearest is '--out'"),
        (["--max_steps", "many"], "invalid int value: 'many'"),
        (["--max_steps", "0"], "--max_steps must be at least 1, not 0"),
        (["--seeds", "-1"], "--seeds must be at least 1, not -1"),
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


@pytest.mark.parametrize("words", [[name] for name in COMMANDS] + [["bench", "step"]])
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
    assert "--max_steps" in capsys.readouterr().out
