"""Draw the loss against the rate of RAFs, and tabulate how wide the plateaus of good rates are.

python results/conditioning/draw.py results/conditioning
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from raft.analysis.figure_style import OTHER_COLOURS, QUIET, RAFT_COLOUR, STYLE, new_figure, write_figure
from raft.report.tables.text_table import TextTable

WITHIN = 0.01
"""Nats above a method's best loss that still count as its plateau."""
SHOWN = 0.15
"""Nats above the best of all that are drawn."""


def main() -> None:
    import matplotlib

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    runs = pd.read_csv(folder / "losses.csv")
    runs["method"] = np.where(
        runs.decay > 0, runs.coordinates + ", decay " + runs.decay.astype(str), runs.coordinates
    )
    best_of_all = runs.loss.min()
    rows = []
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5.5, 3.4)
        axes = figure.subplots()
        never_trained = runs[runs.rate == 0].loss.mean()
        axes.axhline(never_trained, color=QUIET, linewidth=1, linestyle=":", label="never trained")
        runs = runs[runs.rate > 0]
        for (name, of_method), colour in zip(
            runs.groupby("method", sort=False), (RAFT_COLOUR, *OTHER_COLOURS), strict=False
        ):
            means = of_method.groupby("rate").agg(
                {"loss": "mean", "moved": "mean", "raf_norm": "mean", "other_norm": "mean"}
            )
            axes.plot(means.index, means.loss, marker="o", markersize=3, color=colour, label=name)
            losses, rates = means.loss.to_numpy(), means.index.to_numpy()
            best, good = int(np.argmin(losses)), rates[losses <= losses.min() + WITHIN]
            moved, of_rafs, of_others = means.iloc[best][["moved", "raf_norm", "other_norm"]]
            rows.append(
                [
                    name, f"{losses.min():.3f}", f"{rates[best]:g}", f"{good.min():g} to {good.max():g}",
                    f"{good.max() / good.min():.0f}", f"{moved:.2f}", f"{of_rafs / of_others:.2f}",
                ]
            )  # fmt: skip
        axes.set(xscale="log", xlabel="learning rate of the RAFs", ylabel="validation loss (nats)")
        axes.set_ylim(best_of_all - 0.01, best_of_all + SHOWN)
        axes.legend(frameon=False)
        write_figure(figure, folder / "rates.png")
    headers = [
        "coordinates", "best loss (nats)", "its rate", f"rates within {WITHIN}", "largest over smallest",
        "RAFs moved by (RMS)", "their gradients' norm / all others'",
    ]  # fmt: skip
    table = TextTable("Rates", pd.DataFrame(rows, columns=headers), labels=1)
    (folder / "table.md").write_text(table.markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
