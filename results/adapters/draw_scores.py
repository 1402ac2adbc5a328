"""Score against trained numbers, for each way of tuning a model: a figure and a table, from a grid's results.

    python results/adapters/draw_scores.py results/adapters/grid

Numbers are those beside the head's, which all train.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from raft.analysis.figure_style import OTHER_COLOURS, QUIET, RAFT_COLOUR, STYLE, new_figure, write_figure
from raft.experiments.statistics import compare_seeds
from raft.report.tables.grid import RESULTS, SEARCH
from raft.report.tables.numbers import format_interval

HEAD = "head"
RATES = ("learning_rate", "raf_learning_rate")
MARKERS = "osD^v<>Pph*"


def count_numbers(results: pd.DataFrame) -> dict[str, int]:
    """Trained numbers beside the head's, by tuning: the most of any task."""
    trained = results.groupby("tuning", sort=False).trained.max()
    return {str(name): int(count - trained[HEAD]) for name, count in trained.items()}


def count_ends(results: pd.DataFrame, searched: pd.DataFrame) -> int:
    """How many of the chosen rates of one tuning were the lowest or the highest that was tried."""
    return sum(
        chosen[rate] in (tried[rate].min(), tried[rate].max())
        for task, tried in searched.groupby("task")
        for chosen in (results[results.task == task].iloc[0],)
        for rate in RATES
        if tried[rate].nunique() > 1
    )


def tabulate(results: pd.DataFrame, searched: pd.DataFrame) -> str:
    """The table of differences to the head alone, by task, in Markdown."""
    tasks = list(dict.fromkeys(results.task))
    lines = [
        f"| tuning | numbers | {' | '.join(tasks)} | rates at an end |",
        f"| --- | ---: |{' ---: |' * len(tasks)} ---: |",
    ]
    scores = results.pivot_table("points", "seed", ["tuning", "task"], sort=False)
    for name, numbers in count_numbers(results).items():
        differences = []
        for task in tasks if name != HEAD else ():
            of = compare_seeds(scores[name, task].tolist(), scores[HEAD, task].tolist())
            differences.append(format_interval(of.mean, of.low, of.high, 1))
        at_ends = count_ends(*(frame[frame.tuning == name] for frame in (results, searched)))
        cells = [f"`{name}`", f"{numbers:,}", *(differences or [""] * len(tasks)), str(at_ends)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(results: pd.DataFrame, file: Path) -> None:
    """A panel for each of two or four tasks: means over numbers, each seed a dot, the head alone a line."""
    numbers = count_numbers(results)
    drawn = sorted((name for name in numbers if name != HEAD), key=lambda name: numbers[name])
    tasks = list(dict.fromkeys(results.task))
    others = iter(OTHER_COLOURS)
    colours = {
        name: RAFT_COLOUR if name.startswith("raf") and "learned=false" not in name else next(others)
        for name in drawn
    }
    with mpl.rc_context(STYLE):
        rows = len(tasks) // 2
        figure = new_figure(8.4, 2.7 * rows)
        panels = figure.subplots(rows, 2, sharex=True).ravel()
        for axes, task in zip(panels, tasks, strict=True):
            of_task = results[results.task == task]
            points = of_task.groupby("tuning").points
            axes.axhline(points.mean()[HEAD], color="black", linestyle="--", linewidth=1, label="head alone")
            axes.axhline(of_task.single_class.iloc[0], color=QUIET, linestyle=":", label="best single class")
            for name, marker in zip(drawn, MARKERS, strict=False):
                seeds, x, colour = points.get_group(name), numbers[name], colours[name]
                axes.scatter([x] * len(seeds), seeds, s=4, alpha=0.6, color=colour)
                axes.scatter(x, seeds.mean(), s=36, marker=marker, color=colour, label=name)
            axes.set_xscale("log")
            axes.set_title(task)
        for axes in panels[-2:]:
            axes.set_xlabel("trained numbers beside the head")
        for axes in panels[::2]:
            axes.set_ylabel("score, points")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False)
        write_figure(figure, file)


def main() -> None:
    """Draw and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    results, searched = pd.read_csv(folder / RESULTS), pd.read_csv(folder / SEARCH)
    (folder / "table.md").write_text(tabulate(results, searched), encoding="utf-8")
    draw(results, folder / "scores.png")


if __name__ == "__main__":
    main()
