"""A grid of fine-tunings: tasks × models × activations × tuning modes × sizes × seeds; rates by search."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np

from raft.bounds import check_numbers
from raft.data.cache import file_digest
from raft.data.splits import TrainOrValidation
from raft.errors import InputError
from raft.experiments.cells import Cell, CellFolder, State
from raft.experiments.statistics import tolerance_of
from raft.files import parse, read_text, write_text
from raft.finetuning.run import (
    UNTRAINED,
    FinetuningRecipe,
    FinetuningResult,
    TransferOptions,
    is_raft,
    run_finetuning,
)
from raft.finetuning.task_source import Sources, TaskOptions
from raft.finetuning.train import ACTIVATIONS, KEEP, RAF
from raft.finetuning.transfer import TransferError, check_transfer
from raft.finetuning.tuning import WITHOUT_RAFS, trains_rafs
from raft.pretraining.run import RESULT, PretrainingResult
from raft.training.arguments import RaftTrainingArguments

SEEDS = (2022, 202206, 20220602, 2259, 5309, 1046, 622, 320, 53, 49)
"""The paper's seeds."""
SEARCH_SEEDS = tuple(range(2021, 2021 - len(SEEDS), -1))
"""What rates are chosen with: a training that was chosen for its luck must not be counted too."""
CELL = "cell.json"
MODEL_FILES = ("*.safetensors", "*.bin", "*config.json")
"""Of a folder with a model, those that decide what a cell becomes."""
TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "merges.txt", "*.model")
PRETRAINED, PRETRAINING_SEED = "pretrained", "pretraining_seed"
"""Of models that ``raft pretrain`` made: the variant's name, and its seed."""
SINGLE_CLASS = "single_class"
"""Most points that one class for every input could get."""
RECIPE_KEYS = ("task", "model", "activation", "tuning", "train_examples")
ARGUMENT_KEYS = ("learning_rate", "raf_learning_rate", "seed")

Group = tuple[str, str, str, str, str]
"""Task, model, activation, tuning mode, training examples."""
Rates = tuple[float, float]
"""Learning rate, and that of the RAFs."""


