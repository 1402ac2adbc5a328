"""Measure the share of a pretraining that the callback takes; writes results.json.

python results/callback/measure_callback.py --corpus WIKIPEDIA
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from raft.callbacks import RafCallback
from raft.cli.options import parse_recipe
from raft.cli.quiet import quieten
from raft.experiments.machine import machine
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.run import read_text, run
from raft.training.arguments import RaftTrainingArguments

FOLDER = Path(__file__).parent
RECIPE = FOLDER.parents[1] / "src" / "raft" / "recipes" / "pretrain" / "cpu-15min.yaml"
EVENTS = ("on_train_begin", "on_step_end", "on_train_end")


class Timed(TrainerCallback):
    """Passes events on to a callback, and adds up the time they take."""

    def __init__(self, inner: TrainerCallback) -> None:
        self.inner, self.seconds, self.calls = inner, 0.0, 0

    def _pass(self, event: str, *args: Any, **kwargs: Any) -> None:
        begun = time.perf_counter()
        getattr(self.inner, event)(*args, **kwargs)
        self.seconds += time.perf_counter() - begun
        self.calls += 1


for name in EVENTS:
    setattr(Timed, name, lambda self, *args, _name=name, **kwargs: self._pass(_name, *args, **kwargs))


def main() -> None:
    """Pretrain for some minutes with a tracker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--steps", type=int, default=4000)
    options = parser.parse_args()
    quieten()
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "--config", str(RECIPE), "--corpus", options.corpus,
            "--max_steps", str(options.steps), "--eval_strategy", "no", "--save_strategy", "no",
            "--output_dir", folder, "--report_to", "tensorboard", "--disable_tqdm", "true",
        ]  # fmt: skip
        kinds = (PretrainingRecipe, RaftTrainingArguments)
        recipe, arguments = parse_recipe(kinds, "measure_callback", "", words)
        timed = Timed(RafCallback(recipe.snapshot_steps))
        begun = time.perf_counter()
        result = run(recipe, arguments, read_text(recipe), [timed])
        all_seconds = time.perf_counter() - begun
    results = {
        "command": f"python results/callback/measure_callback.py --corpus WIKIPEDIA --steps {options.steps}",
        "steps": result.steps,
        "every": recipe.snapshot_steps,
        "training_seconds": result.seconds,
        "all_seconds": all_seconds,
        "callback_seconds": timed.seconds,
        "share": timed.seconds / result.seconds,
        "milliseconds_a_step": 1000 * timed.seconds / result.steps,
        **machine(),
    }
    (FOLDER / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
