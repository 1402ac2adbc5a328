"""Time a grid of fine-tunings and as many runs of a plain script with ``transformers.Trainer``.

python results/cpu-grid-time/measure_grid_time.py --model MINILM --data_dir GLUE --out results/cpu-grid-time

Whole commands are timed. The plain script runs once a cell, with torch's own number of threads; `raft grid`
runs once, with a process of one thread a core. Both get the same examples and options, bfloat16 too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd
import yaml

from raft.data.tasks.sampling import sample_split
from raft.experiments.grid import SEEDS
from raft.experiments.machine import machine
from raft.finetuning.run import FinetuningRecipe
from raft.finetuning.task_source import Sources

SCRIPT = Path(__file__).with_name("plain_finetuning.py")
ARGUMENTS = {
    "num_train_epochs": 10,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 16,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "linear",
    "weight_decay": 0.1,
    "bf16": True,
}
PLAIN = "transformers.Trainer"
WAYS = {"raft grid, FAFT": "keep", "raft grid, RAFT": "raf"}
"""By name: the activation of the grid's cells."""


def main() -> None:
    """Write ``results.csv`` (one row a way) and ``results.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data_dir", help="GLUE in the official layout; the hub without it.")
    parser.add_argument("--tasks", nargs="+", default=["cola", "sst2", "mrpc"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        runs, grid = Path(place) / "plain", Path(place) / "grid.yaml"
        runs.mkdir()
        write_runs(runs, arguments)
        write_grid(grid, arguments)
        ways = {PLAIN: partial(run_plain, runs)}
        for name, activation in WAYS.items():
            ways[name] = partial(run_grid, grid, activation)
        for number in range(arguments.rounds):
            for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
                began = time.perf_counter()
                ways[name]()
                rows.append({"round": number, "way": name, "seconds": time.perf_counter() - began})
                print(f"{number} {name}: {rows[-1]['seconds']:.1f} s", flush=True)
    table = pd.DataFrame(rows).pivot(index="round", columns="way", values="seconds")[list(ways)]
    ratios = table.div(table[PLAIN], axis=0)
    summary = pd.DataFrame(
        {
            "cells": len(arguments.tasks) * arguments.seeds,
            "seconds": table.median(),
            "ratio_value": ratios.median(),
            "ratio_low": ratios.min(),
            "ratio_high": ratios.max(),
            "rounds": arguments.rounds,
        }
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    summary.to_csv(arguments.out / "results.csv")
    record = {"rounds": rows, "tasks": arguments.tasks, "seeds": arguments.seeds, "arguments": ARGUMENTS}
    (arguments.out / "results.json").write_text(
        json.dumps({**record, "setup": machine()}, indent=1) + "\n", encoding="utf-8"
    )
    print(summary.to_string())


def write_runs(folder: Path, arguments: argparse.Namespace) -> None:
    """Write the plain script's input: one file a cell, with the same examples as the grid's."""
    sources = Sources()
    for task_name in arguments.tasks:
        task = sources.task(FinetuningRecipe(task=task_name, data_dir=arguments.data_dir))
        for seed in SEEDS[: arguments.seeds]:
            sample = sample_split(task, seed, arguments.examples)
            splits = {
                "train": sample.train,
                "validation": sample.validation,
                "test": next(iter(task.tests.values())),
            }
            run = {
                "model": arguments.model,
                "labels": len(task.labels or ("score",)),
                "max_length": arguments.max_length,
                "arguments": {**ARGUMENTS, "seed": seed},
                **{name: [(e.first, e.second, e.label) for e in split] for name, split in splits.items()},
            }
            (folder / f"{task_name}-{seed}.json").write_text(json.dumps(run), encoding="utf-8")


def write_grid(file: Path, arguments: argparse.Namespace) -> None:
    """Write the grid's recipe."""
    recipe = {
        "tasks": arguments.tasks,
        "models": [arguments.model],
        "sizes": [str(arguments.examples)],
        "seeds": arguments.seeds,
        "data_dir": arguments.data_dir,
        "patience": ARGUMENTS["num_train_epochs"],
        "max_length": arguments.max_length,
        "disable_tqdm": True,
        **ARGUMENTS,
    }
    file.write_text(yaml.safe_dump({key: value for key, value in recipe.items() if value is not None}))


def run_plain(folder: Path) -> None:
    """Run one process a cell, one after the other."""
    for file in sorted(folder.glob("*.json")):
        run([sys.executable, str(SCRIPT), str(file)])


def run_grid(recipe: Path, activation: str) -> None:
    """Run the whole grid in an empty folder."""
    with tempfile.TemporaryDirectory() as place:
        words = ["-m", "raft.cli.main", "grid", "--config", str(recipe), "--output_dir", f"{place}/grid"]
        processes = ["--activations", activation, "--processes", str(os.cpu_count() or 1)]
        run([sys.executable, *words, *processes], {**os.environ, "OMP_NUM_THREADS": "1"})


def run(words: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command; its output is shown only where it fails."""
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")


if __name__ == "__main__":
    main()
