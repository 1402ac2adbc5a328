"""``raft finetune``: one pretrained model on one task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets
import transformers
from rich import box
from rich.console import Console
from rich.table import Table

from raft.cli.options import parse_recipe
from raft.experiments.results import Content, check_free, run_folder
from raft.training.arguments import RaftTrainingArguments
from raft.training.finetune import Finetuned
from raft.training.finetuning_run import (
    RECIPE,
    RESULT,
    FinetuningRecipe,
    FinetuningResult,
    described,
    run_finetuning,
)
from raft.training.task_source import Sources

DESCRIPTION = """Fine-tune a pretrained model, a RAFT or a FAFT, on a task of GLUE, SNLI, SQuAD or a data set
of your own, and score it. A recipe (--config) holds any of these options. The folder (--output_dir) gets the
scores, the drawn examples and, with --save_model, the model."""

FOLDER = Content("fine-tuning", RESULT, "--output_dir")


@dataclass
class FolderOptions:
    """Where the result goes."""

    overwrite: bool = field(default=False, metadata={"help": "Replace a result that is in --output_dir."})


def main(arguments: Sequence[str]) -> None:
    """Run ``raft finetune`` with the given words of the command line."""
    kinds = (FinetuningRecipe, RaftTrainingArguments, FolderOptions)
    recipe, training, options = parse_recipe(kinds, "raft finetune", DESCRIPTION, arguments)
    recipe.check()
    check_free(training.folder, options.overwrite, FOLDER)
    quieten()
    console = Console()
    with run_folder(training.folder, options.overwrite, FOLDER) as folder:
        result, found = run_finetuning(recipe, training, folder, Sources())
        (folder / RECIPE).write_text(described(recipe, training), encoding="utf-8")
    if found.report is not None:
        print(found.report)
    console.print(parts_table(found))
    console.print(scores_table(result))
    console.print(f"Everything is in {training.folder}", highlight=False)


def quieten() -> None:
    """Leave the talking to the command."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def parts_table(found: Finetuned) -> Table:
    """What was trained."""
    table = Table(title="Trained", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("part", "trained", "of"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for part in found.parts:
        table.add_row(part.name, f"{part.trained:,}", f"{part.total:,}")
    return table


def scores_table(result: FinetuningResult) -> Table:
    """Scores in points."""
    title = (
        f"{result.task}, seed {result.seed}, epoch {result.epoch} of {len(result.history) or result.epoch}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "points", "parts", ""):
        table.add_column(name, justify="left" if not name or name == "parts" else "right")
    if result.validation is not None:
        table.add_row("validation", f"{result.validation:.2f}", "", "")
    for name, points in result.tests.items():
        parts = ", ".join(f"{part} {value:.2f}" for part, value in result.parts[name].items())
        note = "the same for every input" if name in result.constant else ""
        table.add_row(name, f"{points:.2f}", parts, note)
    return table
