"""Draw the figure of README, docs/figures/front-light.svg and front-dark.svg, from the folder of a demo.

raft demo --out results/modular-addition/demo
python results/modular-addition/draw_front.py results/modular-addition/demo
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from raft.analysis.figure_style import STYLE, new_figure, write_figure
from raft.analysis.snapshots import read_snapshots
from raft.experiments.modular_addition import FOUND, FREE, GELU, LEARNED, SINE, SumComparison

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
THEMES = {
    "light": ("#24292f", "#d5471d", "#6e7781", "#0a7d55"),
    "dark": ("#e6edf3", "#ff8f5c", "#8d96a0", "#4cc38a"),
}
"""Colours of text, learned functions, GELU and sine, on GitHub's grounds."""
SHOWN = (0, 25, 50, 100)
"""Steps at which the function is drawn, and the last."""


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    snapshots = read_snapshots(run)
    chosen = [snapshot for snapshot in snapshots if snapshot.step in SHOWN] + [snapshots[-1]]
    runs = SumComparison.read(run).by_activation()
    x = np.linspace(-2.3, 2.3, 300)
    for theme, (text, learned, fixed, sine) in THEMES.items():
        keys = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
        colours: Any = dict.fromkeys(keys, text)
        with mpl.rc_context({**STYLE, **colours}):
            figure = new_figure(8.4, 2.7)
            figure.patch.set_alpha(0)
            left, right = figure.subplots(1, 2)
            for axes in (left, right):
                axes.patch.set_alpha(0)
            for number, snapshot in enumerate(chosen):
                (act,) = snapshot.rafs.values()
                is_first = number == 0
                left.plot(
                    x,
                    act.first(x),
                    color=fixed if is_first else learned,
                    linestyle="--" if is_first else "-",
                    linewidth=1.2 if number < len(chosen) - 1 else 2,
                    alpha=1 if is_first else (number + 1) / len(chosen),
                )
            left.annotate("GELU, where it began", (1.45, 1.45), color=fixed, ha="right")
            left.annotate(f"after {snapshots[-1].step} steps", (-2.3, -1.15), color=learned)
            left.set_title("an activation that is learned")
            left.set_xlabel("x")
            kinds = (
                (LEARNED, learned, "-"),
                (FOUND, learned, "--"),
                (SINE, sine, "-"),
                (FREE, learned, ":"),
                (GELU, fixed, "-"),
            )
            for name, colour, line in kinds:
                for number, each in enumerate(runs[name]):
                    steps, shares = zip(*each.history, strict=True)
                    label = {"label": name} if number == 0 else {}
                    right.plot(
                        steps, [100 * s for s in shares], color=colour, linestyle=line, linewidth=1.2, **label
                    )
            right.legend(frameon=False, loc="lower right")
            right.set_xscale("log")
            right.set_xlim(20, 10_000)
            right.set_title("addition modulo 59: held-out sums that are right (%)")
            right.set_xlabel("training step")
            write_figure(figure, FIGURES / f"front-{theme}.svg")


if __name__ == "__main__":
    main()
