"""Figures of learned functions beside each other: tasks, seeds, before and after, steps, distances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raft.analysis.figure_style import (
    COLUMNS,
    FAFT_COLOUR,
    OTHER_COLOURS,
    QUIET,
    RAFT_COLOUR,
    STYLE,
    break_name,
    collect_handles,
    fill_behind,
    new_figure,
    new_panels,
)
from raft.analysis.function_measures import Domain
from raft.analysis.learned import shorten_names
from raft.coefficients.functions import FUNCTIONS, Array, Function, canonical_name

COLOURS = (RAFT_COLOUR, *OTHER_COLOURS)
STYLES = ("-", "--", "-.", ":")
WRITTEN = 12
"""A heat map of more functions than this has no numbers in its fields."""

Functions = Mapping[str, Function]


def draw_panels(
    panels: Mapping[str, Functions],
    domains: Mapping[str, Domain],
    fixed: str | None = "gelu",
    ylabel: str = "output",
    names: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    with_legend: bool = True,
) -> Figure:
    """Small multiples: in each panel several functions over one domain, its inputs' density behind them.

    One layer a panel and one task a line; or a line each for before and after a fine-tuning.

    Args:
        panels: by site, functions by label; labels that several panels share look the same in all.
        domains: by site.
        fixed: name of a function that is drawn in all, dotted.
        ylabel: what the functions' values are.
        names: of the panels; short ones of their sites where it is None.
        labels: in the order in which they get their colours; None for that in the panels.
        with_legend: whether labels are in the figure.
    """
    if not panels:
        raise ValueError("no functions to draw")
    names = shorten_names(list(panels)) if names is None else names
    if labels is None:
        labels = list(dict.fromkeys(label for functions in panels.values() for label in functions))
    with mpl.rc_context(STYLE):
        figure, all_axes = new_panels(len(panels), 2.9, 2.4, ylabel)
        for axes, (title, functions) in zip(all_axes, panels.items(), strict=True):
            domain = domains[title]
            draw_density(axes, domain)
            for label, function in functions.items():
                place = labels.index(label)
                style = STYLES[place // len(COLOURS) % len(STYLES)]
                colour = COLOURS[place % len(COLOURS)]
                y = function(domain.x)
                axes.plot(domain.x, y, label=label, linewidth=1.5, color=colour, linestyle=style)
            if fixed is not None:
                known = FUNCTIONS[canonical_name(fixed)](domain.x)
                axes.plot(domain.x, known, color=QUIET, linestyle=":", linewidth=1.6, label=fixed)
            _fit_limits(axes, [np.asarray(line.get_ydata()) for line in axes.lines[: len(functions)]])
            axes.set_title(names[title])
        if not with_legend:
            return figure
        handles = collect_handles([figure])
        longest = max((len(line) for name in handles for line in name.split("\n")), default=0)
        room = int(figure.get_figwidth() / (0.5 + 0.075 * longest))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", frameon=False,
            ncols=max(1, min(6, room, len(handles))),
        )  # fmt: skip
    return figure


def _fit_limits(axes: Axes, values: Sequence[Array]) -> None:
    """Set limits that show these values, with a margin of half their height."""
    low, high = min(line.min() for line in values), max(line.max() for line in values)
    height = max(float(high - low), 1e-9)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, low - 0.5 * height), min(top, high + 0.5 * height))


def subtract(f: Function, g: Function) -> Function:
    """Return f − g, to draw functions that hardly differ."""
    return lambda x: f(x) - g(x)


def draw_density(axes: Axes, domain: Domain) -> None:
    """The density of a domain's inputs behind what is drawn on ``axes``; nothing where none were counted."""
    if domain.inputs is None:
        return
    fill_behind(axes, domain.x, domain.inputs.density(domain.x))


def draw_distances(
    matrix: pd.DataFrame, title: str = "L2 distance", names: Sequence[str] | None = None
) -> Figure:
    """A heat map of :func:`raft.analysis.distances.distance_matrix`, in the order of its rows.

    Args:
        matrix: distances.
        title: of the scale.
        names: of the rows; short ones of their labels, which are sites, where it is None.
    """
    sites = [str(label) for label in matrix.index]
    labels = list(map(break_name, shorten_names(sites).values() if names is None else names))
    values = matrix.to_numpy()
    rows = [label.split("\n") for label in labels]
    field = max(0.42 if len(labels) <= WRITTEN else 0.22, 0.16 * max(map(len, rows)))
    side = 1.6 + field * len(labels) + 0.06 * max(len(line) for lines in rows for line in lines)
    with mpl.rc_context(STYLE):
        figure = new_figure(side + 0.8, side)
        axes = figure.add_subplot()
        # not an image: pages that hold the figure allow none
        edges = np.arange(len(labels) + 1) - 0.5
        mesh = axes.pcolormesh(edges, edges, values, cmap="cividis", vmin=0)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if len(labels) <= WRITTEN:
            middle = float(values.max()) / 2
            for row, column in np.ndindex(values.shape):
                colour = "white" if values[row, column] < middle else "black"
                axes.text(
                    column,
                    row,
                    f"{values[row, column]:.2f}",
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=7,
                )
        solids: Any = figure.colorbar(mesh, ax=axes, shrink=0.8, label=title).solids
        solids.set_rasterized(False)
        for part in (mesh, solids):
            part.set_edgecolor("face")  # no gaps between the fields
    return figure


