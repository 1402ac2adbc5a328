"""Write results/step-scales: a converted model's RAFs trained by steps as they are, and by scaled ones.

python scripts/measure_step_scales.py --model MINILM --data_dir GLUE
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from itertools import product
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
RUNS, RESULTS = ROOT / "runs" / "step-scales", ROOT / "results" / "step-scales"
RATES = (5e-3, 5e-4)
COLUMNS = (
    "task", "activation", "learning_rate", "raf_learning_rate", "raf_scaled_steps", "seed", "points",
    "validation", "epoch", "constant",
)  # fmt: skip


def main() -> None:
    """Run the grids; what is there already is not run again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data_dir", help="GLUE in the official layout; the hub without it.")
    arguments = parser.parse_args()
    common = ["--models", arguments.model, "--bf16", "true", "--processes", "2", "--tasks", "sst2"]
    if arguments.data_dir:
        common += ["--data_dir", arguments.data_dir]
    found = []
    for rate, is_scaled in product(RATES, (True, False)):
        folder = RUNS / f"{rate:g}-{'scaled' if is_scaled else 'plain'}"
        options = ["--raf_learning_rate", f"{rate:g}", "--raf_scaled_steps", str(is_scaled).lower()]
        _grid([*common, *options, "--activations", "raf", "--output_dir", str(folder)])
        found.append(pd.read_csv(folder / "results.csv").assign(raf_scaled_steps=is_scaled))
    _grid([*common, "--activations", "keep", "--output_dir", str(RUNS / "keep")])
    found.append(pd.read_csv(RUNS / "keep" / "results.csv"))
    RESULTS.mkdir(exist_ok=True)
    table = pd.concat(found)[list(COLUMNS)].round({"points": 2, "validation": 2})
    table.to_csv(RESULTS / "results.csv", index=False)


def _grid(options: list[str]) -> None:
    recipe = str(ROOT / "recipes" / "grid" / "cpu-1hour.yaml")
    words = [sys.executable, "-m", "raft.cli.main", "grid", "--config", recipe, "--seeds", "2", *options]
    subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
