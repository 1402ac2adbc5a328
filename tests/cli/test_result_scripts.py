"""What is kept of a run and of a grid, made again from there, and timed beside a plain script."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForMaskedLM

from raft.cli.main import main
from raft.errors import InputError
from raft.experiments.grid_rafs import read_grid_rafs
from raft.experiments.pretraining import PretrainingComparison, Variant
from raft.models import RaftBertConfig, RaftBertForMaskedLM
from raft.pretraining.run import RESULT, PretrainingResult
from tests.stored_scripts import load_script, needs_results

WORDS = [
    "grid", "--tasks", "rte", "--activations", "keep", "raf", "--sizes", "24", "--seeds", "2",
    "--num_train_epochs", "1", "--max_length", "24", "--per_device_train_batch_size", "8",
    "--learning_rate", "1e-3", "--disable_tqdm", "true",
]  # fmt: skip


def run(name: str, *words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *words])
    load_script(name).main()


def test_a_model_is_kept_at_half_its_size_with_its_rafs_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RaftBertConfig(
        vocab_size=1024,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    model, place = RaftBertForMaskedLM(config), tmp_path / "texts"
    model.save_pretrained(tmp_path / "run" / "raf-1")
    (tmp_path / "run" / "raf-1" / "checkpoint-1").mkdir()
    (tmp_path / "run" / "table.md").write_text(f"of {place}")
    shutil.copytree(tmp_path / "run" / "raf-1", tmp_path / "run" / "other-1")
    kept = tmp_path / "kept"
    words = [tmp_path / "run", kept, "--bf16", "--places", place, "--without", "other-*/model.safetensors"]
    run("keep_run", *map(str, words), monkeypatch=monkeypatch)
    assert (kept / "other-1" / "config.json").is_file()
    assert not (kept / "other-1" / "model.safetensors").exists()
    assert (kept / "table.md").read_text() == "of texts"
    assert [file.name for file in kept.glob("raf-1/checkpoint*")] == []
    sizes = [(folder / "raf-1" / "model.safetensors").stat().st_size for folder in (kept, tmp_path / "run")]
    assert sizes[0] < 0.6 * sizes[1]
    again = dict(AutoModelForMaskedLM.from_pretrained(kept / "raf-1").named_parameters())
    for name, value in model.named_parameters():
        is_matrix = value.ndim == 2 and name.endswith(".weight")
        expected = value.to(torch.bfloat16).float() if is_matrix else value
        assert torch.equal(again[name], expected), name


def test_keeping_removes_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_folder = tmp_path / "runs" / "one"
    (run_folder / "checkpoint-5").mkdir(parents=True)
    for words in ([run_folder, run_folder], [run_folder, tmp_path / "runs"], [tmp_path, run_folder]):
        with pytest.raises(SystemExit, match="hold each other"):
            run("keep_run", *map(str, words), monkeypatch=monkeypatch)
    (tmp_path / "kept").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "draw.py").touch()
    with pytest.raises(SystemExit, match=r"holds draw\.py, which would be lost"):
        run("keep_run", str(run_folder), str(tmp_path / "scripts"), monkeypatch=monkeypatch)
    with pytest.raises(SystemExit, match="the run comes first"):
        run("keep_run", str(tmp_path / "kept"), str(run_folder), monkeypatch=monkeypatch)
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "results.csv").write_text("task\n")
    with pytest.raises((SystemExit, InputError)):
        run("keep_grid", str(tmp_path / "grid"), str(run_folder), monkeypatch=monkeypatch)
    assert (run_folder / "checkpoint-5").is_dir()


def test_differences_of_two_variants_are_of_the_same_steps_and_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def variant(name: str, losses: dict[int, list[float]]) -> Variant:
        results = []
        for seed, (first, last) in losses.items():
            history = [(10, 0.5, first), (20, 1.0, last)]
            results.append(PretrainingResult(name, seed, 20, last, 6.5, 1.0, 640, 99, history))
        return Variant(name, results)

    ours = variant("raf", {1: [4.0, 3.0], 2: [4.0, 3.0]})
    theirs = variant("raf:raf_learning_rate=0", {1: [4.5, 2.0], 2: [4.5, 2.5]})
    PretrainingComparison([ours, theirs], "raft pretrain", {}).write(tmp_path)
    words = [str(tmp_path), "raf", theirs.activation, "--every", "10"]
    run("tabulate_differences", *words, monkeypatch=monkeypatch)
    rows = (tmp_path / "differences.md").read_text().splitlines()[2:]
    assert rows[0] == "| 10 | −0.500 | −0.500 | −0.500 |"
    assert rows[1] == "| 20 | +1.000 | +0.500 | +0.750 [−2.427, +3.927] |"  # 0.25 × 12.706
    with pytest.raises(SystemExit):
        run("tabulate_differences", str(tmp_path), "gelu", *words[2:], monkeypatch=monkeypatch)
    assert "has no variant 'gelu', but raf, raf:raf_learning_rate=0" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_kept_of_a_grid_is_enough_to_repeat_a_cell(
    glue: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    grid, kept = tmp_path / "grid", tmp_path / "kept"
    places = ["--data_dir", str(glue)]
    assert main([*WORDS, "--models", str(model), *places, "--output_dir", str(grid)]) == 0
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert not (grid / "search.csv").exists()
    (grid / "search.csv").write_text("task\n", encoding="utf-8")  # where rates are searched
    run(
        "keep_grid",
        str(grid),
        str(kept),
        "--models",
        "someone/model",
        "--seeds",
        "1",
        monkeypatch=monkeypatch,
    )
    for name in ("tables.md", "search.csv"):
        assert (kept / name).read_bytes() == (grid / name).read_bytes()
    assert str(tmp_path) not in (kept / "recipe.yaml").read_text()
    # RAFs of one seed; the FAFT has none
    (cell,) = read_grid_rafs(kept)
    assert cell.options["activation"] == "raf"
    again = [str(kept), "--count", "2", "--model", str(model), *places]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run("rerun_cells", *again, monkeypatch=monkeypatch)
    assert ended.value.code == 0, capsys.readouterr().out
    # a score that does not come again is told
    results = pd.read_csv(kept / "results.csv").assign(points=-1.0)
    results.to_csv(kept / "results.csv", index=False)
    with pytest.raises(SystemExit) as ended:
        run("rerun_cells", *again[:2], "1", *again[3:], monkeypatch=monkeypatch)
    assert ended.value.code == 1
    assert "-1.0 published" in capsys.readouterr().out


@pytest.mark.slow
@needs_results
def test_grids_are_timed_beside_a_plain_script(
    glue: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script("measure_grid_time")
    monkeypatch.setitem(script.ARGUMENTS, "num_train_epochs", 1)
    monkeypatch.setattr(
        sys, "argv",
        ["measure_grid_time", "--model", str(model), "--data_dir", str(glue), "--tasks", "rte",
         "--seeds", "1", "--rounds", "1", "--examples", "24", "--max_length", "24",
         "--out", str(tmp_path / "out")],
    )  # fmt: skip
    script.main()
    actual = pd.read_csv(tmp_path / "out" / "results.csv")
    assert actual.way.tolist() == ["transformers.Trainer", "raft grid, FAFT", "raft grid, RAFT"]
    assert (actual.seconds > 0).all()
    assert actual.ratio_value.tolist() == pytest.approx((actual.seconds / actual.seconds[0]).tolist())


@needs_results
def test_a_designed_experiment_finds_the_effects_of_single_factors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = load_script("design")
    columns = list(zip(*design.L18, strict=True))
    for a, b in combinations(columns, 2):
        assert len(set(Counter(zip(a, b, strict=True)).values())) == 1
    monkeypatch.setattr(design, "LOSSES", tmp_path / "losses.csv")
    of_decay, of_rate = {"1": 0.0, "2": 0.03}, {"1": -0.02, "2": 0.0, "3": 0.02}
    rows = [*(None for _ in design.CONTROLS), *design.L18]
    for model, seeds in {"masked": (1, 2), "causal": (1,)}.items():
        for name, row in zip(design.variants(), rows, strict=True):
            planted = 0.0 if row is None else of_decay[row[0]] + of_rate[row[6]]
            for seed in seeds:
                result = PretrainingResult(name, seed, 9, 4.0 + 0.1 * seed + planted, 6.0, 1.0, 9, 9, [])
                folder = tmp_path / model / f"{design.folder_of(name)}-{seed}"
                folder.mkdir(parents=True)
                (folder / RESULT).write_text(json.dumps(asdict(result)))
        design.keep(model, tmp_path / model)
    monkeypatch.setattr(sys, "argv", ["design", "effects"])
    design.main()
    table = (tmp_path / "effects.md").read_text()
    assert "| raf_weight_decay | 0.1 | +0.015 ± 0.000 | +0.015 ± 0.000 |" in table
    assert "| raf_learning_rate | 5e-4 | −0.020 ± 0.000 | −0.020 ± 0.000 |" in table
    assert "| raf_sites | ffn | 0.000 ± 0.000 | 0.000 ± 0.000 |" in table
    assert "| minus gelu | all eighteen | +0.015 | +0.015 |" in table
    assert "| minus gelu | the lowest of the eighteen | −0.020 | −0.020 |" in table


@pytest.mark.slow
@needs_results
@pytest.mark.parametrize("objective", ["mlm", "clm"])
def test_pretraining_is_timed_beside_a_plain_trainer(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join(f"The fox number {i} jumps over the lazy dog." for i in range(400)))
    words = ["--seconds", "0", "--objective", objective, "--width", "16", "--batch_size", "4"]
    words += ["--sequence_length", "16", "--vocab_size", "300"]
    run("measure_pretraining", str(texts), str(tmp_path / "out"), *words, monkeypatch=monkeypatch)
    rows = pd.read_csv(tmp_path / "out" / "results.csv")
    assert rows.way.to_list() == ["transformers.Trainer", "raft, FAFT", "raft, RAFT"]
    assert rows.ratio_value[0] == 1.0
    assert (rows.tokens_per_second > 0).all()


@pytest.mark.slow
@needs_results
def test_a_fine_tuning_is_timed_beside_a_plain_trainer(
    glue: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--data_dir", str(glue), "--task", "rte", "--train_examples", "10", "--epochs", "1"]
    out = tmp_path / "out"
    run("measure_finetuning", str(model), str(out), *words, "--rounds", "2", monkeypatch=monkeypatch)
    rows = pd.read_csv(out / "results.csv")
    assert rows.way.to_list() == ["transformers.Trainer", "raft, FAFT", "raft, RAFT"]
    assert rows.rounds.to_list() == [2, 2, 2]
    assert rows.points.between(0, 100).all()
    assert rows.ratio_value[0] == 1.0
