"""A grid's scores as a figure: every seed a dot, every mean with its 95 % interval."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raft.analysis.figure_style import FAFT_COLOUR, OTHER_COLOURS, QUIET, RAFT_COLOUR, STYLE, new_figure
from raft.experiments.statistics import compare_seeds
from raft.finetuning.train import RAF
from raft.report.tables.grid import SETTING, get_compared_column
from raft.report.tables.pretrained_models import pair_pretrainings

COLOURS = (FAFT_COLOUR, RAFT_COLOUR, *OTHER_COLOURS)
MARKERS = ("s", "o", "^", "D", "v")


def draw_scores(results: pd.DataFrame) -> Figure:
    """Panels of tasks; in each a row a setting and a colour a variant.

    Dots are seeds; the marker is their mean, and the bar Student's 95 % interval of that mean.

    Args:
        results: one row a cell, as of ``raft.report.tables.grid.build_frame``.
    """
    results = pair_pretrainings(results)
    by = get_compared_column(results)
    # the baseline first, in the colour that it has in all figures
    variants = sorted(dict.fromkeys(results[by]), key=lambda name: name.startswith(RAF))
    others = [name for name in SETTING if name != by and results[name].nunique() > 1]
    settings = results[others].agg(" · ".join, axis=1) if others else pd.Series("", index=results.index)
    rows = list(dict.fromkeys(settings))
    tasks = list(dict.fromkeys(results.task))
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    with mpl.rc_context(STYLE):
        height = 0.55 + 0.28 * len(variants) * len(rows)
        figure = new_figure(1.2 + 2.6 * columns, 0.7 + height * lines)
        for number, task in enumerate(tasks):
            axes = figure.add_subplot(lines, columns, number + 1)
            of_task = results[results.task == task]
            for row, setting in enumerate(rows):
                for place, variant in enumerate(variants):
                    chosen = of_task[(settings[of_task.index] == setting) & (of_task[by] == variant)]
                    if len(chosen):
                        at = -(row + (place + 0.5) / len(variants) * 0.8)
                        _draw(axes, chosen.points.to_numpy(), at, place)
            axes.set_title(task)
            axes.set_yticks([-(row + 0.4) for row in range(len(rows))], rows if number % columns == 0 else [])
            if number % columns:
                axes.set_yticklabels([""] * len(rows))
            axes.set_ylim(-len(rows) + 0.1, 0.1)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", color=QUIET, alpha=0.25, linewidth=0.5)
            if number >= len(tasks) - columns:
                axes.set_xlabel("points")
        handles = [Line2D([], [], **_style(place)) for place in range(len(variants))]
        figure.legend(handles, variants, loc="outside lower center", frameon=False, ncols=len(variants))
    return figure


def _style(place: int) -> dict[str, Any]:
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.3}


def _draw(axes: Axes, points: np.ndarray, at: float, place: int) -> None:
    style = _style(place)
    axes.plot(
        points, np.full(len(points), at), ".", color=style["color"], alpha=0.35, markersize=4,
        markeredgewidth=0,
    )  # fmt: skip
    half = (
        compare_seeds(points.tolist(), [0.0] * len(points)).high - points.mean() if len(points) > 1 else 0.0
    )
    axes.errorbar(points.mean(), at, xerr=half, capsize=2.5, **style)
