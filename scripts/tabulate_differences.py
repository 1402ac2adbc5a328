"""Differences of validation losses between two variants of a kept comparison, by seed, with intervals.

python scripts/tabulate_differences.py results/cpu-pretraining-1hour raf raf:raf_learning_rate=0 --every 1000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from raft.experiments.pretraining import PretrainingComparison
from raft.experiments.statistics import compare_seeds
from raft.report.loss_figures import collect_losses
from raft.report.tables.numbers import format_interval, format_signed
from raft.report.tables.text_table import TextTable


def main() -> None:
    """Write ``differences.md`` into the folder, and print the differences of all seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="Of a comparison of two seeds or more.")
    parser.add_argument("ours", help="A variant's name.")
    parser.add_argument("theirs", help="The name of the one whose losses are subtracted.")
    parser.add_argument("--every", type=int, required=True, help="Steps between two rows.")
    arguments = parser.parse_args()
    variants = {
        variant.activation: variant for variant in PretrainingComparison.read(arguments.folder).variants
    }
    for name in (arguments.ours, arguments.theirs):
        if name not in variants:
            parser.error(f"{arguments.folder} has no variant {name!r}, but {', '.join(variants)}")
    ours, theirs = (collect_losses(variants[name]) for name in (arguments.ours, arguments.theirs))
    text = table(ours, theirs, arguments.every).markdown()
    (arguments.folder / "differences.md").write_text(text, encoding="utf-8")
    print((ours - theirs).round(4).to_string())


def table(ours: pd.DataFrame, theirs: pd.DataFrame, every: int) -> TextTable:
    """A row every so many steps, a column a seed, and the mean with its interval."""
    rows = []
    for step in [step for step in ours.index if step % every == 0]:
        mean = compare_seeds(ours.loc[step].tolist(), theirs.loc[step].tolist())
        by_seed = [format_signed(difference, 3) for difference in ours.loc[step] - theirs.loc[step]]
        rows.append([f"{step:,}", *by_seed, format_interval(mean.mean, mean.low, mean.high, 3)])
    frame = pd.DataFrame(rows, columns=["step", *map(str, ours), "mean [95 %]"])
    return TextTable("Differences", frame, labels=0)


if __name__ == "__main__":
    main()
