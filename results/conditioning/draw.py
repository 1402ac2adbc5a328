"""Draw losses and scores against the rate of RAFs, and tabulate how wide the plateaus of good rates are.

python results/conditioning/draw.py results/conditioning
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from raft.analysis.figure_style import OTHER_COLOURS, QUIET, RAFT_COLOUR, STYLE, new_figure, write_figure
from raft.report.tables.text_table import TextTable

COLOURS = (RAFT_COLOUR, *OTHER_COLOURS)
SHOWN = 0.15
"""Nats above the best loss that are drawn."""


def draw(axes: Axes, runs: pd.DataFrame, measure: str, within: float) -> pd.DataFrame:
    """A line a method, dotted where RAFs are not trained; a row a method.

    A method's plateau is its rates whose loss is at most ``within`` above its lowest, or whose score is at
    most ``within`` below that of RAFs that are never trained.
    """
    lower = measure == "loss"
    never = runs[runs.rate == 0][measure].mean()
    axes.axhline(never, color=QUIET, linewidth=1, linestyle=":", label="never trained")
    rows = []
    for (name, of_method), colour in zip(
        runs[runs.rate > 0].groupby("method", sort=False), COLOURS, strict=False
    ):
        means = of_method.groupby("rate").mean(numeric_only=True).sort_index()
        axes.plot(means.index, means[measure], marker="o", markersize=3, color=colour, label=name)
        values, rates = means[measure].to_numpy(), means.index.to_numpy()
        best = int(np.nanargmin(values) if lower else np.nanargmax(values))
        good = rates[values <= values[best] + within] if lower else rates[values >= never - within]
        rows.append(
            {
                "": name,
                "best": f"{values[best]:.{3 if lower else 1}f}",
                "its rate": f"{rates[best]:g}",
                f"rates within {within:g}": f"{good.min():g} to {good.max():g}",
                "largest over smallest": f"{good.max() / good.min():.0f}",
                "gradients' norm, RAFs": f"{means.raf_norm.iloc[best]:.3g}",
                "all others": f"{means.other_norm.iloc[best]:.3g}",
            }
        )
    axes.set(xscale="log", xlabel="learning rate of the RAFs")
    return pd.DataFrame(rows)


def main() -> None:
    """Write ``rates.png`` and ``table.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    losses = pd.read_csv(folder / "losses.csv")
    decayed = losses.coordinates + ", decay " + losses.decay.astype(str)
    losses["method"] = np.where(losses.decay > 0, decayed, losses.coordinates)
    scores = pd.read_csv(folder / "scores.csv")
    scores["method"] = scores.coordinates + ", clipped " + scores.clipped
    with matplotlib.rc_context(STYLE):
        tasks = list(scores.task.unique())
        figure = new_figure(2.0 + 3.1 * (1 + len(tasks)), 3.4)
        panels = figure.subplots(1, 1 + len(tasks))
        tables = {"pretrained, nats": draw(panels[0], losses, "loss", 0.01)}
        panels[0].set(title="pretrained", ylabel="validation loss (nats)")
        panels[0].set_ylim(losses.loss.min() - 0.01, losses.loss.min() + SHOWN)
        for axes, task in zip(panels[1:], tasks, strict=True):
            tables[f"MiniLM, {task}, points"] = draw(axes, scores[scores.task == task], "test", 1.0)
            axes.set(title=f"MiniLM, converted: {task}", ylabel="score (points)")
        panels[0].legend(frameon=False, fontsize=7)
        panels[-1].legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        write_figure(figure, folder / "rates.png")
    parts = [
        TextTable("Rates", table.rename(columns={"": name}), labels=1).markdown()
        for name, table in tables.items()
    ]
    (folder / "table.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
