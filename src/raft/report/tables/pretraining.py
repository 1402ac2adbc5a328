"""Pretraining runs as a table and as curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raft.analysis.figures import FAFT_COLOUR, QUIET, RAFT_COLOUR, STYLE
from raft.experiments.pretraining import PretrainingComparison, Variant
from raft.pretraining.run import PretrainingResult
from raft.pretraining.variants import RAF, find_twin, is_raft
from raft.report.tables.text_table import TextTable

FEW, SHORT = 6, 40
"""Lines whose names stand in the axes, and the characters that each of them may have."""

COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Of all variants but the first RAFT and its twin, in turn, from Okabe and Ito; then with other lines."""


def loss_table(comparison: PretrainingComparison) -> TextTable:
    """A row a variant, with differences to the twin that a column names; the unigram model's stands last."""
    fixed = comparison.twin or "twin"
    headers = [
        "activation", "seeds", "validation loss (nats)", "perplexity", f"less {fixed} [95 %]",
        f"steps to {fixed}", "seconds", "tokens/s",
    ]  # fmt: skip
    cells = []
    for row in comparison.rows():
        difference = "" if row["difference"] is None else (
            f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
        )  # fmt: skip
        cells.append(
            [
                row["activation"],
                str(row["seeds"]),
                _mean_and_std(row["loss"], row["loss_std"], 3),
                _mean_and_std(row["perplexity"], row["perplexity_std"], 1),
                difference.replace("-", "−"),
                _steps_to_twin(row),
                f"{row['seconds']:,.0f}",
                f"{row['tokens_per_second']:,.0f}",
            ]
        )
    unigram = comparison.variants[0].results[0].unigram_loss
    last = ["unigram model", "", f"{unigram:.3f}", f"{np.exp(unigram):.1f}", "", "", "", ""]
    return TextTable("Pretraining", headers, [*cells, last], labels=1)


def note(comparison: PretrainingComparison) -> str:
    """What the numbers are."""
    fixed = comparison.twin
    text = f"{steps_and_tokens(comparison)} a run"
    text += "; mean ± standard deviation over seeds"
    if fixed is not None and len(comparison.variants[0].results) > 1:
        text += f"; differences in loss to {fixed}, paired by seed, with Student's interval"
    if fixed is not None and len(comparison.variants) > 1:
        text += f"; steps after which {fixed}'s final loss was reached, mean over the seeds that did"
    return text + "."


def steps_and_tokens(comparison: PretrainingComparison) -> str:
    """Of each run: ``8,000 steps, 32.8 M tokens``; from the fewest to the most where they differ."""
    results = [result for variant in comparison.variants for result in variant.results]

    def span(numbers: list[float], form: str) -> str:
        ends = dict.fromkeys(format(number, form) for number in (min(numbers), max(numbers)))
        return " to ".join(ends)

    steps = span([result.steps for result in results], ",")
    return f"{steps} steps, {span([result.tokens / 1e6 for result in results], ',.1f')} M tokens"


def curves_figure(results: Sequence[PretrainingResult]) -> Figure:
    """Validation losses against steps and against seconds, a line a run, and the unigram model's."""
    runs: dict[str, list[PretrainingResult]] = defaultdict(list)
    for result in results:
        runs[result.activation].append(result)
    styles = _styles(list(runs))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.3), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, runs, styles, 0, "step")
        _draw(right, runs, styles, 1, "seconds of training")
        left.set_ylabel("validation loss (nats)")
        _legend(figure, left)
        perplexity = right.twinx()
        low, high = right.get_ylim()
        round_numbers = [digit * 10.0**power for power in range(7) for digit in (1, 2, 5)]
        ticks = [number for number in round_numbers if low <= np.log(number) <= high]
        perplexity.set_ylim(low, high)
        perplexity.set_yticks(np.log(ticks), [f"{tick:,.0f}" for tick in ticks])
        perplexity.set_ylabel("perplexity")
        perplexity.spines["right"].set_visible(True)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """Few short names stand in the axes; others beside them, in a figure as high and wide as they need."""
    lines, names = axes.get_legend_handles_labels()
    if len(names) <= FEW and max(map(len, names)) <= SHORT:
        axes.legend(frameon=False)
        return
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + 0.4 + 0.075 * max(map(len, names)), max(height, 0.5 + 0.2 * len(names)))
    figure.legend(lines, names, frameon=False, loc="outside right upper")


def differences_figure(comparison: PretrainingComparison) -> Figure | None:
    """Validation losses less the twin's of the same seed against steps: a thin line a run, the mean bold.

    The axis holds the means after a quarter of the steps and all differences after half of them; what came
    before may leave it.

    Returns:
        None where no run was evaluated beside its twin at more than one step.
    """
    names = [variant.activation for variant in comparison.variants]
    fixed = comparison.twin
    losses = {variant.activation: losses_by_step(variant) for variant in comparison.variants}
    twins = losses.pop(fixed) if fixed is not None else pd.DataFrame()
    found = {
        name: (each - twins).dropna(how="all").dropna(axis=1, how="all") for name, each in losses.items()
    }
    found = {name: each for name, each in found.items() if len(each) > 1}
    if not found:
        return None
    styles = _styles(names)
    late: list[float] = []
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.axhline(0, color=FAFT_COLOUR, linewidth=1, label=fixed)
        for name, each in found.items():
            line, colour = styles[name]
            if each.shape[1] > 1:
                axes.plot(each.index, each, color=colour, linestyle=line, linewidth=0.7, alpha=0.4)
            mean = each.mean(axis=1)
            axes.plot(mean.index, mean, color=colour, linestyle=line, linewidth=1.8, label=name)
            end = each.index.max()
            late += [*mean[mean.index >= end / 4], *each[each.index >= end / 2].to_numpy().ravel()]
        low, high = np.nanmin([*late, 0.0]), np.nanmax([*late, 0.0])
        margin = 0.1 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("step")
        axes.set_ylabel(f"validation loss less {fixed}'s (nats)")
        _legend(figure, axes)
    return figure


def losses_by_step(variant: Variant) -> pd.DataFrame:
    """Validation losses in nats: a row a step, a column a seed."""
    histories = {result.seed: {step: loss for step, _, loss in result.history} for result in variant.results}
    return pd.DataFrame(histories).sort_index()


def _styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Line and colour of each variant."""
    others = product(("-", "--", "-.", ":"), COLOURS)
    first_raft = RAF if RAF in names else next(filter(is_raft, names), None)
    first = {first_raft: ("-", RAFT_COLOUR), find_twin(names): ("-", FAFT_COLOUR)}
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


def _steps_to_twin(row: dict[str, Any]) -> str:
    if row["steps_to_twin"] is None:
        return ""
    return f"{row['steps_to_twin']:,.0f} ({row['reached_twin']} of {row['seeds']})"


def _mean_and_std(mean: float, std: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")
