"""Draw the figure of README, docs/figures/front-light.svg and front-dark.svg: learned functions over GELU.

python results/shapes/draw_front.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from raft.analysis.figure_style import STYLE, new_figure, write_figure
from raft.analysis.function_measures import Domain
from raft.analysis.snapshots import read_inputs, read_snapshots
from raft.coefficients.functions import FUNCTIONS

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "results" / "cpu-pretraining-1hour"
SEEDS = (2022, 2023, 2024)
THEMES = {"light": ("#24292f", "#d5471d", "#6e7781"), "dark": ("#e6edf3", "#ff8f5c", "#8d96a0")}
"""Colours of text, learned functions and GELU, on GitHub's grounds."""


def main() -> None:
    """Draw both."""
    runs = [RUNS / f"raf-{seed}" for seed in SEEDS]
    functions = [read_snapshots(run)[-1].rafs for run in runs]
    inputs = read_inputs(runs[0])
    for theme, (text, learned, fixed) in THEMES.items():
        colours: Any = dict.fromkeys(("text.color", "axes.edgecolor", "xtick.color", "ytick.color"), text)
        with mpl.rc_context({**STYLE, **colours}):
            figure = new_figure(8.4, 2.3)
            figure.patch.set_alpha(0)
            panels = figure.subplots(1, len(functions[0]), sharey=True)
            for number, (axes, site) in enumerate(zip(panels, functions[0], strict=True)):
                domain = Domain.of(inputs[site])
                x = np.linspace(domain.x[0], domain.x[-1], 300)
                axes.patch.set_alpha(0)
                axes.plot(x, FUNCTIONS["gelu"](x), color=fixed, linestyle="--", linewidth=1.2)
                for rafs in functions:
                    axes.plot(x, rafs[site].first(x), color=learned, linewidth=1.4)
                axes.set_title(f"layer {number}")
                axes.set_ylim(-0.35, 1.25)
            panels[0].annotate("GELU", (0.9, 1.1), color=fixed, ha="right")
            panels[0].annotate("learned,\nthree seeds", (1.9, 0.48), color=learned)
            write_figure(figure, ROOT / "docs" / "figures" / f"front-{theme}.svg")


if __name__ == "__main__":
    main()
