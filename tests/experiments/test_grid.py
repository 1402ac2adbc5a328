"""Which rates a grid's search chooses."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from raft.experiments.cells import CellFolder
from raft.experiments.grid import SEARCH_SEEDS, SEEDS, Grid, GridRecipe
from raft.finetuning.run import FinetuningRecipe, FinetuningResult
from raft.finetuning.task_source import RESULT
from raft.training.arguments import RaftTrainingArguments


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        # the mean over seeds decides, not the best seed
        ({1e-4: [50.0, 50.0], 1e-3: [90.0, 5.0]}, 1e-4),
        ({1e-4: [50.0, 50.0], 1e-3: [90.0, 20.0]}, 1e-3),
        # of equal ones the first
        ({1e-4: [40.0, 60.0], 1e-3: [50.0, 50.0]}, 1e-4),
        # a rate of which a seed is missing is not compared with one that has all
        ({1e-4: [50.0, 50.0], 1e-3: [90.0]}, 1e-4),
        ({1e-4: [10.0], 1e-3: [50.0, 50.0]}, 1e-3),
        ({1e-4: [50.0], 1e-3: [90.0]}, None),
    ],
)
def test_the_best_rate_is_chosen_of_those_whose_seeds_are_all_there(
    scores: dict[float, list[float]], chosen: float | None, tmp_path: Path
) -> None:
    # RAFs in each cell, so that no model is read
    recipe = GridRecipe(
        ["rte"], ["bert"], ["raf"], search_learning_rates=list(scores), search_seeds=2, seeds=3
    )
    grid = Grid(recipe, FinetuningRecipe(), RaftTrainingArguments(output_dir=str(tmp_path)))
    folder = CellFolder(tmp_path / "grid")
    searched = [(cell.options["learning_rate"], cell.options["seed"]) for cell in grid.search_cells()]
    assert searched == [(rate, seed) for rate in scores for seed in SEARCH_SEEDS[:2]]
    for cell in grid.search_cells():
        of_rate = scores[cell.options["learning_rate"]]
        number = SEARCH_SEEDS.index(cell.options["seed"])
        if number < len(of_rate):
            # what the test would say must not matter
            points = of_rate[number]
            result = FinetuningResult(
                "rte", cell.options["seed"], points, {"RTE": 100 - points}, {"RTE": {}}, [], 1, [], {},
                {"train": 8, "validation": 8}, {"all": 1.0},
            )  # fmt: skip
            folder.path(cell).mkdir()
            (folder.path(cell) / RESULT).write_text(json.dumps(asdict(result)))
    actual = grid.final_cells(folder)
    assert not {cell.name for cell in actual} & {cell.name for cell in grid.search_cells()}
    assert [cell.options["seed"] for cell in actual] == ([] if chosen is None else list(SEEDS[:3]))
    assert {cell.options["learning_rate"] for cell in actual} == (set() if chosen is None else {chosen})
