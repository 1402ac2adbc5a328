"""Validation losses of kept pretrainings beside each other, against the tokens that were read.

python scripts/tabulate_losses.py results/attention-init random neighbours --every 1000
python scripts/tabulate_losses.py results/gpu-pretraining-cut raf-2022.jsonl gelu-2022.jsonl \\
    raf-2023.jsonl gelu-2023.jsonl --every 250 --tokens_a_step 32768 --digits 3
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from raft.analysis.text_table import TextTable
from raft.training.pretraining_run import PretrainingResult


def main() -> None:
    """Write ``losses.md`` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "runs",
        nargs="+",
        help="Folders in it, of runs with as many tokens a step; or logs of unfinished ones.",
    )
    parser.add_argument("--every", type=int, required=True, help="Steps between two rows.")
    parser.add_argument("--tokens_a_step", type=int, help="Of logs.")
    parser.add_argument("--digits", type=int, default=2)
    arguments = parser.parse_args()
    columns: dict[str, dict[int, str]] = {}
    tokens: dict[int, str] = {}
    for name in arguments.runs:
        losses, tokens_a_step = read(arguments.folder / name, arguments.tokens_a_step)
        label = name.removesuffix(".jsonl")
        columns[label] = {
            step: f"{loss:.{arguments.digits}f}"
            for step, loss in losses.items()
            if step % arguments.every == 0
        }
        tokens |= {step: f"{step * tokens_a_step:,}" for step in columns[label]}
    table = pd.DataFrame(columns).sort_index().fillna("")
    rows = [[tokens[step], *row] for step, row in zip(table.index, table.to_numpy().tolist(), strict=True)]
    text = TextTable("Losses", ["tokens", *columns], rows, labels=0).markdown()
    (arguments.folder / "losses.md").write_text(text, encoding="utf-8")


def read(run: Path, tokens_a_step: int | None) -> tuple[dict[int, float], int]:
    """Validation loss by step, and the tokens of a step, of a run's folder or of an unfinished run's log."""
    if run.is_dir():
        result = PretrainingResult.read(run)
        return {step: loss for step, _, loss in result.history}, result.tokens // result.steps
    if not run.is_file():
        raise SystemExit(f"there is no folder and no log {run}")
    if tokens_a_step is None:
        raise SystemExit("--tokens_a_step must be given for logs")
    rows = [json.loads(line) for line in run.read_text(encoding="utf-8").splitlines()]
    return {row["step"]: row["eval_loss"] for row in rows if "eval_loss" in row}, tokens_a_step


if __name__ == "__main__":
    main()
