"""Figures of one model: learned activations over the fixed ones."""

from __future__ import annotations

import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from raft.analysis.curves import Curve
from raft.analysis.figure_style import FAFT_COLOUR, QUIET, RAFT_COLOUR, STYLE, fill_behind, new_figure
from raft.analysis.learned import LearnedFunction, join_names, shorten_name


def draw_activations(curves: Sequence[Curve], fixed: str) -> Figure:
    """Small multiples, one a layer: the learned RAF over the fixed function, its inputs' density behind
    both."""
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    with mpl.rc_context(STYLE):
        figure = new_figure(1.0 + 3.1 * columns, 0.5 + 2.5 * rows)
        for number, curve in enumerate(curves):
            axes = figure.add_subplot(rows, columns, number + 1)
            behind = fill_behind(axes, curve.x, curve.density, label="density of inputs")
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
            axes.set_title(f"{_format_layer(curve.site)}: distance {curve.distance:.3f}")
            axes.set_xlabel("input")
            if number % columns == 0:
                axes.set_ylabel("output")
            if number == 0:
                lines = [*axes.get_legend_handles_labels()[0], *behind.get_legend_handles_labels()[0]]
                axes.legend(handles=lines, frameon=False, loc="upper left", fontsize=7.5)
    return figure


def draw_functions(functions: Sequence[LearnedFunction]) -> Figure:
    """Draw one panel per RAF: its curves, one per group, over its initial function."""
    if not functions:
        raise ValueError("there is no RAF to draw")
    columns = min(4, len(functions))
    rows = -(-len(functions) // columns)
    with mpl.rc_context(STYLE):
        figure = new_figure(1.0 + 3.1 * columns, 0.5 + 2.5 * rows)
        for number, raf in enumerate(functions):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.plot(
                raf.x,
                raf.y.T,
                color=RAFT_COLOUR,
                linewidth=1.8,
                alpha=max(0.3, 1 / raf.groups),
            )
            # dashes above: where nothing has changed yet, both are seen
            axes.plot(
                raf.x,
                raf.beginning,
                color=FAFT_COLOUR,
                linestyle="--",
                linewidth=1.2,
                label=f"{raf.began_as} (beginning)",
            )
            axes.lines[0].set_label("RAF (now)" if raf.groups == 1 else f"RAF (now), {raf.groups} groups")
            axes.axhline(0, color=QUIET, linewidth=0.5)
            axes.set_title(f"{shorten_name(join_names(raf.places))}: rms {raf.rms:.2g}")
            if number >= len(functions) - columns:
                axes.set_xlabel("input")
            if number % columns == 0:
                axes.set_ylabel("output")
            axes.legend(frameon=False, loc="upper left", fontsize=7.5)
    return figure


def _format_layer(site: str) -> str:
    number = re.search(r"\.(\d+)\.", site)
    return f"layer {number.group(1)}" if number else site
