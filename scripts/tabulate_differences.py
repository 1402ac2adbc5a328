"""Validation losses of a variant less those of another over a kept comparison, seed by seed, with intervals.

python scripts/tabulate_differences.py results/cpu-pretraining-1hour raf raf:raf_learning_rate=0 --every 1000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from raft.experiments.pretraining import PretrainingComparison
from raft.experiments.statistics import compare_seeds
from raft.report.tables.pretraining import losses_by_step
from raft.report.tables.text_table import TextTable


def main() -> None:
    """Write ``differences.md`` into the folder, and print how far each seed was ahead."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="Of a comparison of two seeds or more.")
    parser.add_argument("ours", help="A variant's name.")
    parser.add_argument("theirs", help="The name of the one whose losses are subtracted.")
    parser.add_argument("--every", type=int, required=True, help="Steps between two rows.")
    arguments = parser.parse_args()
    variants = {each.activation: each for each in PretrainingComparison.read(arguments.folder).variants}
    for name in (arguments.ours, arguments.theirs):
        if name not in variants:
            parser.error(f"{arguments.folder} has no variant {name!r}, but {', '.join(variants)}")
    ours, theirs = (losses_by_step(variants[name]) for name in (arguments.ours, arguments.theirs))
    text = table(ours, theirs, arguments.every).markdown()
    (arguments.folder / "differences.md").write_text(text, encoding="utf-8")
    print((ours - theirs).round(4).to_string())


def table(ours: pd.DataFrame, theirs: pd.DataFrame, every: int) -> TextTable:
    """A row every so many steps, a column a seed, and the mean with its interval."""
    rows = []
    for step in [step for step in ours.index if step % every == 0]:
        mean = compare_seeds(ours.loc[step].tolist(), theirs.loc[step].tolist())
        each = [f"{difference:+.3f}" for difference in ours.loc[step] - theirs.loc[step]]
        cells = [f"{step:,}", *each, f"{mean.mean:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]"]
        rows.append([cell.replace("-", "−") for cell in cells])
    return TextTable("Differences", ["step", *map(str, ours), "mean [95 %]"], rows, labels=0)


if __name__ == "__main__":
    main()
