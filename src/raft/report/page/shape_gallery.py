"""The shapes that the RAFs of several models have in the end, a small figure a layer."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from raft.analysis.figure_style import (
    FAFT_COLOUR,
    OTHER_COLOURS,
    PLAIN_STYLE,
    QUIET,
    RAFT_COLOUR,
    collect_handles,
    count_rows,
    draw_legend,
    new_figure,
)
from raft.analysis.function_measures import UNKNOWN
from raft.analysis.snapshots import find_known_name, label_sites
from raft.coefficients.functions import FUNCTIONS
from raft.hf.histogram import joint_range
from raft.report.page.blocks import Drawing, Gallery
from raft.report.page.viewer import ViewerRun

POINTS = 121
MOST_LINES = 240
"""In all figures together; each is some thousand characters of the page."""
MOST_ROWS = 4
"""Of names in the first figure; more have a figure of their own."""
LINES = ("-", "-.", ":")
"""Of the kinds, in turn: colours alone do not tell them apart for everyone."""


def draw_shapes(
    runs: Sequence[ViewerRun], kind: str | None = None, caption: str = "", most_lines: int = MOST_LINES
) -> Gallery:
    """Each site's RAFs at the end of all runs over the function that the first run's is compared with.

    Args:
        runs: at least one, those of most interest first; as many are drawn as make ``most_lines``.
        kind: the setting by which lines are coloured; None for one colour.
        caption: below the figures.
        most_lines: in all figures together.
    """
    lines = np.cumsum([sum(raf.groups for raf in run.last.rafs.values()) for run in runs])
    drawn = max(1, int(np.searchsorted(lines, most_lines, side="right")))
    if drawn < len(runs):
        caption += f" Drawn are {drawn} of the {len(runs)} runs."
        runs = runs[:drawn]
    kinds = sorted({run.settings.get(kind, "") if kind else "" for run in runs})
    colours = (RAFT_COLOUR, *OTHER_COLOURS)
    styles = {
        name: {"color": colours[number % len(colours)], "linestyle": LINES[number % len(LINES)]}
        for number, name in enumerate(kinds)
    }
    named = label_sites(run.last.places for run in runs)
    sites = list(named)
    is_apart = count_rows(kinds) > MOST_ROWS
    drawings = []
    for number, site in enumerate(sites):
        having = [run for run in runs if site in run.last.rafs]
        with mpl.rc_context(PLAIN_STYLE):
            figure = new_figure(3.3, 2.5)
            _draw(figure.add_subplot(), site, having, kind, styles)
            figure.axes[0].set_title(named[site])
            is_new = number == 0 or having[0].baselines.get(site) != runs[0].baselines.get(sites[0])
            if is_new and not is_apart:
                handles = collect_handles([figure])
                legend = figure.axes[0].legend(
                    handles.values(), handles.keys(), frameon=False, loc="upper left", fontsize=7.5
                )
                for line in legend.get_lines():
                    line.set_alpha(1.0)
        label = f"{named[site]}: {len(having)} learned {'RAF' if len(having) == 1 else 'RAFs'}"
        drawings.append(Drawing(figure, label))
    if is_apart:
        drawings.insert(0, Drawing(draw_legend(drawing.figure for drawing in drawings), "Legend"))
    return Gallery(drawings, caption)


def _draw(
    axes: Axes, site: str, runs: Sequence[ViewerRun], kind: str | None, styles: dict[str, dict[str, str]]
) -> None:
    low, high = _find_range(site, runs)
    x = np.linspace(low, high, POINTS)
    axes.axhline(0, color=QUIET, linewidth=0.5)
    seen = set()
    alpha = max(0.6, min(1.0, 3 / len(runs)))
    for run in runs:
        of_kind = run.settings.get(kind, "") if kind else ""
        name = None if of_kind in seen else (of_kind or "RAF")
        seen.add(of_kind)
        for group, y in enumerate(run.last.rafs[site].values(x)):
            label = None if group else name
            axes.plot(x, y, linewidth=1.5, alpha=alpha, label=label, **styles[of_kind])  # type: ignore[arg-type]  # keywords of one type
    baseline = find_known_name(runs[0].baselines.get(site))
    if baseline:
        values = FUNCTIONS[baseline](x)
        axes.plot(x, values, color=FAFT_COLOUR, linestyle="--", linewidth=1.3, label=baseline)


def _find_range(site: str, runs: Sequence[ViewerRun]) -> tuple[float, float]:
    return joint_range(run.inputs[site] for run in runs if site in run.inputs) or UNKNOWN
