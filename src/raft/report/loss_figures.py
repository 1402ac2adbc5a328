"""Losses over a pretraining as curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raft.analysis.figure_style import (
    FAFT_COLOUR,
    OTHER_COLOURS,
    QUIET,
    RAFT_COLOUR,
    STYLE,
    break_name,
    count_rows,
    new_figure,
)
from raft.experiments.pretraining import PretrainingComparison, Variant
from raft.pretraining.run import PretrainingResult
from raft.pretraining.variants import RAF, find_baseline, is_learned

Points = Sequence[tuple[int, float]]
"""Steps, and a share after each."""

FEW = 6
"""Rows of a legend that stands in the axes."""
AGAINST = ("step", "seconds of training")


def draw_loss_curves(
    results: Sequence[PretrainingResult], against: Sequence[str] = AGAINST, with_legend: bool = True
) -> Figure:
    """Draw validation losses, one line per run, with the unigram model's.

    Args:
        results: of the runs.
        against: what is below each panel, of ``AGAINST``.
        with_legend: whether names are in the figure.
    """
    runs: dict[str, list[PretrainingResult]] = defaultdict(list)
    for result in results:
        runs[result.activation].append(result)
    styles = _choose_styles(list(runs))
    with mpl.rc_context(STYLE):
        figure = new_figure(4.5 * len(against), 3.3)
        panels = figure.subplots(1, len(against), sharey=True, squeeze=False)[0]
        for axes, label in zip(panels, against, strict=True):
            _draw(axes, runs, styles, AGAINST.index(label), label)
        left, right = panels[0], panels[-1]
        left.set_ylabel("validation loss (nats)")
        if with_legend:
            _add_legend(figure, left)
        perplexity = right.twinx()
        low, high = right.get_ylim()
        round_numbers = [digit * 10.0**power for power in range(7) for digit in (1, 2, 5)]
        ticks = [number for number in round_numbers if low <= np.log(number) <= high]
        perplexity.set_ylim(low, high)
        perplexity.set_yticks(np.log(ticks), [f"{tick:,.0f}" for tick in ticks])
        perplexity.set_ylabel("perplexity")
        perplexity.spines["right"].set_visible(True)
    return figure


def needs_own_legend(labels: Iterable[str]) -> bool:
    """Whether names of lines, broken as they are in figures, would hide what is drawn."""
    return count_rows(labels) > FEW


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Few short names stand in the axes; others beside them, in a figure as high and wide as they need."""
    lines, labels = axes.get_legend_handles_labels()
    names = list(map(break_name, labels))
    if not needs_own_legend(labels):
        axes.legend(lines, names, frameon=False)
        return
    rows = [row for name in names for row in name.split("\n")]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + 0.4 + 0.075 * max(map(len, rows)), max(height, 0.5 + 0.2 * len(rows)))
    figure.legend(lines, names, frameon=False, loc="outside right upper")


def draw_accuracies(results: Sequence[PretrainingResult]) -> dict[str, Figure]:
    """Draw accuracies on samples of minimal pairs against steps, one line per run.

    Of runs that were evaluated once, such as at the end alone, a bar for each activation is the mean of its
    runs, and dots are these.

    Returns:
        By test.
    """
    at_end = [
        {name: [(result.steps, share)] for name, share in result.accuracies.items()} for result in results
    ]
    histories = [result.accuracy_history or end for result, end in zip(results, at_end, strict=True)]
    styles = _choose_styles(list(dict.fromkeys(result.activation for result in results)))
    is_once = all(len(points) == 1 for history in histories for points in history.values())
    figures = {}
    for name in sorted({name for history in histories for name in history}):
        shares = _gather_shares(results, histories, name)
        with mpl.rc_context(STYLE):
            rows = sum(max(1.0, 0.6 * break_name(activation).count("\n") + 0.6) for activation in styles)
            figures[name] = new_figure(4.5, 1.0 + 0.3 * rows if is_once else 3.0)
            axes = figures[name].add_subplot()
            if is_once:
                _draw_accuracy_bars(axes, shares, name, styles)
            else:
                _draw_accuracy_lines(axes, shares, name, styles)
                _add_legend(figures[name], axes)
    return figures


def _gather_shares(
    results: Sequence[PretrainingResult], histories: Sequence[Mapping[str, Points]], name: str
) -> dict[str, list[Points]]:
    """Steps and shares of one test, of each run, by activation."""
    shares: dict[str, list[Points]] = defaultdict(list)
    for result, history in zip(results, histories, strict=True):
        if name in history:
            shares[result.activation].append(history[name])
    return shares