@dataclass
class GridRecipe:
    """What a grid varies; all else is an option of ``raft finetune``, the same in every cell."""

    tasks: list[str] = field(default_factory=lambda: ["cola", "mrpc", "rte"], metadata={"help": "Tasks."})
    models: list[str] = field(
        default_factory=lambda: ["google-bert/bert-base-uncased"], metadata={"help": "Pretrained encoders."}
    )
    activations: list[str] = field(
        default_factory=lambda: ["keep", "raf"],
        metadata={"help": f"From {', '.join(ACTIVATIONS)}; the first is the baseline."},
    )
    tunings: list[str] = field(default_factory=lambda: ["full"], metadata={"help": "Tuning modes."})
    sizes: list[str] = field(
        default_factory=lambda: ["100"], metadata={"help": "Training examples: numbers, or 'all'."}
    )
    seeds: int = field(default=5, metadata={"help": "Seeds of each setting, at most 10."})
    search_learning_rates: list[float] = field(
        default_factory=list,
        metadata={"help": "Rates to choose from by validation scores, for each setting."},
    )
    search_raf_learning_rates: list[float] = field(
        default_factory=list, metadata={"help": "The same for the rates of the RAFs."}
    )
    search_seeds: int = field(
        default=2,
        metadata={"help": "Seeds that choose, by their mean validation score; they do not count."},
    )
    search_extensions: int = field(
        default=0,
        metadata={"help": "How often the rates of a setting go on beyond an end at which its best lies."},
    )

    def check(self) -> None:
        """Raise ``InputError`` for a value that cannot work."""
        check_numbers(self)
        for name in ("tasks", "models", "activations", "tunings", "sizes"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise InputError(f"--{name} needs one or more different values, not {' '.join(values)!r}")
        for name in ("search_learning_rates", "search_raf_learning_rates"):
            rates = getattr(self, name)
            if len(set(rates)) < len(rates):
                raise InputError(f"--{name} needs different rates, not {' '.join(map(str, rates))!r}")
        for name in ("seeds", "search_seeds"):
            if getattr(self, name) > len(SEEDS):
                raise InputError(f"--{name} must be at most {len(SEEDS)}, not {getattr(self, name)}")

    def groups(self) -> Iterator[Group]:
        """Every setting, but for rates and seeds."""
        yield from product(self.tasks, self.models, self.activations, self.tunings, self.sizes)


@dataclass(frozen=True)
class Grid:
    """A grid with what all its cells share.

    Attributes:
        recipe: what varies.
        cell: options of every cell.
        arguments: of every cell's training.
        sources: the tasks and tokenizers.
    """

    recipe: GridRecipe
    cell: FinetuningRecipe
    arguments: RaftTrainingArguments
    sources: Sources = field(default_factory=Sources)

    def check(self) -> None:
        """Raise ``InputError`` for a cell that cannot work, before any is run."""
        self.recipe.check()
        for group in self.recipe.groups():
            self._recipe_of(group).check()
        if self.recipe.activations == [KEEP]:
            self.cell.check_conversion()

    def check_models(self) -> None:
        """Raise ``InputError`` for a model that cannot be read, has RAFs and would be converted, or has none
        where they alone are trained."""
        for model in self.recipe.models:
            if is_raft(model) and self.recipe.activations != [KEEP]:
                raise InputError(
                    f"{model} has RAFs already, and nothing of it is converted: give --activations keep"
                )
            if not is_raft(model) and KEEP in self.recipe.activations and RAF in self.recipe.tunings:
                raise InputError(
                    f"--tunings raf trains RAFs alone, and {model} has none: give --activations raf, or "
                    "other --tunings"
                )

    def check_sources(self) -> list[str]:
        """Why some tasks' models are not judged on some others untrained, a line for each two tasks.

        Raises:
            InputError: for a model or a task that cannot be read, or where no model can be judged on any of
                the other tasks.
        """
        self.check_models()
        count = 0
        problems: dict[str, TransferError] = {}
        for task in self.recipe.tasks:
            for other in replace(self.cell, task=task).transfer_tasks():
                count += 1
                problem = self._transfer_problem(task, other)
                if problem is not None:
                    problems[f"{task}{UNTRAINED}{other.task}"] = problem
        if problems and len(problems) == count:
            raise next(iter(problems.values()))
        return [f"{tasks} is left out: {problem}" for tasks, problem in problems.items()]

    def digest_sources(self) -> dict[str, str]:
        """SHA-256 of what cells are made from, by name: the rows of each task, and the weights, the
        configuration and the tokenizer of each model that is a folder.

        Raises:
            InputError: for a task that cannot be read.
        """
        digests = {}
        for task in self.recipe.tasks:
            cell = replace(self.cell, task=task)
            for options in (cell, *cell.transfer_tasks()):
                digests[f"task {options.task}"] = _digest(self._read_rows(options))
        for model in self.recipe.models:
            folder = Path(model).expanduser()
            for kind, names in (("model", MODEL_FILES), ("tokenizer of", TOKENIZER_FILES)):
                files = sorted(path for name in names for path in folder.glob(name))
                if files:
                    digests[f"{kind} {model}"] = _digest([(file.name, file_digest(file)) for file in files])
        return digests

    def _read_rows(self, options: TaskOptions) -> object:
        if options.is_squad:
            return [self.sources.questions(options, split) for split in get_args(TrainOrValidation)]
        return self.sources.task(options)

    def _transfer_problem(self, task: str, other: TransferOptions) -> TransferError | None:
        try:
            check_transfer(replace(self.cell, task=task), other, self.sources)
        except TransferError as problem:
            return problem
        return None

    def search_cells(self, folder: CellFolder) -> list[Cell]:
        """Those whose validation scores choose the rates, each once, where there are several. With
        ``search_extensions`` those that are done may ask for more."""
        return drop_duplicates(
            cell
            for group in self.recipe.groups()
            if len(rates := self._searched_rates(group, folder)) > 1
            for cell in self._cells_of(group, rates)
        )

    def final_cells(self, folder: CellFolder) -> list[Cell]:
        """Those whose test scores count, of the settings whose rates are chosen. A model without RAFs has the
        same cell in modes that differ by the RAFs alone."""
        chosen = self.choose_rates(folder)
        return [
            self._cell(group, chosen[group], seed)
            for group in self.recipe.groups()
            if group in chosen
            for seed in SEEDS[: self.recipe.seeds]
        ]

    def choose_rates(self, folder: CellFolder) -> dict[Group, Rates]:
        """Learning rate, and that of the RAFs, of each setting: the best mean validation score of those whose
        seeds are all done; of equal ones the first."""
        chosen = {}
        for group in self.recipe.groups():
            rates = self._searched_rates(group, folder)
            best = rates[0] if len(rates) == 1 else self._best_rates(group, rates, folder)
            if best is not None:
                chosen[group] = best
        return chosen

    def run(
        self, folder: CellFolder, on_state_change: Callable[[Cell, State], None] = lambda cell, state: None
    ) -> list[Cell]:
        """Search, choose, run; see ``CellFolder.run_all``. Returns the cells that are not done."""

        def run_cell(cell: Cell, place: Path) -> None:
            recipe = replace(self.cell, **{key: cell.options[key] for key in RECIPE_KEYS})
            transferred = [
                other.task
                for other in recipe.transfer_tasks()
                if self._transfer_problem(recipe.task, other) is None
            ]
            recipe = replace(recipe, transfer=transferred or None)
            arguments = replace(self.arguments, **{key: cell.options[key] for key in ARGUMENT_KEYS})
            options = {**cell.options, **read_pretraining(str(cell.options["model"]))}
            write_text(place / CELL, json.dumps(options) + "\n")
            run_finetuning(recipe, arguments, place, self.sources)

        searched: list[Cell] = []
        failed: list[Cell] = []
        while (cells := self.search_cells(folder)) != searched:
            searched = cells
            failed = folder.run_all(searched, run_cell, on_state_change)
        return [
            *failed,
            *folder.run_all(drop_duplicates(self.final_cells(folder)), run_cell, on_state_change),
        ]

    def _searched_rates(self, group: Group, folder: CellFolder) -> list[Rates]:
        """What is chosen from, as far as is known. Where no RAF is trained, its rate is 0."""
        rates = self.recipe.search_learning_rates or [self.arguments.learning_rate]
        raf_rates = self.recipe.search_raf_learning_rates or [self.arguments.raf_learning_rate]
        if not trains_rafs(group[3], _has_rafs(group)):
            raf_rates = [0.0]
        for _ in range(self.recipe.search_extensions):
            tried = list(product(rates, raf_rates))
            best = self._best_rates(group, tried, folder)
            if best is None or not all(map(folder.is_over, self._cells_of(group, tried))):
                break
            rates, raf_rates = extend(rates, best[0]), extend(raf_rates, best[1])
        return list(product(rates, raf_rates))

    def _best_rates(self, group: Group, tried: Iterable[Rates], folder: CellFolder) -> Rates | None:
        scores = {}
        for rates in tried:
            cells = self._cells_of(group, [rates])
            if all(folder.state(cell) == "done" for cell in cells):
                scores[rates] = float(np.mean([_validation(folder.path(cell)) for cell in cells]))
        if not scores:
            return None
        best = max(scores.values())
        return next(rates for rates, score in scores.items() if score >= best - tolerance_of([best]))

    def _cells_of(self, group: Group, tried: Iterable[Rates]) -> list[Cell]:
        seeds = SEARCH_SEEDS[: self.recipe.search_seeds]
        return [self._cell(group, rates, seed) for rates in tried for seed in seeds]

    def _recipe_of(self, group: Group) -> FinetuningRecipe:
        task, model, activation, tuning, size = group
        return replace(
            self.cell, task=task, model=model, activation=activation, tuning=tuning, train_examples=size
        )

    def _cell(self, group: Group, rates: Rates, seed: int) -> Cell:
        """Settings that are the same training share its folder, and each has its own options."""
        task, model, activation, tuning, size = group
        mode, colon, settings = tuning.partition(":")
        done = tuning if _has_rafs(group) else WITHOUT_RAFS.get(mode, mode) + colon + settings
        options = {
            **dict(zip(RECIPE_KEYS, group, strict=True)),
            **dict(zip(ARGUMENT_KEYS, (*rates, seed), strict=True)),
        }
        words = [task, Path(model).name, activation, done, size, f"{rates[0]:g}", f"{rates[1]:g}", str(seed)]
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(words))
        text = json.dumps({**options, "tuning": done}, sort_keys=True)
        return Cell(f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:6]}", options)


