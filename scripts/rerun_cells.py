"""Fine-tune some cells of a kept grid again, drawn by chance, and hold their scores against the published.

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

from raft.analysis.grid import RESULTS, of_tuned_tasks, read_results, short_names
from raft.experiments.grid import GridRecipe
from raft.training.finetuning_run import FinetuningRecipe

CELL = ("task", "activation", "tuning", "train_examples", "learning_rate", "raf_learning_rate", "seed")


def main() -> None:
    """Print a line a cell; end with status 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path, help="Folder of results/ with results.csv and recipe.yaml.")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--draw", type=int, default=0, help="Seed of the draw.")
    parser.add_argument("--model", help="The grid's by default.")
    parser.add_argument("--data_dir", help="The hub by default.")
    parser.add_argument("--threads", type=int, default=1, help="As many as the grid's processes had.")
    arguments = parser.parse_args()
    if not (arguments.grid / RESULTS).is_file():
        raise SystemExit(f"there is no {arguments.grid / RESULTS}")
    results = of_tuned_tasks(read_results(arguments.grid / RESULTS))
    recipe = yaml.safe_load((arguments.grid / "recipe.yaml").read_text(encoding="utf-8"))
    count = min(arguments.count, len(results))
    chosen = random.Random(arguments.draw).sample(range(len(results)), count)
    differ = 0
    for row in results.iloc[chosen].to_dict("records"):
        published = float(row["points"])
        cell = {key: row[key] for key in CELL if not pd.isna(row[key])}  # a FAFT has no rate of RAFs
        cell |= {"model": arguments.model or model_of(recipe, row["model"]), "data_dir": arguments.data_dir}
        again = score(recipe, cell, arguments.threads)
        differ += again != published
        what = " ".join(str(row[key]) for key in CELL)
        print(f"{what}: {published} published, {again} again", flush=True)
    sys.exit(int(differ > 0))


def model_of(recipe: dict[str, Any], name: str) -> str:
    """The grid's model of this short name; the only one, whatever it is called, where it has one."""
    models: list[str] = recipe["models"]
    if len(models) == 1:
        return models[0]
    found = {short: model for model, short in short_names(models).items()}
    if name not in found:
        raise SystemExit(f"the recipe has no model {name}: {', '.join(found)}; name it by --model")
    return found[name]


def score(recipe: dict[str, object], cell: dict[str, object], threads: int) -> float:
    """Points of the test set of one fine-tuning."""
    of_grids = {each.name for each in fields(GridRecipe)} - {each.name for each in fields(FinetuningRecipe)}
    left = {*of_grids, "output_dir", "transfer"}  # what is judged untrained does not change the score
    kept = {key: value for key, value in recipe.items() if key not in left}
    with tempfile.TemporaryDirectory() as place:
        options = {**kept, **cell, "output_dir": f"{place}/run"}
        file = Path(place) / "recipe.yaml"
        given = {key: value for key, value in options.items() if value is not None}
        file.write_text(yaml.safe_dump(given), encoding="utf-8")
        words = [sys.executable, "-m", "raft.cli.main", "finetune", "--config", str(file)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
        found = json.loads((Path(place) / "run" / "finetuning.json").read_text(encoding="utf-8"))
    return float(next(iter(found["tests"].values())))


if __name__ == "__main__":
    main()