def _draw_accuracy_lines(
    axes: Axes, runs: Mapping[str, Sequence[Points]], name: str, styles: Mapping[str, tuple[str, str]]
) -> None:
    axes.axhline(50, color=QUIET, linewidth=1, linestyle=":", label="chance")
    for activation, histories in runs.items():
        line, colour = styles[activation]
        for number, points in enumerate(histories):
            steps, shares = zip(*points, strict=True)
            label = None if number else activation
            axes.plot(steps, 100 * np.array(shares), color=colour, linestyle=line, linewidth=1.2, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel(f"accuracy on {name} (%)")


def _draw_accuracy_bars(
    axes: Axes, runs: Mapping[str, Sequence[Points]], name: str, styles: Mapping[str, tuple[str, str]]
) -> None:
    axes.axvline(50, color=QUIET, linewidth=1, linestyle=":")
    for activation, histories in runs.items():
        shares, label = [100 * points[-1][1] for points in histories], break_name(activation)
        axes.barh(label, np.mean(shares), 0.6, color=styles[activation][1], alpha=0.5)
        axes.plot(shares, [label] * len(shares), "o", color=styles[activation][1], markersize=3)
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
    axes.set_xlabel(f"accuracy on {name} (%); dotted: chance")


def draw_loss_differences(comparison: PretrainingComparison, with_legend: bool = True) -> Figure | None:
    """Validation losses less the baseline's of the same seed against steps: a thin line a run, the mean bold.

    The axis holds the means after a quarter of the steps and all differences after half of them; what came
    before may leave it.

    Returns:
        None where no run was evaluated beside its baseline at more than one step.
    """
    names = [variant.activation for variant in comparison.variants]
    fixed = comparison.baseline
    losses = {variant.activation: collect_losses(variant) for variant in comparison.variants}
    baselines = losses.pop(fixed) if fixed is not None else pd.DataFrame()
    differences = {
        name: (frame - baselines).dropna(how="all").dropna(axis=1, how="all")
        for name, frame in losses.items()
    }
    differences = {name: frame for name, frame in differences.items() if len(frame) > 1}
    if not differences:
        return None
    styles = _choose_styles(names)
    late: list[float] = []
    with mpl.rc_context(STYLE):
        figure = new_figure(5.0, 3.3)
        axes = figure.add_subplot()
        axes.axhline(0, color=FAFT_COLOUR, linewidth=1, label=fixed)
        for name, frame in differences.items():
            line, colour = styles[name]
            if frame.shape[1] > 1:
                axes.plot(frame.index, frame, color=colour, linestyle=line, linewidth=0.7, alpha=0.4)
            mean = frame.mean(axis=1)
            axes.plot(mean.index, mean, color=colour, linestyle=line, linewidth=1.8, label=name)
            end = frame.index.max()
            late += [*mean[mean.index >= end / 4], *frame[frame.index >= end / 2].to_numpy().ravel()]
        low, high = np.nanmin([*late, 0.0]), np.nanmax([*late, 0.0])
        margin = 0.1 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("step")
        axes.set_ylabel(f"validation loss minus {fixed}'s (nats)")
        if with_legend:
            _add_legend(figure, axes)
    return figure


def collect_losses(variant: Variant) -> pd.DataFrame:
    """Collect validation losses in nats: one row per step, one column per seed."""
    histories = {result.seed: {step: loss for step, _, loss in result.history} for result in variant.results}
    return pd.DataFrame(histories).sort_index()


def _choose_styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Choose the line style and colour of each variant."""
    others = product(("-", "--", "-.", ":"), OTHER_COLOURS)
    first_raft = RAF if RAF in names else next(filter(is_learned, names), None)
    first = {first_raft: ("-", RAFT_COLOUR), find_baseline(names): ("-", FAFT_COLOUR)}
    return {name: first.get(name) or next(others, ("-", QUIET)) for name in names}


def _draw(
    axes: Axes,
    runs: dict[str, list[PretrainingResult]],
    styles: dict[str, tuple[str, str]],
    column: int,
    label: str,
) -> None:
    unigram = next(iter(runs.values()))[0].unigram_loss
    axes.axhline(unigram, color=QUIET, linewidth=1, linestyle=":", label="unigram model")
    for name, results in runs.items():
        line, colour = styles[name]
        for number, result in enumerate(results):
            places = [point[column] for point in result.history]
            losses = [point[2] for point in result.history]
            axes.plot(
                places, losses, color=colour, linestyle=line, linewidth=1.4, alpha=0.85,
                label=name if number == 0 else None, marker="o" if len(places) < 3 else None,
            )  # fmt: skip
    axes.set_xlabel(label)
