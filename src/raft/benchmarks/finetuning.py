"""Time of one fine-tuning on few examples: a plain script with ``transformers`` beside this library's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import (
    AutoModelForSequenceClassification,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from raft.benchmarks.timing import Ratio, compute_ratio
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

    def row(self) -> dict[str, Any]:
        values = {key: value for key, value in vars(self).items() if key != "ratio"}
        return {**values, **{f"ratio_{key}": value for key, value in vars(self.ratio).items()}}


def measure_finetuning(
    recipe: FinetuningRecipe, options: dict[str, Any], seconds: float, least_rounds: int = 6
) -> list[FinetuningMeasurement]:
    """Fine-tune one model on one task of sentences in each way, in turn.

    The plain way is ``Trainer`` with ``DataCollatorWithPadding``, a validation and a checkpoint of the model
    after each epoch and the best one loaded at the end. The task is read, and all modules are imported,
    before the first is timed.

    Args:
        recipe: task, model and number of examples; its activation is not used.
        options: training arguments of all ways.
        seconds: for all of it.
        least_rounds: whatever it takes.
    """
    sources = Sources()
    sources.task(recipe)
    sources.tokenizer(recipe.model)
    ways: dict[str, Callable[[Path], float]] = {PLAIN: partial(_run_trainer, recipe, options, sources)}
    for name, activation in WAYS.items():
        ways[name] = partial(_run_raft, replace(recipe, activation=activation), options, sources)
    times: dict[str, list[float]] = {name: [] for name in ways}
    points: dict[str, float] = {}
    random, begun = np.random.default_rng(0), time.perf_counter()
    while len(times[PLAIN]) < least_rounds or time.perf_counter() - begun < seconds:
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