def extend(rates: list[float], best: float) -> list[float]:
    """Add one rate, by the factor between the last two, where the best is the lowest or highest of several:
    ``[2e-05, 1e-4, 5e-4]`` of ``[1e-4, 5e-4]`` and a best of 1e-4. A rate of 0 is no end."""
    ordered = sorted(rate for rate in rates if rate > 0)
    if len(ordered) < 2 or best not in (ordered[0], ordered[-1]):
        return rates
    if best == ordered[0]:
        return [_round(best * best / ordered[1]), *rates]
    return [*rates, _round(best * best / ordered[-2])]


def _round(rate: float) -> float:
    return float(f"{rate:.3g}")


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()


def _has_rafs(group: Group) -> bool:
    _, model, activation, _, _ = group
    return activation != KEEP or is_raft(model)


@cache
def _validation(cell: Path) -> float:
    """Of a finished cell, which does not change any more."""
    return FinetuningResult.read(cell).validation or 0.0


def drop_duplicates(cells: Iterable[Cell]) -> list[Cell]:
    """The first of each folder."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.name, cell)
    return list(first.values())


def read_pretraining(model: str) -> dict[str, Any]:
    """Variant and seed of a model that ``raft pretrain`` made; empty for any other."""
    folder = Path(model)
    if not (folder / RESULT).is_file():  # another's model
        return {}
    result = PretrainingResult.read(folder)
    name = folder.resolve().name
    # a comparison's folder tells variants of one activation apart
    variant = name.removesuffix(f"-{result.seed}")
    return {
        PRETRAINED: result.activation if variant == name else variant,
        PRETRAINING_SEED: result.seed,
    }


def read_options(cell: Path) -> dict[str, Any]:
    """A cell's options, and the pretraining of its model.

    Raises:
        InputError: for a file that holds other things.
    """
    return parse_options(cell / CELL, read_text(cell / CELL))


def parse_options(file: Path, text: str) -> dict[str, Any]:
    """The options of a cell in a text of a file; raises as :func:`read_options` does."""
    return parse(file, text, json.loads, dict[str, Any], "options of a cell")


def result_rows(folder: CellFolder, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row a finished cell: options, pretraining of the model, how many numbers were trained, scores; no
    rate of RAFs where none was trained. One more for each task that its model was judged on untrained."""
    rows = []
    for cell in cells:
        if folder.state(cell) != "done":
            continue
        result = FinetuningResult.read(folder.path(cell))
        group: Any = tuple(cell.options[key] for key in RECIPE_KEYS)
        rate_counts = trains_rafs(group[3], _has_rafs(group))
        # the file may be of another setting that is the same training
        options = {**read_options(folder.path(cell)), **cell.options}
        row = {
            **options,
            **({} if PRETRAINED in options else read_pretraining(str(options["model"]))),  # older cells
            "raf_learning_rate": cell.options["raf_learning_rate"] if rate_counts else None,
            "trained": sum(result.trained.values()),
            "validation": result.validation,
            "epoch": result.epoch,
            "seconds": result.seconds["all"],
        }
        for number, (test, points) in enumerate(result.tests.items()):
            if number == 0 or test.startswith(UNTRAINED):
                task = options["task"] + (test if number else "")
                parts = {f"test_{name}": value for name, value in result.parts[test].items()}
                constant = test in result.constant
                majority = {"constant": constant, SINGLE_CLASS: result.single_class.get(test)}
                rows.append({**row, "task": task, "points": points, **majority, **parts})
    return rows
