"""Pretrain variants of one recipe on the same batches, over seeds, and compare them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import TrainerCallback

from raft.errors import InputError
from raft.experiments.machine import machine
from raft.experiments.statistics import Difference, compare_seeds
from raft.files import read_json, write_text
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.run import PretrainingResult, PretrainingText, run
from raft.pretraining.variants import find_baseline, folder_name, variant_arguments
from raft.pretraining.zero_shot import ZeroShotTest
from raft.training.arguments import RaftTrainingArguments
from raft.training.run_folder import hold

COMPARISON = "comparison.json"
WAIT = 1.0
"""Seconds between two looks at runs that other processes work on."""
PlannedRun = tuple[str, PretrainingRecipe, RaftTrainingArguments]
"""A variant's name, recipe and arguments."""


@dataclass(frozen=True)
class Variant:
    """One activation's runs, in the order of the seeds.

    Attributes:
        activation: ``"raf"``, the fixed function's name, or either with settings: ``"raf:version=B"``.
        results: one a seed.
        difference: of its validation loss to the first fixed activation's, paired by seed; None for that one
            itself, and where there is one seed alone.
    """

    activation: str
    results: list[PretrainingResult]
    difference: Difference | None = None

    @property
    def losses(self) -> list[float]:
        """Validation losses at the end, in nats, one a seed."""
        return [result.loss for result in self.results]


@dataclass(frozen=True)
class PretrainingComparison:
    """All runs of a comparison.

    Attributes:
        variants: in the order in which they were named.
        command: that repeats it.
        setup: sizes, versions, machine.
    """

    variants: list[Variant]
    command: str
    setup: dict[str, Any]

    @property
    def baseline(self) -> str | None:
        """The variant that the others are compared with."""
        return find_baseline([variant.activation for variant in self.variants])

    def rows(self) -> list[dict[str, Any]]:
        """The table: one row a variant, means and standard deviations over seeds."""
        rows = []
        for variant in self.variants:
            perplexities = [math.exp(loss) for loss in variant.losses]
            seconds = [result.seconds for result in variant.results]
            rates = [result.tokens / result.seconds for result in variant.results]
            difference = variant.difference
            bits = [result.bits_per_byte for result in variant.results if result.bits_per_byte is not None]
            reached = self._steps_to_baseline(variant)
            shares = [steps / variant.results[number].steps for number, steps in reached.items()]
            rows.append(
                {
                    "activation": variant.activation,
                    "seeds": len(variant.results),
                    "loss": float(np.mean(variant.losses)),
                    "loss_std": _deviation(variant.losses),
                    "perplexity": float(np.mean(perplexities)),
                    "perplexity_std": _deviation(perplexities),
                    "bits_per_byte": float(np.mean(bits)) if bits else None,
                    "accuracies": _mean_accuracies(variant),
                    "accuracy_differences": self._accuracy_differences(variant),
                    "difference": difference and difference.mean,
                    "difference_low": difference and difference.low,
                    "difference_high": difference and difference.high,
                    "steps_to_baseline": float(np.mean(list(reached.values()))) if reached else None,
                    "share_to_baseline": float(np.mean(shares)) if shares else None,
                    "reached_baseline": len(reached),
                    "seconds": float(np.mean(seconds)),
                    "tokens_per_second": float(np.mean(rates)),
                }
            )
        return rows

    def _baseline_of(self, variant: Variant) -> Variant | None:
        baseline = next((other for other in self.variants if other.activation == self.baseline), None)
        return None if baseline is variant else baseline

    def _accuracy_differences(self, variant: Variant) -> dict[str, Difference]:
        """Accuracies less the baseline's, paired by seed, by name of the test; from 0 to 1."""
        baseline = self._baseline_of(variant)
        if baseline is None or len(variant.results) < 2:
            return {}
        return {
            name: compare_seeds(
                [result.accuracies[name] for result in variant.results],
                [result.accuracies[name] for result in baseline.results],
            )
            for name in _mean_accuracies(variant)
            if name in _mean_accuracies(baseline)
        }

    def _steps_to_baseline(self, variant: Variant) -> dict[int, float]:
        """Steps after which runs had their baseline's final loss, by number of the run."""
        baseline = self._baseline_of(variant)
        if baseline is None:
            return {}
        pairs = zip(variant.results, baseline.results, strict=True)
        reached = [steps_to_loss(result, of_baseline.loss) for result, of_baseline in pairs]
        return {number: steps for number, steps in enumerate(reached) if steps is not None}

    @classmethod
    def read(cls, folder: Path) -> PretrainingComparison:
        """Of a comparison's folder.

        Raises:
            InputError: where ``comparison.json`` is none.
        """
        file, what = folder / COMPARISON, "comparison of 'raft pretrain'"
        comparison = read_json(file, cls, what)
        if not comparison.variants or not all(variant.results for variant in comparison.variants):
            raise InputError(f"{file} holds no {what}: a variant has no results")
        if len({tuple(result.seed for result in variant.results) for variant in comparison.variants}) > 1:
            raise InputError(f"{file} holds no {what}: its variants have other seeds than each other")
        return comparison

    def write(self, folder: Path) -> None:
        """Write ``comparison.json`` and ``comparison.csv``."""
        write_text(folder / COMPARISON, json.dumps(asdict(self), indent=1) + "\n")
        rows = []
        for row in self.rows():
            accuracies, differences = row.pop("accuracies"), row.pop("accuracy_differences")
            row |= {f"{name}_accuracy": mean for name, (mean, _) in accuracies.items()}
            row |= {f"{name}_difference": difference.mean for name, difference in differences.items()}
            rows.append(row)
        write_text(folder / "comparison.csv", pd.DataFrame(rows).to_csv(index=False))


