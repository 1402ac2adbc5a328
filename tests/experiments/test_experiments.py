"""Statistics against scipy and by hand; run folders that are whole or absent."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from raft.data.tasks.task import Task
from raft.errors import InputError
from raft.experiments.comparison import ComparisonSettings, _rows, model_config
from raft.experiments.pretraining import PretrainingComparison, Variant, steps_to_loss
from raft.experiments.results import Results, Row
from raft.experiments.statistics import Difference, Paired, compare_paired, compare_seeds, compare_sequences
from raft.pretraining.run import PretrainingResult
from raft.pretraining.train import Pretrained
from raft.report.tables.pretraining import tabulate_losses
from raft.training.run_folder import run_folder


def results() -> Results:
    rows = [
        Row(
            "validation loss",
            "nats",
            5.25,
            5.0,
            difference=Difference(-0.25, -0.3, -0.2),
            lower_is_better=True,
        ),
        Row("word order", "Matthews", 10.0, 12.0, 1.0, 2.0, Difference(2.0, -1.0, 5.0), seeds=3),
    ]
    setup = {"steps": 100, "validation_sequences": 50}
    settings = {"train_examples": 100}
    history = {"faft": [(50, 6.0), (100, 5.25)], "raft": [(50, 5.9), (100, 5.0)]}
    return Results(rows, 6.5, settings, "raft demo --steps 100", setup, history, {})


def test_interval_over_seeds_is_students() -> None:
    raft, faft = [3.0, 5.0, 4.0, 8.0], [1.0, 4.0, 4.5, 5.0]
    actual = compare_seeds(raft, faft)
    difference = np.subtract(raft, faft)
    half = stats.t.ppf(0.975, 3) * difference.std(ddof=1) / 2
    assert (actual.mean, actual.low, actual.high) == pytest.approx(
        (difference.mean(), difference.mean() - half, difference.mean() + half)
    )
    assert compare_seeds([2.0, 3.0], [1.0, 2.0]) == Difference(1.0, 1.0, 1.0)


def test_interval_over_sequences_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        counts = random.integers(1, 10, size=150)
        difference = 0.3 * counts + random.normal(size=150)
        actual = compare_sequences(difference, np.zeros(150), counts)
        inside += actual.low <= 0.3 <= actual.high
    assert 180 <= inside <= 198


def test_interval_over_sequences_is_that_of_a_ratio() -> None:
    random = np.random.default_rng(3)
    counts = random.integers(1, 40, size=2000)
    faft = 2.5 * counts.astype(np.float64)
    raft = 0.8 * faft + random.normal(size=2000) * counts
    actual = compare_sequences(raft, faft, counts)
    # of all tokens alike, though short sequences have as large a mean as long ones
    mean = (raft - faft).sum() / counts.sum()
    assert actual.mean == pytest.approx(mean, rel=1e-12)
    # linearised, the ratio of two sums is nearly normal (Cochran 1977, Sampling Techniques, 6.4)
    error = np.sqrt(((raft - faft - mean * counts) ** 2).sum()) / counts.sum()
    low, high = mean + stats.norm.ppf([0.025, 0.975]) * error
    assert (actual.low, actual.high) == pytest.approx((low, high), abs=0.1 * error)


def test_the_headline_is_the_difference_of_the_losses_beside_it() -> None:
    counts = np.array([1, 30, 4])
    sums = {"faft": np.array([9.0, 60.0, 8.0]), "raft": np.array([1.0, 75.0, 8.0])}
    model: Any = None
    pretrained = {kind: Pretrained(model, sums[kind], counts, [], {}, 1.0) for kind in ("faft", "raft")}
    scores = {"cola": {"faft": [1.0, 3.0, 5.0], "raft": [2.0, 5.0, 8.0]}}
    task = Task("cola", "matthews", [], [])
    loss, perplexity, _, cola = _rows(pretrained, [task], scores)
    # 77 and 84 nats on 35 tokens; sequence by sequence the RAFT would be 2.5 nats ahead
    assert (loss.faft, loss.raft) == pytest.approx((77 / 35, 84 / 35))
    assert loss.difference is not None
    assert loss.difference.mean == pytest.approx(7 / 35)
    assert (perplexity.faft, perplexity.raft) == pytest.approx((np.exp(77 / 35), np.exp(84 / 35)))
    assert (cola.faft, cola.raft, cola.faft_std, cola.raft_std) == pytest.approx((3.0, 5.0, 2.0, 3.0))
    # 1, 2 and 3: a mean of 2, and Student's interval of three
    assert cola.difference is not None
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert (cola.difference.low, cola.difference.high) == pytest.approx((2 - half, 2 + half))


def test_files_say_the_same(tmp_path: Path) -> None:
    results().write(tmp_path)
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    table = pd.read_csv(tmp_path / "results.csv")
    assert table.raft.tolist() == [row["raft"] for row in rows] == [5.0, 12.0]
    assert table.difference_high.tolist() == [-0.2, 5.0]


def fail_half_way(out: Path) -> None:
    with run_folder(out, overwrite=False) as folder:
        (folder / "results.json").write_text("{}")
        raise RuntimeError("half-way")


def test_a_run_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way(out)
    assert not out.exists()
    assert list(out.parent.iterdir()) == []
    with run_folder(out, overwrite=False) as folder:
        (folder / "results.json").write_text("{}")
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["one"]
    with pytest.raises(InputError, match="holds another run; choose another --out, or give --overwrite"):
        run_folder(out, overwrite=False).__enter__()
    with run_folder(out, overwrite=True) as folder:
        (folder / "results.json").write_text("[]")
    assert (out / "results.json").read_text() == "[]"


def test_a_folder_of_other_things_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds no run; choose another --out"):
        run_folder(tmp_path, overwrite=True).__enter__()
    assert (tmp_path / "thesis.tex").exists()


def test_raft_and_baseline_differ_in_the_raf_block_alone() -> None:
    class Tokenizer:
        pad_token_id = 0

        def __len__(self) -> int:
            return 500

    settings = ComparisonSettings(degrees=[3, 2], version="B")
    faft, raft = (model_config(settings, kind, Tokenizer()).to_dict() for kind in ("faft", "raft"))  # type: ignore
    assert raft.pop("raf") == {"init": "gelu", "degrees": [3, 2], "version": "B"}
    assert faft.pop("raf") is None
    assert faft == raft


def test_the_command_repeats_the_settings() -> None:
    settings = ComparisonSettings(corpus="my texts", degrees=[3, 2], steps=500, minutes=3.0)
    assert settings.command() == "raft demo --corpus 'my texts' --steps 500 --degrees 3 2"


def test_paired_p_value_is_that_of_all_changes_of_signs() -> None:
    variant, baseline = [1.0, 2.0, 3.0, 4.0, 0.0, 2.5], [0.0, 0.0, 0.0, 0.0, 5.0, 2.5]
    actual = compare_paired(variant, baseline)
    difference = np.subtract(variant, baseline)
    signs = np.array(list(product((-1, 1), repeat=6)))
    sums = np.abs(signs @ difference)
    assert actual.p_value == pytest.approx((sums >= abs(difference.sum()) - 1e-12).mean())
    assert actual.mean == pytest.approx(difference.mean())
    assert (actual.wins, actual.ties, actual.losses) == (4, 1, 1)
    half = stats.t.ppf(0.975, 5) * difference.std(ddof=1) / np.sqrt(6)
    assert (actual.low, actual.high) == pytest.approx((actual.mean - half, actual.mean + half))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_paired_interval_covers_about_as_often_as_it_says(seeds: int) -> None:
    random = np.random.default_rng(2)
    inside = 0
    for _ in range(400):
        actual = compare_paired(random.normal(1.0, 2.0, size=seeds).tolist(), [0.0] * seeds)
        inside += actual.low <= 1.0 <= actual.high
    assert 0.92 < inside / 400 < 0.98


def test_paired_scores_that_do_not_vary_have_no_width() -> None:
    assert compare_paired([2.0, 3.0, 4.0], [1.0, 2.0, 3.0]) == Paired(1.0, 1.0, 1.0, 0.25, 3, 0, 0)
    assert compare_paired([2.0, 3.0], [2.0, 3.0]) == Paired(0.0, 0.0, 0.0, 1.0, 0, 2, 0)
    with pytest.raises(ValueError, match="at least two seeds are needed, not 1, 1"):
        compare_paired([1.0], [1.0])


def test_steps_to_a_loss_lie_between_evaluations() -> None:
    history = [(100, 1.0, 6.0), (200, 2.0, 5.0), (300, 3.0, 5.2), (400, 4.0, 4.0)]
    result = PretrainingResult("raf", 1, 400, 4.0, 6.5, 4.0, 1000, 10, history)
    assert steps_to_loss(result, 6.0) == 100
    assert steps_to_loss(result, 5.5) == 150
    assert steps_to_loss(result, 5.0) == 200
    assert steps_to_loss(result, 4.3) == pytest.approx(375)
    assert steps_to_loss(result, 3.9) is None


def test_accuracies_are_compared_by_seed() -> None:
    def run_of(name: str, seed: int, share: float) -> PretrainingResult:
        history = [(100, 1.0, 6.0)]
        result = PretrainingResult(name, seed, 100, 6.0, 6.5, 2.0, 1000, 10, history)
        return replace(result, accuracies={"blimp": share}, unigram_accuracies={"blimp": 0.52})

    variants = [
        Variant("gelu", [run_of("gelu", 1, 0.50), run_of("gelu", 2, 0.60)]),
        Variant("raf", [run_of("raf", 1, 0.53), run_of("raf", 2, 0.61)]),
    ]
    comparison = PretrainingComparison(variants, "raft pretrain", {})
    gelu, raf = comparison.rows()
    assert gelu["accuracy_differences"] == {}
    assert raf["accuracy_differences"]["blimp"] == compare_seeds([0.53, 0.61], [0.50, 0.60])
    table = tabulate_losses(comparison).cells
    assert list(table["blimp (%)"]) == ["55.0 ± 7.1", "57.0 ± 5.7", "52.0"]
    assert table["blimp less gelu [95 %]"][1].startswith("+2.0 [−10.7, +14.7]")


def test_a_variant_is_told_when_it_had_its_baselines_loss() -> None:
    def run_of(name: str, seed: int, last: float) -> PretrainingResult:
        history = [(100, 1.0, 6.0), (200, 2.0, last)]
        return PretrainingResult(name, seed, 200, last, 6.5, 2.0, 1000, 10, history)

    variants = [
        Variant("raf", [run_of("raf", 1, 4.0), run_of("raf", 2, 5.5)]),
        Variant("gelu", [run_of("gelu", 1, 5.0), run_of("gelu", 2, 5.0)]),
        Variant("raf:version=B", [run_of("raf:version=B", 1, 5.1), run_of("raf:version=B", 2, 5.2)]),
    ]
    raf, gelu, version_b = PretrainingComparison(variants, "raft pretrain", {}).rows()
    assert (raf["steps_to_baseline"], raf["reached_baseline"]) == (150, 1)
    assert raf["share_to_baseline"] == 0.75
    assert (gelu["steps_to_baseline"], gelu["reached_baseline"]) == (None, 0)
    assert (version_b["steps_to_baseline"], version_b["reached_baseline"]) == (None, 0)
