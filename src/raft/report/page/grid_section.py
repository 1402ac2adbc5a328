"""What the page shows of a grid of fine-tunings, finished or at work, or of what was kept of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from raft.experiments.grid_rafs import read_grid_rafs
from raft.report.page.blocks import Block, Drawing, Prose, Tabular
from raft.report.page.page import Section
from raft.report.page.sections import build_learned_blocks, build_repeat_blocks, find_baselines, read_recipe
from raft.report.page.viewer import ViewerRun
from raft.report.score_figures import draw_scores
from raft.report.tables.grid import RESULTS, make_cell_key, make_grid_tables, read_results, select_tuned_tasks
from raft.report.tables.pretrained_models import has_pretrainings, pair_pretrainings
from raft.training.run_folder import RECIPE

SETTINGS = {
    "task": "task", "model": "model", "activation": "activation", "tuning": "tuning",
    "train_examples": "examples", "learning_rate": "learning rate", "raf_learning_rate": "rate of the RAFs",
    "seed": "seed",
}  # fmt: skip
"""Options of a cell, and what they are called."""


def build_grid_section(folder: Path) -> Section:
    """Of a folder with ``results.csv``, and with the recipe and cells where they are kept.

    Raises:
        InputError: for files that cannot be read.
    """
    results = read_results(folder / RESULTS)
    recipe = read_recipe(folder)
    note = (
        "Points of the test set. A difference is to the baseline of the same seed: its mean over seeds, "
        "Student's 95 % interval, the p of an exact permutation test, and wins / ties / losses over seeds. "
        "An asterisk: a model says the same of every input."
    )
    if has_pretrainings(pair_pretrainings(results)):
        note += (
            " Fine-tunings of one pretrained model share its luck: one a pretraining means that the mean "
            "difference of each pretraining counts once."
        )
    blocks: list[Block] = [
        Prose(_describe_grid(results, recipe), "lead"),
        *(Tabular(table) for table in make_grid_tables(results)),
        Prose(note, "quiet"),
        Drawing(
            draw_scores(results), "Scores of each task, with their means and intervals",
            "A dot a seed; the marker is their mean, the bar Student's 95 % interval of that mean.",
        ),
    ]  # fmt: skip
    runs, are_final = _read_runs(folder, results)
    if runs:
        caution = (
            "" if are_final else "The RAFs are those of the search for learning rates: others are not kept."
        )
        varied = [
            name
            for name in ("task", "model", "activation")
            if len({run.settings.get(name) for run in runs}) > 1
        ]
        blocks += build_learned_blocks(runs, next(iter(varied), None), varied[1:], caution)
    command = f"raft grid --config {RECIPE}" if recipe else ""
    blocks += build_repeat_blocks(command, {}, recipe)
    activations = ", ".join(dict.fromkeys(pair_pretrainings(results).activation))
    return Section(folder.resolve().name, f"Fine-tuning: {activations}", blocks)


def _describe_grid(results: pd.DataFrame, recipe: Mapping[str, Any]) -> str:
    results = select_tuned_tasks(results)

    def some(name: str, column: str) -> str:
        values = list(dict.fromkeys(results[column]))
        return f"{len(values)} {name if len(values) == 1 else name + 's'} ({', '.join(map(str, values))})"

    seeds = results.groupby(
        [name for name in SETTINGS if name in results and "rate" not in name and name != "seed"]
    )
    sizes = seeds.seed.nunique()
    count = str(sizes.min()) if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    text = (
        f"{len(results):,} fine-tunings of {some('model', 'model')}: {some('task', 'task')}, "
        f"{some('activation', 'activation')}, tuning {', '.join(dict.fromkeys(results.tuning))}, on "
        f"{', '.join(dict.fromkeys(results.train_examples))} training examples, with {count} "
        f"{'seed' if count == '1' else 'seeds'} each."
    )
    searched = [
        f"{len(recipe[key])} {name}"
        for key, name in (
            ("search_learning_rates", "learning rates"), ("search_raf_learning_rates", "rates of the RAFs"),
        )
        if recipe.get(key)
    ]  # fmt: skip
    if searched:
        text += (
            f" Rates were chosen from {' and '.join(searched)} by the mean validation score of "
            f"{recipe.get('search_seeds', '?')} seeds, for each setting by itself."
        )
    planned = _count_planned(recipe)
    if planned > len(results):
        text += f" The grid is not finished: it will be {planned:,} fine-tunings."
    return text


def _count_planned(recipe: Mapping[str, Any]) -> int:
    """How many fine-tunings the finished grid's tables rest on."""
    count = int(recipe.get("seeds", 0))
    for key in ("tasks", "models", "activations", "tunings", "sizes"):
        count *= len(recipe.get(key, ()))
    return count


def _read_runs(folder: Path, results: pd.DataFrame) -> tuple[list[ViewerRun], bool]:
    """Cells with RAFs: those that count, one seed of every setting before the next; where there are none, all
    others. And which of the two they are."""
    models = list(dict.fromkeys(results.model))
    counting = {make_cell_key(row, models) for row in results.to_dict("records")}
    order = {seed: number for number, seed in enumerate(dict.fromkeys(results.seed))}
    cells: list[tuple[bool, int, ViewerRun]] = []
    for cell in read_grid_rafs(folder):
        options = cell.options
        settings = {name: _format_option(options[key]) for key, name in SETTINGS.items() if key in options}
        if "model" in settings:
            settings["model"] = make_cell_key(options, models)[0]  # by its short name, as in the tables
        run = ViewerRun(
            settings or {"cell": cell.cell}, cell.snapshots, find_baselines(cell.snapshots), cell.inputs
        )
        # what was kept of a grid without its cells' options is what its author wants shown
        counts = not options or make_cell_key(options, models) in counting
        cells.append((counts, order.get(options.get("seed"), len(order)), run))
    are_final = any(counts for counts, _, _ in cells)
    shown = [cell for cell in cells if cell[0] or not are_final]
    return [run for _, _, run in sorted(shown, key=lambda cell: cell[1])], are_final


def _format_option(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
