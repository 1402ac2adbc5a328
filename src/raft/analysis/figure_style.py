"""The look of all figures, and how they are written."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raft.coefficients.drawing import RAF_COLOUR, START_COLOUR
from raft.coefficients.functions import Array
from raft.files import write_bytes

RAFT_COLOUR, FAFT_COLOUR, QUIET = RAF_COLOUR, START_COLOUR, "#8a8a8a"
"""Okabe and Ito's vermilion and blue: distinct for colour-blind readers, and in print."""
OTHER_COLOURS = ("#008060", "#B3518A", "#A86E00", "#2F86C4", "#7A55C0", "#7D6B00", "#6B6B6B", "#C0395A")
"""Of all others, in turn: each has a contrast of 3:1 or more on the page's light ground."""

NAME_WIDTH = 30
"""Characters of a name in a line, where it has places to be broken at."""

COLUMNS = 4
"""Panels in a row of a figure."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "raft",
}
PLAIN_STYLE: dict[Any, Any] = {**STYLE, "text.parse_math": False}
"""Names of sites and tasks are not formulas."""


def write_figure(figure: Figure, file: Path, dpi: int = 160) -> None:
    """Write a figure in the format of the file's suffix, reproducible to the byte."""
    # a date would make two writings of the same figure differ
    kind, drawn = file.suffix.lower()[1:], io.BytesIO()
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    figure.savefig(drawn, format=kind, dpi=dpi, metadata=metadata)
    write_bytes(file, drawn.getvalue())


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Make a figure of this size in inches, without a window."""
    figure = Figure(figsize=(width, height), layout="constrained", **options)
    FigureCanvasAgg(figure)
    return figure


def new_panels(
    count: int, width: float = 3.1, height: float = 2.5, ylabel: str = "output"
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels of this size in inches, up to four a row, labelled at the left and below."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = new_figure(1.0 + width * columns, 0.5 + height * rows)
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    for axes in panels[-columns:]:
        axes.set_xlabel("input")
    for axes in panels[::columns]:
        axes.set_ylabel(ylabel)
    return figure, panels


def fill_behind(axes: Axes, x: Array, density: Array, label: str | None = None) -> Axes:
    """Fill a density behind ``axes``, on twin axes."""
    behind = axes.twinx()
    behind.fill_between(x, density, color=QUIET, alpha=0.25, linewidth=0, label=label)
    behind.set_ylim(0, 1.6 * max(float(density.max()), 1e-12))
    behind.set_yticks([])
    behind.spines[:].set_visible(False)
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    return behind


def break_name(name: str) -> str:
    """The name of a variant in lines of at most 30 characters, where it can be broken after colons."""
    lines = [""]
    for part in re.findall(r"[^:]*:|[^:]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > NAME_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def count_rows(names: Iterable[str]) -> int:
    """Lines that names take where they are broken."""
    return sum(break_name(name).count("\n") + 1 for name in names)


def collect_handles(figures: Iterable[Figure]) -> dict[str, Artist]:
    """What a legend of figures shows, by names that are broken; a name that stands in several counts once."""
    return {
        break_name(str(label)): line
        for figure in figures
        for axes in figure.axes
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }


def draw_legend(figures: Iterable[Figure]) -> Figure:
    """A figure of the names in others alone, where these would hide what is drawn."""
    handles = collect_handles(figures)
    rows = "\n".join(handles).count("\n") + 1
    with mpl.rc_context(PLAIN_STYLE):
        figure = new_figure(3.3, max(2.5, 0.4 + 0.16 * rows))
        legend = figure.legend(handles.values(), handles.keys(), frameon=False, loc="center left")
        for line in legend.get_lines():
            line.set_alpha(1.0)
    return figure
