"""``raft grid``: fine-tunings of every kind, each once, by any number of processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from raft.analysis.formulas import escape_latex
from raft.cli.options import check_alone, check_machine, parse_recipe
from raft.cli.processes import ProcessOptions, start_workers
from raft.cli.quiet import Console, print_plain, quieten
from raft.cli.slurm import ResumableJob, SlurmOptions, submit
from raft.errors import InputError, TrainingError
from raft.experiments.cells import Cell, CellFolder, State
from raft.experiments.grid import ARGUMENT_KEYS, RECIPE_KEYS, Grid, GridRecipe, drop_duplicates, result_rows
from raft.files import read_json, write_text
from raft.finetuning.run import FinetuningRecipe, FinetuningResult, resolve_activation
from raft.finetuning.task_source import name_of
from raft.report.tables.grid import RESULTS, SEARCH, build_frame, make_grid_tables
from raft.report.tables.text_table import TextTable
from raft.training.arguments import CommandArguments, changed_arguments, first_difference
from raft.training.run_folder import check_holds, recipe_options, write_recipe

DESCRIPTION = """Fine-tune tasks × models × activations × tuning modes × sizes × seeds, each cell once, and
compare them. The same command given again does what is left, also beside another one or on another machine
that sees the folder. The options of raft finetune hold for all cells."""

SHARED, SOURCES = "shared.json", "sources.json"
RESUME_IGNORED_KEYS = {
    "output_dir", "save_model", "per_device_eval_batch_size", "disable_tqdm", "report_to", "run_name",
    "project", "logging_dir", "log_level", "use_cpu", "dataloader_num_workers", "dataloader_pin_memory",
}  # fmt: skip
"""Options that may differ from one command on a grid to the next: the scores stay the same."""
INSTEAD = {
    "task": "tasks", "model": "models", "activation": "activations", "tuning": "tunings",
    "train_examples": "sizes", "seed": "seeds",
}  # fmt: skip
"""Options of ``raft finetune`` that a grid varies."""


def main(arguments: Sequence[str]) -> None:
    quieten(tokenizer_threads=False)
    grid, options, slurm = parse_grid(arguments)
    training = grid.arguments
    check_alone(training, "grid", "start it without one, and give --processes")
    if not options.worker:
        # a pretraining's recipe has the name that a grid's has
        check_holds(training.folder, "grid", (training.folder / SHARED).is_file())
        check_machine(training)
        for line in grid.check_sources():
            print_plain(line)
    folder = CellFolder(training.folder)
    _check_shared(grid, folder)
    if options.worker:
        work(arguments)
        return
    _check_sources(grid, folder)
    varied = {*RECIPE_KEYS, "seed", "output_dir"}
    write_recipe(training.folder, {**asdict(grid.recipe), **recipe_options(grid.cell, training, varied)})
    folder.forget_failures()
    if slurm.slurm:
        logs = training.folder.with_name(f"{training.folder.name}-jobs")
        jobs = [
            submit(slurm, ResumableJob(work, arguments), training.folder.name, logs)
            for _ in range(options.processes)
        ]
        print_plain(f"Submitted jobs {', '.join(job.job_id for job in jobs)}; their output is in {logs}")
        print_plain(f"'raft report {training.folder}' shows what is done")
        return
    console = Console()
    with (
        start_workers("grid", arguments, options),
        console.status("") as status,
    ):

        def on_state_change(cell: Cell, state: State) -> None:
            if state == "failed":
                console.say_whole(f"failed: {cell.name}: {folder.failure(cell)}")
            status.update(format_progress(grid, folder, options.processes))

        failed = grid.run(folder, on_state_change)
    cells = grid.final_cells(folder)
    rows = result_rows(folder, cells)
    if not rows:
        raise TrainingError(f"no cell of the grid could be run: {folder.failure(failed[0])}")
    if searched := result_rows(folder, grid.search_cells(folder)):
        write_text(training.folder / SEARCH, build_frame(searched, grid.recipe).to_csv(index=False))
    for table in write_results(build_frame(rows, grid.recipe), training.folder):
        console.print(table.console(), crop=False)
    console.say_whole(f"To look into it: raft report {training.folder}")
    tried = drop_duplicates([*grid.search_cells(folder), *cells])
    failed = [cell for cell in tried if folder.state(cell) == "failed"]
    if failed:
        raise TrainingError(f"{len(failed)} cells failed, the first of them {failed[0].name}: "
                            f"{folder.failure(failed[0])}; the same command tries them again")  # fmt: skip


def parse_grid(arguments: Sequence[str]) -> tuple[Grid, ProcessOptions, SlurmOptions]:
    """The grid, checked, and who works on it.

    Raises:
        InputError: for an option or a value that cannot work.
    """
    kinds = (GridRecipe, FinetuningRecipe, CommandArguments, ProcessOptions, SlurmOptions)
    recipe, cell, training, options, slurm = parse_recipe(kinds, "raft grid", DESCRIPTION, arguments, INSTEAD)
    if cell.dataset is not None and recipe.tasks == GridRecipe().tasks:  # those are GLUE's
        recipe.tasks = [name_of(cell.dataset)]
    for number, activation in enumerate(recipe.activations):
        for model in recipe.models:
            recipe.activations[number] = resolve_activation(activation, model)
    grid = Grid(recipe, cell, training)
    grid.check()
    if slurm.slurm and (slurm.slurm_nodes, slurm.slurm_gpus_per_node) != (1, 1):
        raise InputError("a grid's jobs have one GPU each: --processes says how many there are")
    return grid, options, slurm


def work(arguments: Sequence[str]) -> None:
    """Run cells silently until none is left."""
    quieten(tokenizer_threads=False)
    grid, _, _ = parse_grid(arguments)
    grid.run(CellFolder(grid.arguments.folder))


def format_progress(grid: Grid, folder: CellFolder, processes: int) -> str:
    """Format the numbers of cells in each state and the estimated time left."""
    final = grid.final_cells(folder)
    cells = drop_duplicates([*grid.search_cells(folder), *final])
    states = folder.states(cells)
    # settings whose rates are not chosen yet have their cells still to come
    groups = len(list(grid.recipe.groups()))
    coming = groups * grid.recipe.seeds - len(final)
    left = states["waiting"] + states["running"] + coming
    times = [seconds for cell in cells if (seconds := read_seconds(folder, cell)) is not None]
    hours = f", about {left * median(times) / processes / 3600:.1f} h left" if times else ""
    return (
        f"{states['done']} cells done, {states['running']} running, {states['failed']} failed, "
        f"{states['waiting'] + coming} waiting{hours}"
    )


def write_results(results: pd.DataFrame, folder: Path) -> list[TextTable]:
    """Write ``results.csv`` and the tables; returns the tables.

    Args:
        results: of ``raft.report.tables.grid.build_frame``.
        folder: of the grid.
    """
    write_text(folder / RESULTS, results.to_csv(index=False))
    return write_tables(results, folder)


def write_tables(results: pd.DataFrame, folder: Path) -> list[TextTable]:
    """Write the tables as Markdown and LaTeX, and return them."""
    tables = make_grid_tables(results)
    write_text(folder / "tables.md", "\n".join(f"{table.title}\n\n{table.markdown()}" for table in tables))
    latex = [f"% {escape_latex(table.title)}\n{table.latex()}" for table in tables]
    write_text(folder / "tables.tex", "\n".join(latex))
    return tables


@cache
def _read_seconds(cell: Path) -> float:
    return FinetuningResult.read(cell).seconds["all"]


def read_seconds(folder: CellFolder, cell: Cell) -> float | None:
    """Read once how long a cell took; None if it is not done."""
    place = folder.path(cell)
    return _read_seconds(place) if place.is_dir() else None


def _check_shared(grid: Grid, cells: CellFolder) -> None:
    """Refuse a folder in which cells were run, or are, with other options than these."""
    varied = {*RECIPE_KEYS, *ARGUMENT_KEYS, *RESUME_IGNORED_KEYS}
    options = {**asdict(grid.cell), **changed_arguments(grid.arguments)}
    now = json.loads(json.dumps({key: value for key, value in options.items() if key not in varied}))
    folder = cells.folder
    file = folder / SHARED
    if not file.exists() or not cells.is_used:  # options with which no cell could be run count for nothing
        write_text(file, json.dumps(now, indent=1) + "\n")
        return
    before = read_json(file, dict[str, Any], "options of a grid")
    changed = first_difference(before, now)
    if changed is not None:
        raise InputError(
            f"{folder} holds a grid with other options: {changed}; give the same, or choose another "
            "--output_dir"
        )


def _check_sources(grid: Grid, cells: CellFolder) -> None:
    """Refuse a folder with cells of a task or a model whose files were others then."""
    file, now = cells.folder / SOURCES, grid.digest_sources()
    before = {}
    if file.exists() and cells.is_used:
        before = read_json(file, dict[str, str], "digests of a grid's tasks and models")
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            raise InputError(
                f"{cells.folder} holds cells of another {name}: its files have changed since; choose another "
                "--output_dir"
            )
    write_text(file, json.dumps({**before, **now}, indent=1) + "\n")