class Evolution:
    """RAFs along a training, one panel a RAF, as an animation or as a strip of frames.

    Args:
        steps: in rising order, functions by site; the same sites at each.
        domains: by site.
        fixed: name of the function that is drawn beside them, or names by site.
        names: what each site is called; by default what tells them apart.
    """

    def __init__(
        self,
        steps: Mapping[int, Functions],
        domains: Mapping[str, Domain],
        fixed: str | Mapping[str, str] = "gelu",
        names: Mapping[str, str] | None = None,
    ) -> None:
        if not steps or not domains:
            raise ValueError("no snapshots to show")
        self.steps, self.domains = steps, domains
        self.sites = [site for site in next(iter(steps.values())) if site in domains]
        by_site = dict.fromkeys(self.sites, fixed) if isinstance(fixed, str) else fixed
        self.fixed = {site: FUNCTIONS[canonical_name(by_site[site])] for site in self.sites}
        self.names = shorten_names(self.sites) if names is None else names
        self._limits = {site: self._heights(site) for site in self.sites}

    def _heights(self, site: str) -> tuple[float, float]:
        """Choose limits that hold nearly all steps, so that a panel stays still."""
        x = self.domains[site].x
        values = np.stack([functions[site](x) for functions in self.steps.values()])
        fixed = self.fixed[site](x)
        low = min(float(np.quantile(values.min(axis=1), 0.1)), float(fixed.min()))
        high = max(float(np.quantile(values.max(axis=1), 0.9)), float(fixed.max()))
        margin = 0.05 * max(high - low, 1e-9)
        return low - margin, high + margin

    def strip(self, frames: int = 6) -> Figure:
        """Rows of RAFs, columns of steps evenly spaced among the snapshots."""
        shown = list(self.steps)
        places = sorted({round(place) for place in np.linspace(0, len(shown) - 1, frames)})
        with mpl.rc_context(STYLE):
            figure = new_figure(0.9 + 1.6 * len(places), 0.6 + 1.35 * len(self.sites))
            grid = figure.subplots(len(self.sites), len(places), squeeze=False, sharex="row", sharey="row")
            for row, site in enumerate(self.sites):
                for column, place in enumerate(places):
                    axes = grid[row][column]
                    self._draw(axes, site, shown[place])
                    if row == 0:
                        axes.set_title(f"step {shown[place]:,}")
                    if column == 0:
                        axes.set_ylabel(self.names[site])
        return figure

    def write_gif(self, file: Path, frames: int = 60, seconds: float = 6.0) -> None:
        """Write an animation of at most ``frames`` snapshots that rests at the end."""
        shown = list(self.steps)
        places = sorted({round(place) for place in np.linspace(0, len(shown) - 1, frames)})
        rate = max(1.0, len(places) / seconds)
        rest = [places[-1]] * round(rate)
        columns = min(COLUMNS, len(self.sites))
        rows = math.ceil(len(self.sites) / columns)
        with mpl.rc_context(STYLE):
            figure = new_figure(0.6 + 2.3 * columns, 0.6 + 1.9 * rows, dpi=90)
            panels = [figure.add_subplot(rows, columns, place + 1) for place in range(len(self.sites))]

            def draw(place: int) -> Sequence[Axes]:
                for axes, site in zip(panels, self.sites, strict=True):
                    axes.clear()
                    self._draw(axes, site, shown[place])
                    axes.set_title(self.names[site])
                figure.suptitle(f"step {shown[place]:,}", fontsize=9)
                return panels

            animation = FuncAnimation(figure, draw, frames=[*places, *rest])
            animation.save(str(file), writer=PillowWriter(fps=round(rate)))

    def _draw(self, axes: Axes, site: str, step: int) -> None:
        x = self.domains[site].x
        axes.plot(x, self.fixed[site](x), color=FAFT_COLOUR, linestyle="--", linewidth=1.1)
        axes.plot(x, self.steps[step][site](x), color=RAFT_COLOUR, linewidth=1.6)
        axes.axhline(0, color=QUIET, linewidth=0.5)
        axes.set_ylim(*self._limits[site])
