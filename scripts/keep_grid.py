"""Keep a grid: copy its results, tables, recipe, and the RAFs of some seeds' cells.

python scripts/keep_grid.py runs/convert-low-data results/convert-low-data
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from pathlib import Path

import yaml

from keep_run import remove_kept
from raft.experiments.grid import read_options
from raft.experiments.grid_rafs import keep_grid_rafs
from raft.report.tables.grid import RESULTS, SEARCH, make_cell_key, read_results
from raft.training.monitoring import RAFS

SETTING = ("task", "model", "activation", "tuning", "train_examples")
FILES = (RESULTS, "tables.md", "tables.tex")
RECIPE = "recipe.yaml"


def main() -> None:
    """Copy; an existing folder is replaced."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--models", nargs="+", help="Names of the models on the hub, for the recipe.")
    parser.add_argument("--seeds", type=int, default=3, help="Seeds whose RAFs are kept, of each setting.")
    arguments = parser.parse_args()
    if not (arguments.grid / RESULTS).is_file():
        raise SystemExit(f"there is no {arguments.grid / RESULTS}")
    results = read_results(arguments.grid / RESULTS)
    models = list(dict.fromkeys(results.model))
    for name in (*FILES, RECIPE):
        if not (arguments.grid / name).is_file():
            raise SystemExit(f"there is no {arguments.grid / name}")
    remove_kept(arguments.kept, arguments.grid)
    arguments.kept.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(arguments.grid / name, arguments.kept / name)
    if (arguments.grid / SEARCH).is_file():
        shutil.copyfile(arguments.grid / SEARCH, arguments.kept / SEARCH)
    recipe = yaml.safe_load((arguments.grid / RECIPE).read_text(encoding="utf-8"))
    for key in ("data_dir", "transfer_data_dir"):  # local paths
        recipe.pop(key, None)
    recipe["models"] = arguments.models or recipe["models"]
    text = yaml.safe_dump(recipe, sort_keys=False)
    (arguments.kept / RECIPE).write_text(text, encoding="utf-8")
    kept: Counter[tuple[str, ...]] = Counter()
    folders = {
        make_cell_key(read_options(file.parent), models): file.parent
        for file in arguments.grid.glob(f"*/{RAFS}")
    }
    cells = []
    for row in results.to_dict("records"):
        setting = tuple(str(row[name]) for name in SETTING)
        cell = folders.get(make_cell_key(row, models))
        if cell is not None and kept[setting] < arguments.seeds:
            kept[setting] += 1
            cells.append(cell)
    if cells:
        keep_grid_rafs(cells, arguments.kept)


if __name__ == "__main__":
    main()
