"""``raft discover``: functions learned by several models, started from in new ones beside controls."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from transformers import TrainerCallback

from raft.cli.commands.pretrain import INSTEAD, check_folders, check_processes, write_comparison
from raft.cli.options import parse_recipe
from raft.cli.pretraining_console import PretrainingConsole
from raft.cli.processes import ProcessOptions, start_workers, without_worker
from raft.cli.quiet import quieten
from raft.experiments.discovery import FUNCTIONS, REUSE, DiscoveryOptions, discover, labels
from raft.files import write_text
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.zero_shot import open_tests
from raft.report.tables.pretraining import describe_numbers, tabulate_losses
from raft.training.arguments import CommandArguments
from raft.training.distributed import destroy_process_group
from raft.training.stopping import StopOnSignal

TABLE = "table.md"
DESCRIPTION = """Find functions: several models learn one set of them in turn, each with new weights. Then
train new models that start with them, frozen and trained on, beside a fixed function, the start that the
functions had, those of a single model, and, where there are several kinds of sites, those of the other kind.
The same command given again resumes."""


def main(arguments: Sequence[str]) -> None:
    quieten()
    kinds = (PretrainingRecipe, DiscoveryOptions, CommandArguments, ProcessOptions)
    recipe, options, training, processes = parse_recipe(
        kinds, "raft discover", DESCRIPTION, arguments, INSTEAD
    )
    recipe.check()
    options.check(recipe, training.folder)
    command = shlex.join(["raft", "discover", *without_worker(arguments)])
    check_folders(recipe, training, [])
    check_processes(processes, training)
    console = PretrainingConsole(recipe, training, is_quiet=processes.worker)
    tests = open_tests(recipe.evaluate, recipe.evaluate_items, recipe.evaluate_along)
    text = console.read_text()
    callbacks: list[TrainerCallback] = [StopOnSignal(command)]
    with start_workers("discover", arguments, processes, one_gpu_each=True):
        comparison = discover(
            recipe, options, training, text, command, console.started, console.finished, callbacks, tests
        )
    table = tabulate_losses(comparison, labels(recipe, options, training.folder))
    if console.is_main:
        write_comparison(comparison, training.folder / REUSE)
        write_text(training.folder / TABLE, table.markdown())
    console.print(table.console(), crop=False)
    console.say(describe_numbers(comparison))
    console.say_whole(f"The functions: {training.folder / FUNCTIONS}, for --raf_init and RafConfig(init=...)")
    console.say_whole(f"To look into the new models: raft report {training.folder / REUSE}")
    destroy_process_group()
