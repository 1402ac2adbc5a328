"""How networks learn to add, as curves."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from raft.analysis.figure_style import FAFT_COLOUR, OTHER_COLOURS, QUIET, RAFT_COLOUR, STYLE, new_figure
from raft.experiments.modular_addition import FOUND, FREE, GELU, GOAL, LEARNED, SINE, SumComparison

STYLES = {
    GELU: (FAFT_COLOUR, "-"), SINE: (OTHER_COLOURS[0], "-"), FREE: (RAFT_COLOUR, ":"),
    LEARNED: (RAFT_COLOUR, "-"), FOUND: (RAFT_COLOUR, "--"),
}  # fmt: skip


def draw_sum_curves(comparison: SumComparison) -> Figure:
    """Draw the share of held-out sums that are right against steps, a line a network."""
    with mpl.rc_context(STYLE):
        figure = new_figure(5.2, 3.1)
        axes = figure.add_subplot()
        axes.axhline(100 * GOAL, color=QUIET, linewidth=1, linestyle=":")
        for name, runs in comparison.by_activation().items():
            colour, line = STYLES[name]
            for number, run in enumerate(runs):
                steps, shares = zip(*run.history, strict=True)
                label = None if number else name
                axes.plot(
                    steps, [100 * share for share in shares], color=colour, linestyle=line, linewidth=1.2,
                    alpha=0.8, label=label, marker="o" if len(steps) < 3 else None,
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("step")
        axes.set_ylabel("held-out sums that are right (%)")
        axes.legend(frameon=False)
    return figure
