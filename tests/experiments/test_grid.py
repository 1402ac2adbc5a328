"""Which rates a grid's search chooses."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from raft.experiments.cells import Cell, CellFolder
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
    searched = [(cell.options["learning_rate"], cell.options["seed"]) for cell in grid.search_cells(folder)]
    assert searched == [(rate, seed) for rate in scores for seed in SEARCH_SEEDS[:2]]
    for cell in grid.search_cells(folder):
        of_rate = scores[cell.options["learning_rate"]]
        number = SEARCH_SEEDS.index(cell.options["seed"])
        if number < len(of_rate):
            write_score(folder, cell, of_rate[number])
    actual = grid.final_cells(folder)
    assert not {cell.name for cell in actual} & {cell.name for cell in grid.search_cells(folder)}
    assert [cell.options["seed"] for cell in actual] == ([] if chosen is None else list(SEEDS[:3]))
    assert {cell.options["learning_rate"] for cell in actual} == (set() if chosen is None else {chosen})


@pytest.mark.parametrize(
    ("best", "extensions", "tried"),
    [
        # inside: nothing is added
        ((1e-3, 5e-3), 3, ({1e-4, 1e-3, 1e-2}, {1e-3, 5e-3, 2.5e-2})),
        ((1e-3, 5e-3), 0, ({1e-4, 1e-3, 1e-2}, {1e-3, 5e-3, 2.5e-2})),
        # one more at either end, and one beyond it, so that the best is no end
        ((1e-5, 1.25e-1), 3, ({1e-6, 1e-5, 1e-4, 1e-3, 1e-2}, {1e-3, 5e-3, 2.5e-2, 1.25e-1, 6.25e-1})),
        # what never trains is no end, and no rate that could be multiplied
        ((1e-3, 0.0), 3, ({1e-4, 1e-3, 1e-2}, {0.0, 5e-3, 2.5e-2})),
        # no more often than was asked for
        ((1e-9, 5e-3), 1, ({1e-5, 1e-4, 1e-3, 1e-2}, {1e-3, 5e-3, 2.5e-2})),
    ],
)
def test_rates_go_on_beyond_an_end_at_which_the_best_lies(
    best: tuple[float, float], extensions: int, tried: tuple[set[float], set[float]], tmp_path: Path
) -> None:
    recipe = GridRecipe(
        ["rte"], ["bert"], ["raf"], search_learning_rates=[1e-4, 1e-3, 1e-2], search_seeds=1, seeds=1,
        search_raf_learning_rates=[0.0 if best[1] == 0 else 1e-3, 5e-3, 2.5e-2],
        search_extensions=extensions,
    )  # fmt: skip
    grid = Grid(recipe, FinetuningRecipe(), RaftTrainingArguments(output_dir=str(tmp_path)))
    folder = CellFolder(tmp_path / "grid")
    rounds = 0
    while left := [cell for cell in grid.search_cells(folder) if not folder.path(cell).is_dir()]:
        rounds += 1
        for cell in left:
            # nothing is asked for before a round is whole
            assert {one.name for one in left} <= {one.name for one in grid.search_cells(folder)}
            rates = (cell.options["learning_rate"], cell.options["raf_learning_rate"])
            decades = (math.log10(max(a, 1e-9) / max(b, 1e-9)) for a, b in zip(rates, best, strict=True))
            write_score(folder, cell, 50 - sum(map(abs, decades)))
    assert rounds <= 1 + extensions
    cells = grid.search_cells(folder)
    assert {cell.options["learning_rate"] for cell in cells} == tried[0]
    assert {cell.options["raf_learning_rate"] for cell in cells} == tried[1]
    assert len(cells) == len(tried[0]) * len(tried[1])
    if extensions == 3:
        [chosen] = grid.choose_rates(folder).values()
        assert chosen == best


def test_rates_go_on_where_no_raf_is_trained(tmp_path: Path) -> None:
    recipe = GridRecipe(
        ["rte"], ["bert"], ["raf"], tunings=["head"], search_learning_rates=[1e-4, 1e-3], search_seeds=1,
        search_raf_learning_rates=[1e-3, 5e-3], search_extensions=1,
    )  # fmt: skip
    grid = Grid(recipe, FinetuningRecipe(), RaftTrainingArguments(output_dir=str(tmp_path)))
    folder = CellFolder(tmp_path / "grid")
    for cell in grid.search_cells(folder):
        write_score(folder, cell, cell.options["learning_rate"])
    tried = {
        (cell.options["learning_rate"], cell.options["raf_learning_rate"])
        for cell in grid.search_cells(folder)
    }
    assert tried == {(1e-4, 0.0), (1e-3, 0.0), (1e-2, 0.0)}


def test_a_mode_without_rafs_is_one_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raft.experiments.grid._has_rafs", lambda group: False)
    recipe = GridRecipe(["rte"], ["bert"], ["raf"], tunings=["lora:r=1", "lora-raf:r=1"], seeds=1)
    grid = Grid(recipe, FinetuningRecipe(), RaftTrainingArguments(output_dir=str(tmp_path)))
    names = {cell.name for cell in grid.final_cells(CellFolder(tmp_path / "grid"))}
    assert len(names) == 1


def test_another_tokenizer_makes_other_cells(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    grid = Grid(
        GridRecipe([], [str(model)], ["raf"]), FinetuningRecipe(),
        RaftTrainingArguments(output_dir=str(tmp_path)),
    )  # fmt: skip
    digests = []
    for text in ("{}", "[]"):
        (model / "tokenizer.json").write_text(text)
        digests.append(grid.digest_sources())
    assert digests[0].keys() == {f"model {model}", f"tokenizer of {model}"}
    assert {name for name in digests[0] if digests[0][name] != digests[1][name]} == {f"tokenizer of {model}"}


def write_score(folder: CellFolder, cell: Cell, points: float) -> None:
    """Leave a cell done with a validation score; what the test would say must not matter."""
    result = FinetuningResult(
        "rte", cell.options["seed"], points, {"RTE": 100 - points}, {"RTE": {}}, [], 1, [], {},
        {"train": 8, "validation": 8}, {"all": 1.0},
    )  # fmt: skip
    folder.path(cell).mkdir()
    (folder.path(cell) / RESULT).write_text(json.dumps(asdict(result)))
