"""Draw what was learned in modular addition: the found function beside sine and GELU, and the steps of each.

python results/modular-addition/draw_functions.py results/modular-addition
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from learn_sums import ACTIVATIONS, FOUND, STEPS

from raft.analysis.figure_style import (
    FAFT_COLOUR,
    OTHER_COLOURS,
    QUIET,
    RAFT_COLOUR,
    STYLE,
    new_figure,
    write_figure,
)
from raft.coefficients.functions import FUNCTIONS
from raft.functions import load_functions


def main() -> None:
    """Draw ``functions.png``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    runs = pd.read_csv(folder / "runs.csv")
    found = load_functions(folder / "found.json")["ffn"]
    x = np.linspace(-4, 4, 400)
    with mpl.rc_context(STYLE):
        figure = new_figure(8.4, 2.8)
        left, right = figure.subplots(1, 2)
        left.plot(
            x, FUNCTIONS["gelu"](x), color=FAFT_COLOUR, linestyle="--", linewidth=1.2, label="GELU, its start"
        )
        left.plot(x, np.sin(x), color=OTHER_COLOURS[0], linestyle=":", linewidth=1.2, label="sine")
        left.plot(x, found.values(x)[0], color=RAFT_COLOUR, linewidth=1.6, label="learned, fixed gain")
        left.set_ylim(-2, 2.5)
        left.set_xlabel("x")
        left.legend(frameon=False)
        for number, name in enumerate(ACTIVATIONS):
            steps = runs[runs.activation == name].steps
            colour = RAFT_COLOUR if name in (FOUND, "RAF, fixed gain") else QUIET
            right.plot(
                steps.fillna(STEPS * 1.3), [number] * len(steps), "o", color=colour, markersize=3.5, alpha=0.6
            )
        right.axvline(STEPS, color=QUIET, linewidth=1, linestyle=":")
        right.set_xscale("log")
        right.set_yticks(range(len(ACTIVATIONS)), ACTIVATIONS)
        right.invert_yaxis()
        right.set_xlabel("steps to 99 %; right of the dotted line: never")
        write_figure(figure, folder / "functions.png")


if __name__ == "__main__":
    main()
