"""Score against trained numbers, for each way of tuning a model: a figure and a table, from a grid's results.

    python results/adapters/draw_scores.py results/adapters/grid

A score is the mean over the tasks, of one seed. Numbers are those beside the head's, which all train.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import matplotlib as mpl
import pandas as pd
from scipy.stats import sem, t

from raft.analysis.figure_style import OTHER_COLOURS, QUIET, RAFT_COLOUR, STYLE, new_figure, write_figure
from raft.experiments.statistics import compare_seeds
from raft.report.tables.grid import RESULTS, SEARCH
from raft.report.tables.numbers import format_interval

HEAD = "head"
RATES = ("learning_rate", "raf_learning_rate")


class Tuning(NamedTuple):
    """A row: trained numbers beside the head's, mean score, half its 95 % interval over seeds, difference to
    the head alone, and how many of the chosen rates were the lowest or highest that was tried."""

    name: str
    numbers: int
    score: float
    half: float
    difference: str
    at_ends: int


def read_tunings(folder: Path) -> list[Tuning]:
    """All ways of tuning of a grid."""
    results, searched = pd.read_csv(folder / RESULTS), pd.read_csv(folder / SEARCH)
    scores: dict[str, list[float]] = {
        str(name): of_it.groupby("seed").points.mean().tolist()
        for name, of_it in results.groupby("tuning", sort=False)
    }
    of_head = int(results[results.tuning == HEAD].trained.max())
    rows = []
    for name, points in scores.items():
        own, tried = (frame[frame.tuning == name] for frame in (results, searched))
        at_ends = sum(
            chosen[rate] in (of_task[rate].min(), of_task[rate].max())
            for task, of_task in tried.groupby("task")
            for chosen in (own[own.task == task].iloc[0],)
            for rate in RATES
            if of_task[rate].nunique() > 1
        )
        difference = compare_seeds(points, scores[HEAD])
        interval = format_interval(difference.mean, difference.low, difference.high, 1)
        half = float(t.ppf(0.975, len(points) - 1) * sem(points))
        numbers = int(own.trained.max()) - of_head
        rows.append(Tuning(name, numbers, fmean(points), half, interval, at_ends))
    return rows


def tabulate(tunings: list[Tuning]) -> str:
    """The table, in Markdown."""
    lines = [
        "| tuning | trained beside the head | score | minus head alone | best rates at an end |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in tunings:
        difference = "" if row.name == HEAD else row.difference
        lines.append(f"| `{row.name}` | {row.numbers:,} | {row.score:.1f} | {difference} | {row.at_ends} |")
    return "\n".join(lines) + "\n"


def draw(tunings: list[Tuning], file: Path) -> None:
    """Scores over trained numbers, on a logarithmic axis, the head alone as a line."""
    with mpl.rc_context(STYLE):
        figure = new_figure(6.4, 3.6)
        axes = figure.subplots()
        for row in tunings:
            if row.name == HEAD:
                axes.axhline(row.score, color=QUIET, linestyle="--", linewidth=1, label="head alone")
                continue
            colour = RAFT_COLOUR if row.name.startswith("raf") else OTHER_COLOURS[3]
            axes.errorbar(row.numbers, row.score, row.half, color=colour, marker="o", markersize=4, capsize=2)
            axes.annotate(
                row.name, (row.numbers, row.score), xytext=(4, 3), textcoords="offset points", fontsize=7
            )
        axes.set_xscale("log")
        axes.set_xlabel("trained numbers beside the head")
        axes.set_ylabel("mean score, points")
        axes.legend(frameon=False)
        write_figure(figure, file)


def main() -> None:
    """Draw and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    tunings = read_tunings(folder)
    (folder / "table.md").write_text(tabulate(tunings), encoding="utf-8")
    draw(tunings, folder / "scores.png")


if __name__ == "__main__":
    main()
