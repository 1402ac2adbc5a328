"""Figures: learned activations over the fixed one, and losses over the training."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raft.analysis.curves import Curve
from raft.analysis.learned import LearnedFunction, ranged, short_name
from raft.files import write_bytes

RAFT_COLOUR, FAFT_COLOUR, QUIET = "#D55E00", "#0072B2", "#8a8a8a"
"""Okabe and Ito's vermilion and blue: told apart by colour-blind readers, and in print."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "raft",
}


def write_figure(figure: Figure, file: Path, dpi: int = 160) -> None:
    """Write a figure as its file's name ends, in the same bytes each time."""
    # a date would make two writings of the same figure differ
    kind, drawn = file.suffix.lower()[1:], io.BytesIO()
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    figure.savefig(drawn, format=kind, dpi=dpi, metadata=metadata)
    write_bytes(file, drawn.getvalue())


def activations_figure(curves: Sequence[Curve], fixed: str) -> Figure:
    """Small multiples, one a layer: the learned RAF over the fixed function, its inputs' density behind
    both."""
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 3.1 * columns, 0.5 + 2.5 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        for number, curve in enumerate(curves):
            axes = figure.add_subplot(rows, columns, number + 1)
            behind = axes.twinx()
            behind.fill_between(
                curve.x, curve.density, color=QUIET, alpha=0.25, linewidth=0, label="density of inputs"
            )
            behind.set_ylim(0, 1.6 * curve.density.max())
            behind.set_yticks([])
            behind.spines[:].set_visible(False)
            axes.set_zorder(behind.get_zorder() + 1)
            axes.patch.set_visible(False)
            axes.plot(
                curve.x,
                curve.fixed,
                color=FAFT_COLOUR,
                linestyle="--",
                linewidth=1.4,
                label=f"{fixed} (FAFT)",
            )
            for group, y in enumerate(curve.y):
                label = "learned RAF (RAFT)" if group == 0 else None
                axes.plot(curve.x, y, color=RAFT_COLOUR, linewidth=1.8, label=label)
            axes.axhline(0, color=QUIET, linewidth=0.5)
            axes.set_title(f"{_layer(curve.site)}: distance {curve.distance:.3f}")
            axes.set_xlabel("input")
            if number % columns == 0:
                axes.set_ylabel("output")
            if number == 0:
                lines = [*axes.get_legend_handles_labels()[0], *behind.get_legend_handles_labels()[0]]
                axes.legend(handles=lines, frameon=False, loc="upper left", fontsize=7.5)
    return figure


def functions_figure(found: Sequence[LearnedFunction]) -> Figure:
    """Small multiples, one a RAF: its curves, one a group, over the function that it began as."""
    if not found:
        raise ValueError("there is no RAF to draw")
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 3.1 * columns, 0.5 + 2.5 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        for number, each in enumerate(found):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.plot(each.x, each.y.T, color=RAFT_COLOUR, linewidth=1.8, alpha=max(0.3, 1 / each.groups))
            # dashes above: where nothing has changed yet, both are seen
            axes.plot(
                each.x,
                each.beginning,
                color=FAFT_COLOUR,
                linestyle="--",
                linewidth=1.2,
                label=f"{each.began_as} (beginning)",
            )
            axes.lines[0].set_label("RAF (now)" if each.groups == 1 else f"RAF (now), {each.groups} groups")
            axes.axhline(0, color=QUIET, linewidth=0.5)
            axes.set_title(f"{short_name(ranged(each.places))}: rms {each.rms:.2g}")
            if number >= len(found) - columns:
                axes.set_xlabel("input")
            if number % columns == 0:
                axes.set_ylabel("output")
            axes.legend(frameon=False, loc="upper left", fontsize=7.5)
    return figure


def loss_figure(history: dict[str, list[tuple[int, float]]], unigram_loss: float) -> Figure:
    """Validation loss of both twins over the steps, and the unigram model's."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.1), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.axhline(unigram_loss, color=QUIET, linewidth=1, linestyle=":", label="unigram model")
        for twin, colour, marker in (("faft", FAFT_COLOUR, "s"), ("raft", RAFT_COLOUR, "o")):
            steps, losses = zip(*history[twin], strict=True)
            axes.plot(
                steps, losses, color=colour, marker=marker, markersize=3.5, linewidth=1.5, label=twin.upper()
            )
        axes.set_xlabel("pretraining step")
        axes.set_ylabel("validation loss (nats)")
        axes.legend(frameon=False)
    return figure


def _layer(site: str) -> str:
    number = re.search(r"\.(\d+)\.", site)
    return f"layer {number.group(1)}" if number else site
