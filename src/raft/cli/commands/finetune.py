"""``raft finetune``: one pretrained model on one task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from tqdm import tqdm
from transformers import TrainerCallback

from raft.cli.options import check_alone, check_machine, parse_recipe
from raft.cli.processes import say_if_busy
from raft.cli.quiet import Console, quieten
from raft.cli.tables import print_conversion
from raft.finetuning.run import (
    FinetuningRecipe,
    resolve_activation,
    run_finetuning,
)
from raft.finetuning.task_source import RESULT, Sources
from raft.report.tables.finetuning import tabulate_result
from raft.report.tables.text_table import TextTable
from raft.training.arguments import CommandArguments
from raft.training.run_folder import Content, check_free, recipe_options, run_folder, write_recipe

DESCRIPTION = """Fine-tune a pretrained encoder on a task of GLUE, SNLI, SQuAD or on your own data, and score
it. The folder gets the scores, the drawn examples and, with --save_model, the model."""

CONSTANT = (
    "A model that predicts the same for every input has learned nothing: try more epochs "
    "(--num_train_epochs 20) or a higher rate (--learning_rate 1e-4)."
)
NO_BETTER = (
    "That is no better than one class for every input: try more epochs (--num_train_epochs 20) or a higher "
    "rate (--learning_rate 1e-4; for adapters and other small parts 1e-3 to 1e-2)."
)
FOLDER = Content("fine-tuning", RESULT, "--output_dir")


@dataclass
class FolderOptions:
    """Where the result goes."""

    overwrite: bool = field(default=False, metadata={"help": "Replace a result that is in --output_dir."})


class EpochLines(TrainerCallback):
    """Prints after each epoch its mean loss and the score on the validation part."""

    loss = float("nan")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print once the score is there."""
        self.loss = logs.get("loss", self.loss)
        if "eval_points" in logs:
            epoch = f"Epoch {math.ceil(state.epoch)} of {state.num_train_epochs}"
            # above a progress bar
            tqdm.write(f"{epoch}: loss {self.loss:.3f}, validation {logs['eval_points']:.2f} points")


def main(arguments: Sequence[str]) -> None:
    quieten(tokenizer_threads=False)
    kinds = (FinetuningRecipe, CommandArguments, FolderOptions)
    recipe, training, options = parse_recipe(kinds, "raft finetune", DESCRIPTION, arguments)
    recipe.activation = resolve_activation(recipe.activation, recipe.model)
    recipe.check()
    recipe.check_conversion()
    check_alone(training, "finetune", "start it without one")
    check_machine(training)
    say_if_busy()
    check_free(training.folder, options.overwrite, FOLDER)
    console = Console()
    with run_folder(training.folder, options.overwrite, FOLDER) as folder:
        result, tuned = run_finetuning(recipe, training, folder, Sources(), [EpochLines()])
        write_recipe(folder, recipe_options(recipe, training))
    if tuned.report is not None:
        print_conversion(console, type(tuned.model).__name__, tuned.report)
    parts = [[part.name, f"{part.trained:,}", f"{part.total:,}"] for part in tuned.parts]
    trained = TextTable("Trained", pd.DataFrame(parts, columns=["part", "trained", "of"]), labels=1)
    console.print(trained.console())
    console.print(tabulate_result(result).console(), crop=False)
    if result.constant:
        console.say(CONSTANT)
    elif any(result.tests[name] <= points for name, points in result.single_class.items()):
        console.say(NO_BETTER)
    folder = training.folder
    kept = "Everything" if recipe.save_model else "Everything but the model (--save_model true keeps it)"
    console.say_whole(f"{kept} is in {folder}.")
    console.say_whole(f"To look into it: raft report {folder}")
