"""Time of one fine-tuning on few examples: a plain script with ``transformers`` beside this library's.

    python results/cpu-finetuning/measure_finetuning.py MINILM results/cpu-finetuning --data_dir GLUE

Writes ``results.json`` and ``results.csv``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import (
    AutoModelForSequenceClassification,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from raft.benchmarks.results import write_rows
from raft.benchmarks.timing import Ratio, compute_ratio, flatten_ratio
from raft.data.tasks.sampling import sample_split
from raft.data.tasks.task import evaluate
from raft.finetuning.data import decode_predictions, sentence_data
from raft.finetuning.run import FinetuningRecipe, run_finetuning
from raft.finetuning.task_source import Sources
from raft.finetuning.train import KEEP, RAF
from raft.hf.loading import load_pretrained
from raft.training.arguments import RaftTrainingArguments

PLAIN = "transformers.Trainer"
WAYS = {"raft, FAFT": KEEP, "raft, RAFT": RAF}
"""By name: the activation of this library's."""


@dataclass(frozen=True)
class FinetuningMeasurement:
    """One way to fine-tune.

    Attributes:
        way: its name.
        seconds: median, from loading the model to the test score.
        points: of the test; of the last round.
        ratio: of the time to that of the plain way in the same rounds.
        rounds: how many.
    """

    way: str
    seconds: float
    points: float
    ratio: Ratio
    rounds: int


def measure_finetuning(
    recipe: FinetuningRecipe, options: dict[str, Any], rounds: int
) -> list[FinetuningMeasurement]:
    """Fine-tune one model on one task of sentences in each way, in turn.

    The plain way is ``Trainer`` with ``DataCollatorWithPadding``, a validation and a checkpoint of the model
    after each epoch and the best one loaded at the end. The task is read, and all modules are imported,
    before the first is timed.

    Args:
        recipe: task, model and number of examples; its activation is not used.
        options: training arguments of all ways.
        rounds: of all ways, each in another order.
    """
    sources = Sources()
    sources.task(recipe)
    sources.tokenizer(recipe.model)
    ways: dict[str, Callable[[Path], float]] = {PLAIN: partial(_run_trainer, recipe, options, sources)}
    for name, activation in WAYS.items():
        ways[name] = partial(_run_raft, replace(recipe, activation=activation), options, sources)
    times: dict[str, list[float]] = {name: [] for name in ways}
    points: dict[str, float] = {}
    random = np.random.default_rng(0)
    for _ in range(rounds):
        for name in random.permutation(list(ways)):
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                points[name] = ways[name](Path(folder))
                times[name].append(time.perf_counter() - started)
    arrays = {name: np.array(values) for name, values in times.items()}
    return [
        FinetuningMeasurement(
            name, float(np.median(values)), points[name], compute_ratio(values, arrays[PLAIN]), len(values)
        )
        for name, values in arrays.items()
    ]


def _run_raft(recipe: FinetuningRecipe, options: dict[str, Any], sources: Sources, folder: Path) -> float:
    arguments = RaftTrainingArguments(output_dir=str(folder), **options)
    return run_finetuning(recipe, arguments, folder, sources)[0].points


def _run_trainer(recipe: FinetuningRecipe, options: dict[str, Any], sources: Sources, folder: Path) -> float:
    task, tokenizer = sources.task(recipe), sources.tokenizer(recipe.model)
    split: Any = recipe.split
    arguments = TrainingArguments(
        output_dir=str(folder),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_only_model=True,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="points",
        **options,
    )
    chosen = sample_split(task, arguments.seed, recipe.examples, split, recipe.stratified)
    data = sentence_data(task, chosen.train, chosen.validation, tokenizer, recipe.max_length or 128)
    model, _ = load_pretrained(AutoModelForSequenceClassification, recipe.model, **data.config)

    def points(prediction: EvalPrediction) -> dict[str, float]:
        logits: Any = prediction.predictions
        score = evaluate(task.metric, decode_predictions(task, (logits,)), np.array(prediction.label_ids))
        return {"points": score.points}

    train: Any = data.train
    validation: Any = None if data.validation is None else data.validation.inputs
    test: Any = next(iter(data.tests.values())).inputs
    trainer = Trainer(
        model,
        arguments,
        data.collate,  # type: ignore[arg-type]  # gives a mapping
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=points,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return float((trainer.predict(test).metrics or {})["test_points"])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--task", default="mrpc")
    parser.add_argument("--train_examples", default="100")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--bf16", action="store_true")
    settings = parser.parse_args()
    recipe = FinetuningRecipe(
        task=settings.task, data_dir=settings.data_dir, model=settings.model,
        train_examples=settings.train_examples,
    )  # fmt: skip
    recipe.check()
    options = {
        "use_cpu": not torch.cuda.is_available(),
        "bf16": settings.bf16,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 32,
        "learning_rate": 1e-4,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
    }
    measurements = measure_finetuning(recipe, options, settings.rounds)
    rows = [flatten_ratio(measurement) for measurement in measurements]
    write_rows(settings.out, Path(__file__).name, vars(settings), rows)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
