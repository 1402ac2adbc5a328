"""Draw the loss against the gain of the activations, and write the effects of gain and shape.

    python results/gain/draw_gains.py results/gain

Reads ``runs/comparison.json``, and writes ``losses.png`` and ``effects.md``: differences are paired by seed,
with Student's 95 % interval. The figure leaves out seeds of which a model stayed on the plateau.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import geometric_mean

import matplotlib as mpl
import numpy as np

from raft.analysis.figure_style import FAFT_COLOUR, QUIET, RAFT_COLOUR, STYLE, new_figure, write_figure
from raft.experiments.pretraining import PretrainingComparison
from raft.experiments.statistics import compare_seeds
from raft.functions import load_functions
from raft.functions.fixed_gain import measure_gain
from raft.modules import Rational
from raft.report.tables.numbers import format_interval

NEVER, TRAINED, FIXED = "raf:raf_learning_rate=0", "raf", "gelu"
PLATEAU = 6.0
"""A loss above which a model knows no more than the frequencies of words."""
GAINS = ("full", "middle", "low")
SHAPES = {"gelu": ("GELU's shape", FAFT_COLOUR, "s"), "raf": ("a learned shape", RAFT_COLOUR, "o")}


def name_of(shape: str, gain: str) -> str:
    """The variant's name in the comparison."""
    return (
        NEVER
        if (shape, gain) == ("gelu", "full")
        else f"raf:raf_init=results/gain/{shape}-{gain}.json:raf_learning_rate=0"
    )


def mean_gain(folder: Path, shape: str, gain: str) -> float:
    """The geometric mean over layers."""
    file = folder / f"{shape}-{gain}.json"
    acts = load_functions(file).values() if file.exists() else [Rational("gelu")]
    return geometric_mean(float(measure_gain(*(v.detach() for v in act.coefficients()))) for act in acts)


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    comparison = PretrainingComparison.read(folder / "runs")
    losses = {variant.activation: np.array(variant.losses) for variant in comparison.variants}
    of = {(shape, gain): losses[name_of(shape, gain)] for shape in SHAPES for gain in GAINS}
    rows = {
        "lower gain, GELU's shape (low less full)": (of["gelu", "low"], of["gelu", "full"]),
        "learned shape, full gain (learned minus GELU's)": (of["raf", "full"], of["gelu", "full"]),
        "learned shape, middle gain": (of["raf", "middle"], of["gelu", "middle"]),
        "learned shape, low gain": (of["raf", "low"], of["gelu", "low"]),
        "RAFs that are trained, minus GELU": (losses[TRAINED], losses[FIXED]),
        "GELU's shape at low gain, minus trained RAFs": (of["gelu", "low"], losses[TRAINED]),
    }
    left = np.array(list(losses.values())).max(0) < PLATEAU
    heads = ["what", f"all {len(left)} seeds", f"the {left.sum()} whose models all left the plateau"]
    lines = [f"| {' | '.join(heads)} |", "| --- | ---: | ---: |"]
    for name, pair in rows.items():
        subsets = [[values[kept].tolist() for values in pair] for kept in (left | True, left)]
        differences = [compare_seeds(*subset) for subset in subsets]
        cells = [format_interval(each.mean, each.low, each.high, 3) for each in differences]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    (folder / "effects.md").write_text("\n".join(lines) + "\n", encoding="utf-8")

    with mpl.rc_context(STYLE):
        figure = new_figure(5.2, 3.1)
        axes = figure.add_subplot()
        for shape, (label, colour, marker) in SHAPES.items():
            x = [mean_gain(folder, shape, gain) for gain in GAINS]
            seeds = np.array([of[shape, gain][left] for gain in GAINS])
            axes.plot(x, seeds, ".", color=colour, alpha=0.4)
            axes.plot(x, seeds.mean(1), color=colour, marker=marker, label=f"{label}, frozen")
        for name, style, label in ((FIXED, ":", "GELU"), (TRAINED, "--", "trained RAFs")):
            axes.axhline(losses[name][left].mean(), color=QUIET, linewidth=1, linestyle=style, label=label)
        axes.set_xscale("log")
        axes.set_xticks(x, labels=[f"{gain:.2f}" for gain in x])
        axes.minorticks_off()
        axes.set_xlabel("gain (root mean square over standard normal inputs)")
        axes.set_ylabel("validation loss (nats)")
        axes.legend(frameon=False)
        write_figure(figure, folder / "losses.png")


if __name__ == "__main__":
    main()
