"""Statistics against scipy and by hand; run folders that are whole or absent."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from raft.errors import InputError
from raft.experiments.pretraining import PretrainingComparison, Variant, steps_to_loss
from raft.experiments.statistics import Difference, Paired, compare_paired, compare_seeds
from raft.pretraining.run import PretrainingResult
from raft.report.tables.pretraining import tabulate_losses
from raft.training.run_folder import run_folder


def test_interval_over_seeds_is_students() -> None:
    raft, faft = [3.0, 5.0, 4.0, 8.0], [1.0, 4.0, 4.5, 5.0]
    actual = compare_seeds(raft, faft)
    difference = np.subtract(raft, faft)
    half = stats.t.ppf(0.975, 3) * difference.std(ddof=1) / 2
    assert (actual.mean, actual.low, actual.high) == pytest.approx(
        (difference.mean(), difference.mean() - half, difference.mean() + half)
    )
    assert compare_seeds([2.0, 3.0], [1.0, 2.0]) == Difference(1.0, 1.0, 1.0)


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


def test_a_folder_that_exists_is_filled_on_its_own_file_system(tmp_path: Path) -> None:
    # it may be where another one is mounted, to which nothing can be renamed
    for content in ("{}", "[]"):
        with run_folder(tmp_path, overwrite=True) as folder:
            assert folder.parent == tmp_path
            (tmp_path / ".unfinished-1").mkdir(exist_ok=True)  # of a process that was killed
            (folder / "results.json").write_text(content)
        assert {path.name for path in tmp_path.iterdir()} == {"results.json", ".unfinished-1"}
        assert (tmp_path / "results.json").read_text() == content


def test_a_folder_of_other_things_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds no run; choose another --out"):
        run_folder(tmp_path, overwrite=True).__enter__()
    assert (tmp_path / "thesis.tex").exists()


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


def test_scores_that_were_counted_in_float32_tie_as_the_counts_do() -> None:
    counts = np.array([[512, 450, 505, 440, 455], [445, 445, 445, 451, 449]])
    variant, baseline = 100 * (counts.astype(np.float32) / np.float32(872)).astype(np.float64)
    signs = np.array(list(product((-1, 1), repeat=5)))
    sums = np.abs(signs @ (counts[0] - counts[1]))
    assert compare_paired(variant.tolist(), baseline.tolist()).p_value == (sums >= sums[-1]).mean() == 0.3125
    more = (100 * ((counts[1] + 3).astype(np.float32) / np.float32(872))).astype(np.float64)
    difference = compare_seeds(more.tolist(), baseline.tolist())
    assert difference.low == difference.mean == difference.high
    seventeen = compare_paired([1.0] * 17, [0.0] * 17)
    assert 0 < seventeen.p_value < 1e-3


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
    assert table["blimp minus gelu [95 %]"][1].startswith("+2.0 [−10.7, +14.7]")


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
