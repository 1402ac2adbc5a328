"""Figures of one model: learned activations over the fixed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from raft.analysis.figure_style import FAFT_COLOUR, QUIET, RAFT_COLOUR, STYLE, fill_behind, new_panels
from raft.analysis.learned import LearnedFunction, join_names, shorten_name
from raft.hf.histogram import InputHistogram

DASHED: dict[str, Any] = {"color": FAFT_COLOUR, "linestyle": "--", "linewidth": 1.3}


def draw_functions(
    functions: Sequence[LearnedFunction], inputs: Mapping[str, InputHistogram] | None = None
) -> Figure:
    """Draw one panel per learned function: its curves, one per group, over its initial function.

    Args:
        functions: of :func:`raft.analysis.learned_functions`; those that have no curve are left out.
        inputs: of :func:`raft.hf.count_inputs`; their density is drawn behind the curves.

    Raises:
        ValueError: where none has a curve.
    """
    functions = [raf for raf in functions if raf.has_curve]
    if not functions:
        raise ValueError("there is no learned function with a curve to draw")
    with mpl.rc_context(STYLE):
        figure, panels = new_panels(len(functions))
        for axes, raf in zip(panels, functions, strict=True):
            axes.plot(raf.x, raf.y.T, color=RAFT_COLOUR, linewidth=1.8, alpha=max(0.3, 1 / raf.groups))
            # dashes above: where nothing has changed yet, both are seen
            axes.plot(raf.x, raf.beginning, **DASHED, label=f"{raf.began_as} (beginning)")
            name = "RAF" if raf.kind == "rational" else raf.kind
            axes.lines[0].set_label(f"{name} (now)" + (f", {raf.groups} groups" if raf.groups > 1 else ""))
            axes.axhline(0, color=QUIET, linewidth=0.5)
            axes.set_title(f"{shorten_name(join_names(raf.places))}: rms {raf.rms:.2g}")
            lines, seen = axes.get_legend_handles_labels()[0], (inputs or {}).get(raf.site)
            if seen is not None and seen.total:
                behind = fill_behind(axes, raf.x, seen.density(raf.x), label="density of inputs")
                lines += behind.get_legend_handles_labels()[0]
            axes.legend(handles=lines, frameon=False, loc="upper left", fontsize=7.5)
    return figure
