"""Validation losses of kept pretrainings, side by side, by number of training tokens.

python scripts/tabulate_losses.py results/attention-init random neighbours --every 1000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from raft.pretraining.run import PretrainingResult
from raft.report.tables.text_table import TextTable


def main() -> None:
    """Write ``losses.md`` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", nargs="+", help="Folders in it, of runs with as many tokens a step.")
    parser.add_argument("--every", type=int, required=True, help="Steps between two rows.")
    arguments = parser.parse_args()
    columns: dict[str, dict[int, str]] = {}
    tokens: dict[int, str] = {}
    for name in arguments.runs:
        run = PretrainingResult.read(arguments.folder / name)
        columns[name] = {step: f"{loss:.2f}" for step, _, loss in run.history if step % arguments.every == 0}
        tokens |= {step: f"{step * run.tokens // run.steps:,}" for step in columns[name]}
    table = pd.DataFrame(columns).sort_index().fillna("")
    table.insert(0, "tokens", [tokens[step] for step in table.index])
    text = TextTable("Losses", table, labels=0).markdown()
    (arguments.folder / "losses.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
