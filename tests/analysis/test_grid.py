"""Tables of grids: what they say, and that they lose nothing in a terminal."""

from __future__ import annotations

import pandas as pd
import pytest
from rich.console import Console

from raft.analysis.grid import TextTable, as_twins, grid_tables

CELL = "−10.0 [−16.8, −4.7] p=0.008 1/0/9"


@pytest.mark.parametrize("rows", [["raf"], ["raf", "raf-residual"], [f"setting-{n}" for n in range(9)]])
def test_no_cell_is_cut(rows: list[str]) -> None:
    tasks = ["sst2", "stsb", "cola", "average"]
    table = TextTable("Title", ["activation", *tasks], [[name, *[CELL] * 4] for name in rows], 1)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table.console(), crop=False)
    printed = captured.get()
    assert "…" not in printed
    assert all(word in printed for word in ["activation", *tasks, *rows])
    for part in ("−10.0 [−16.8, −4.7]", "p=0.008 1/0/9"):
        assert printed.count(part) == 4 * len(rows)
    if len(rows) < 3:
        assert max(map(len, printed.splitlines())) <= 80  # fewer settings than tasks: a column each


def pretrained_results() -> pd.DataFrame:
    """Two tasks, two pretrainings of each twin, two fine-tunings of each."""
    points = {
        ("cola", 1, "gelu"): (10, 20), ("cola", 1, "raf"): (14, 20),
        ("cola", 2, "gelu"): (30, 40), ("cola", 2, "raf"): (34, 44),
        ("rte", 1, "gelu"): (50, 50), ("rte", 1, "raf"): (50, 48),
        ("rte", 2, "gelu"): (60, 60), ("rte", 2, "raf"): (58, 58),
    }  # fmt: skip
    return pd.DataFrame(
        [
            {
                "task": task, "model": f"{name}-{seed}", "activation": "keep", "tuning": "full",
                "train_examples": "100", "learning_rate": 1e-3, "raf_learning_rate": None,
                "seed": number, "points": float(value), "constant": False,
                "pretrained": name, "pretraining_seed": seed,
            }
            for (task, seed, name), values in points.items()
            for number, value in enumerate(values)
        ]
    )  # fmt: skip


def test_pretrained_models_are_twins_by_what_they_were_pretrained_with() -> None:
    scores, over, paired, *rest = grid_tables(pretrained_results())
    assert rest == []
    assert scores.headers == ["activation", "cola", "rte", "average"]
    # pooled over both kinds of seeds: 10, 20, 30, 40
    assert scores.rows[0] == ["gelu", "25.0 ± 12.9", "55.0 ± 5.8", "40.0 ± 9.1"]
    # cola: +2 and +4, whose Student's interval with one degree of freedom is 3 ± 12.7; rte: −1 and −2
    assert over.headers == ["activation", "cola", "rte", "average"]
    assert over.rows == [
        ["raf", "+3.0 [−9.7, +15.7] 2/0/0", "−1.5 [−7.9, +4.9] 0/0/2", "+0.8 [−2.4, +3.9] 2/0/0"]
    ]
    assert [row[:2] for row in paired.rows] == [["pretraining 1", "raf"], ["pretraining 2", "raf"]]
    assert paired.rows[1][2].startswith("+4.0 [+4.0, +4.0]")


def test_one_pretraining_alone_has_no_interval_over_pretrainings() -> None:
    results = pretrained_results()
    tables = grid_tables(results[results.pretraining_seed == 1])
    assert len(tables) == 2
    assert "one a pretraining" not in tables[1].title


def test_models_of_others_stay_as_they_are() -> None:
    results = pretrained_results()
    results.loc[results.model == "raf-2", "pretrained"] = None
    assert as_twins(results) is results
    converted = pretrained_results().assign(activation=["keep", "raf"] * 8)
    assert as_twins(converted) is converted
    assert len(as_twins(pretrained_results()).model.unique()) == 2
