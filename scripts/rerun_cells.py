"""Repeat a random sample of a kept grid's fine-tunings, and compare their scores with the published ones.

python scripts/rerun_cells.py results/cpu-1hour --count 3 --model MINILM --data_dir GLUE
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from raft.experiments.grid import GridRecipe
from raft.finetuning.run import UNTRAINED, FinetuningRecipe
from raft.report.tables.grid import RESULTS, read_results, select_tuned_tasks, shorten_model_names

CELL = ("task", "activation", "tuning", "train_examples", "learning_rate", "raf_learning_rate", "seed")


def main() -> None:
    """Print a line a cell; end with status 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path, help="Folder of results/ with results.csv and recipe.yaml.")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--draw", type=int, default=0, help="Seed of the draw.")
    parser.add_argument("--model", help="The grid's by default.")
    parser.add_argument("--data_dir", help="The hub by default.")
    parser.add_argument("--transfer_data_dir", help="Data of zero-shot tests, which are repeated as well.")
    parser.add_argument("--threads", type=int, default=1, help="As many as the grid's processes had.")
    arguments = parser.parse_args()
    if not (arguments.grid / RESULTS).is_file():
        raise SystemExit(f"there is no {arguments.grid / RESULTS}")
    everything = read_results(arguments.grid / RESULTS)
    results = select_tuned_tasks(everything)
    recipe = yaml.safe_load((arguments.grid / "recipe.yaml").read_text(encoding="utf-8"))
    count = min(arguments.count, len(results))
    chosen = random.Random(arguments.draw).sample(range(len(results)), count)
    differ = 0
    for row in results.iloc[chosen].to_dict("records"):
        published = points_of(everything, row) if arguments.transfer_data_dir else [float(row["points"])]
        cell = {key: row[key] for key in CELL if not pd.isna(row[key])}  # a FAFT has no rate of RAFs
        cell |= {"model": arguments.model or model_of(recipe, row["model"]), "data_dir": arguments.data_dir}
        cell["transfer_data_dir"] = arguments.transfer_data_dir
        repeated = scores(recipe, cell, arguments.threads)
        differ += repeated != published
        what = " ".join(str(row[key]) for key in CELL)
        print(f"{what}: {_format(published)} published, {_format(repeated)} again", flush=True)
    sys.exit(int(differ > 0))


def model_of(recipe: dict[str, Any], name: str) -> str:
    """The grid's model of this short name; its only one, whatever its name."""
    models: list[str] = recipe["models"]
    if len(models) == 1:
        return models[0]
    by_name = {short: model for model, short in shorten_model_names(models).items()}
    if name not in by_name:
        raise SystemExit(f"the recipe has no model {name}: {', '.join(by_name)}; name it by --model")
    return by_name[name]


def points_of(results: pd.DataFrame, cell: dict[Any, Any]) -> list[float]:
    """Published points of a cell: of its test set, then of its zero-shot tests."""
    same = results.model == cell["model"]
    for key in CELL[1:]:
        same &= results[key].isna() if pd.isna(cell[key]) else results[key] == cell[key]
    rows = results[same & results.task.str.split(UNTRAINED).str[0].eq(cell["task"])]
    return [float(points) for points in rows.points]


def _format(points: list[float]) -> str:
    return " and ".join(str(point) for point in points)


def scores(recipe: dict[str, object], cell: dict[str, object], threads: int) -> list[float]:
    """Points of one fine-tuning: of its test set, then, with transfer data, of its zero-shot tests."""
    of_grids = {f.name for f in fields(GridRecipe)} - {f.name for f in fields(FinetuningRecipe)}
    dropped = {*of_grids, "output_dir"}
    if cell["transfer_data_dir"] is None:
        dropped |= {"transfer"}  # zero-shot tests do not change the score
    kept = {key: value for key, value in recipe.items() if key not in dropped}
    with tempfile.TemporaryDirectory() as place:
        options = {**kept, **cell, "output_dir": f"{place}/run"}
        file = Path(place) / "recipe.yaml"
        given = {key: value for key, value in options.items() if value is not None}
        file.write_text(yaml.safe_dump(given), encoding="utf-8")
        words = [sys.executable, "-m", "raft.cli.main", "finetune", "--config", str(file)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
        result = json.loads((Path(place) / "run" / "finetuning.json").read_text(encoding="utf-8"))
    points = [float(value) for value in result["tests"].values()]
    return points if cell["transfer_data_dir"] else points[:1]


if __name__ == "__main__":
    main()