def steps_to_loss(result: PretrainingResult, loss: float) -> float | None:
    """Steps after which a run's validation loss, straight between evaluations, first was as low.

    None where it never was.
    """
    before: tuple[int, float] | None = None
    for step, _, value in result.history:
        if value <= loss:
            if before is None:
                return float(step)
            return before[0] + (step - before[0]) * (before[1] - loss) / (before[1] - value)
        before = (step, value)
    return None


def plan_runs(recipe: PretrainingRecipe, arguments: RaftTrainingArguments) -> Iterator[PlannedRun]:
    """Each run of a comparison, folder and seed among its arguments; a single one has the folder as it is."""
    if recipe.compare is None and recipe.seeds == 1:
        yield recipe.activation, recipe, arguments
        return
    for seed in range(arguments.seed, arguments.seed + recipe.seeds):
        for name in recipe.variants():
            folder = str(arguments.folder / folder_name(name, seed))
            of_run = variant_arguments(arguments, name, output_dir=folder, seed=seed, data_seed=None)
            yield name, recipe.variant(name), of_run


def compare_pretraining(
    recipe: PretrainingRecipe,
    arguments: RaftTrainingArguments,
    text: PretrainingText,
    command: str,
    started: Callable[[str, int, Path], None] = lambda activation, seed, folder: None,
    finished: Callable[[PretrainingResult, Path], None] = lambda result, folder: None,
    callbacks: Sequence[TrainerCallback] = (),
    tests: Mapping[str, ZeroShotTest] | None = None,
) -> PretrainingComparison:
    """Run every variant with every seed in a folder of its own under ``arguments.output_dir``.

    Runs that are there are not made again, and one that was begun goes on: the same command resumes. Given
    again while it runs, it makes those runs that no other process works on, and waits for these.

    Args:
        recipe: checked.
        arguments: of each run, but for its seed and folder.
        text: of ``read_text``; all variants read the same batches.
        command: that repeats the comparison.
        started: called with activation, seed and folder before each run.
        finished: called with result and folder after each run.
        callbacks: of ``transformers``, for every run.
        tests: of ``raft.pretraining.zero_shot.open_tests``, for every run.
    """
    planned = list(plan_runs(recipe, arguments))
    results: dict[Path, PretrainingResult] = {}
    while len(results) < len(planned):
        before = len(results)
        for name, of_variant, one in planned:
            if one.folder in results:
                continue
            with hold(one.folder) as is_ours:
                if not is_ours:
                    continue
                started(name, one.seed, one.folder)
                result = replace(run(of_variant, one, text, callbacks, tests), activation=name)
                results[one.folder] = result
                finished(result, one.folder)
        if len(results) == before:
            time.sleep(WAIT)
    variants: dict[str, list[PretrainingResult]] = {name: [] for name in recipe.variants()}
    for name, _, one in planned:
        variants[name].append(results[one.folder])
    first = find_baseline(list(variants))
    compared = [
        Variant(name, results, _difference(results, variants[first]) if first not in (None, name) else None)
        for name, results in variants.items()
    ]
    setup = {
        "documents": text.documents,
        "train_sequences": len(text.sequences),
        "validation_sequences": len(text.validation),
        "vocabulary": len(text.tokenizer),
        **machine(),
    }
    return PretrainingComparison(compared, command, setup)


def _difference(ours: Sequence[PretrainingResult], theirs: Sequence[PretrainingResult]) -> Difference | None:
    if len(ours) < 2:
        return None
    return compare_seeds([result.loss for result in ours], [result.loss for result in theirs])


def _mean_accuracies(variant: Variant) -> dict[str, tuple[float, float | None]]:
    """Mean and standard deviation over seeds, by name of the test, of those that all runs were given."""
    runs = [run.accuracies for run in variant.results]
    names = [name for name in runs[0] if all(name in run for run in runs)]
    shares = {name: [run[name] for run in runs] for name in names}
    return {name: (float(np.mean(values)), _deviation(values)) for name, values in shares.items()}


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
