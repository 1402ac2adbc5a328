"""Curves and tables."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raft.experiments.modular_addition import LEARNED
from raft.experiments.pretraining import PretrainingComparison, Variant
from raft.pretraining.run import PretrainingResult
from raft.report.loss_figures import FEW, draw_accuracies, draw_loss_curves, draw_loss_differences
from raft.report.tables.demo import format_steps, summarize_sums, tabulate_sums
from tests.report.run_folders import sums


def test_what_a_demo_says_is_what_its_networks_did() -> None:
    printed = tabulate_sums(sums()).markdown().splitlines()
    assert printed[2] == "| GELU | 0 of 2 |  | 50.0 |"
    assert printed[5] == "| RAF, fixed gain | 2 of 2 | 75 | 99.0 |"
    text = summarize_sums(sums())
    assert text.startswith("With GELU 0 of 2 networks learn to add (99 % of held-out sums right), with a ")
    assert "sine 2 of 2, after 75 steps." in text
    # networks that never learned count as the slowest
    slow = [replace(run, steps=None) if run.seed == 2 else run for run in sums().runs]
    assert tabulate_sums(replace(sums(), runs=[*slow, *sums().runs])).markdown().splitlines()[5] == (
        "| RAF, fixed gain | 3 of 4 | 75 | 99.0 |"
    )
    assert format_steps([run for run in slow if run.activation == LEARNED]) == ""


def pretrained(activation: str, losses: dict[int, list[float]]) -> Variant:
    results = [
        PretrainingResult(
            activation, seed, 100 * len(of_seed), of_seed[-1], 6.0, 1.0, 10, 10,
            [(100 * (n + 1), 1.0, loss) for n, loss in enumerate(of_seed)],
        )
        for seed, of_seed in losses.items()
    ]  # fmt: skip
    return Variant(activation, results)


def test_differences_are_to_the_baseline_of_the_same_seed() -> None:
    raf = pretrained("raf", {1: [5.0, 3.0, 2.0], 2: [5.5, 4.0, 3.5]})
    frozen = pretrained("raf:raf_learning_rate=0", {1: [5.0, 4.0, 3.0], 2: [6.0, 4.0, 4.0]})
    gelu = pretrained("gelu", {1: [6.0, 4.0, 3.0], 2: [6.0, 4.0, 4.0]})
    figure = draw_loss_differences(PretrainingComparison([raf, frozen, gelu], "", {}))
    assert figure is not None
    (axes,) = figure.axes
    drawn = {str(line.get_label()): np.array(line.get_ydata()).tolist() for line in axes.lines}
    assert drawn["raf"] == [-0.75, -0.5, -0.75]
    assert drawn["raf:raf_learning_rate=0"] == [-0.5, 0.0, 0.0]
    thin = [np.array(line.get_ydata()).tolist() for line in axes.lines if line.get_linewidth() < 0.8]
    assert thin == [[-1.0, -1.0, -1.0], [-0.5, 0.0, -0.5], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    low, high = axes.get_ylim()
    assert low == pytest.approx(-1.1)
    assert high == pytest.approx(0.1)


def test_no_differences_without_a_baseline_or_steps() -> None:
    raf, gelu = pretrained("raf", {1: [5.0, 3.0]}), pretrained("gelu", {1: [6.0, 4.0]})
    for variants in ([raf], [gelu], [raf, pretrained("gelu", {2: [6.0, 4.0]})]):
        assert draw_loss_differences(PretrainingComparison(variants, "", {})) is None
    ends = [pretrained("raf", {1: [3.0]}), pretrained("gelu", {1: [4.0]})]
    assert draw_loss_differences(PretrainingComparison(ends, "", {})) is None


def test_accuracies_at_the_end_alone_are_bars_and_others_lines() -> None:
    runs = [*pretrained("raf", {1: [5.0], 2: [5.0]}).results, *pretrained("gelu", {1: [6.0]}).results]
    assert draw_accuracies(runs) == {}
    shares = (0.5, 0.7, 0.8)
    at_end = [replace(run, accuracies={"zorro": share}) for run, share in zip(runs, shares, strict=True)]
    figure = draw_accuracies(at_end)["zorro"]
    bars: Any = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([60, 80])
    history = {"zorro": [(10, 0.5), (20, 0.6)]}
    figure = draw_accuracies([replace(run, accuracy_history=history) for run in at_end])["zorro"]
    assert not figure.axes[0].patches
    assert [np.array(line.get_ydata()).tolist() for line in figure.axes[0].lines[1:]] == [[50, 60]] * 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("count", "more"), [(2, ""), (17, ""), (5, ":raf_lr_scheduler_type=linear")])
def test_the_names_of_many_variants_leave_room_for_the_curves(count: int, more: str) -> None:
    names = ["gelu", *(f"raf:raf_learning_rate={number}e-3{more}" for number in range(1, count))]
    history = [(10, 1.0, 5.0), (20, 2.0, 4.0), (30, 3.0, 3.9)]
    variants = [
        Variant(name, [PretrainingResult(name, 1, 30, 3.9, 6.5, 3.0, 100, 9, history)]) for name in names
    ]
    for figure in (
        draw_loss_curves([variant.results[0] for variant in variants]),
        draw_loss_differences(PretrainingComparison(variants, "", {})),
    ):
        assert figure is not None
        figure.savefig(io.BytesIO())
        width, height = figure.get_size_inches()
        box = figure.axes[0].get_position()
        assert box.width * width > 2.5
        assert box.height * height > 2
        assert (figure.axes[0].get_legend() is None) == (len(names) > FEW or bool(more))
