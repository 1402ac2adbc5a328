"""Tables of grids: what they say, and that they lose nothing in a terminal."""

from __future__ import annotations

import pandas as pd
import pytest
from rich.console import Console

from raft.experiments.grid import GridRecipe
from raft.report.tables.grid import build_frame, make_cell_key, make_grid_tables, shorten_model_names
from raft.report.tables.pretrained_models import pair_pretrainings
from raft.report.tables.text_table import TextTable

CELL = "−10.0 [−16.8, −4.7] p=0.008 1/0/9"


@pytest.mark.parametrize("rows", [["raf"], ["raf", "raf-residual"], [f"setting-{n}" for n in range(9)]])
def test_no_cell_is_cut(rows: list[str]) -> None:
    tasks = ["sst2", "stsb", "cola", "average"]
    table = TextTable(
        "Title", pd.DataFrame([[name, *[CELL] * 4] for name in rows], columns=["activation", *tasks]), 1
    )
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
    """Two tasks, two pretrainings of each baseline, two fine-tunings of each."""
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


def test_pretrained_models_are_paired_by_what_they_were_pretrained_with() -> None:
    scores, over, paired, *rest = make_grid_tables(pretrained_results())
    assert rest == []
    assert scores.title.endswith("over 2 seeds of each of 2 pretrainings")
    assert [*scores.cells] == ["activation", "cola", "rte", "average"]
    # pooled over both kinds of seeds: 10, 20, 30, 40
    assert scores.rows[0] == ["gelu", "25.0 ± 12.9", "55.0 ± 5.8", "40.0 ± 9.1"]
    # cola: +2 and +4, whose Student's interval with one degree of freedom is 3 ± 12.7; rte: −1 and −2
    assert [*over.cells] == ["activation", "cola", "rte", "average"]
    assert over.rows == [
        ["raf", "+3.0 [−9.7, +15.7] 2/0/0", "−1.5 [−7.9, +4.9] 0/0/2", "+0.8 [−2.4, +3.9] 2/0/0"]
    ]
    assert [row[:2] for row in paired.rows] == [["pretraining 1", "raf"], ["pretraining 2", "raf"]]
    assert paired.rows[1][2].startswith("+4.0 p=0.500")


def test_one_pretraining_alone_has_no_interval_over_pretrainings() -> None:
    results = pretrained_results()
    tables = make_grid_tables(results[results.pretraining_seed == 1])
    assert len(tables) == 2
    assert "one a pretraining" not in tables[1].title


def test_models_of_others_stay_as_they_are() -> None:
    results = pretrained_results()
    results.loc[results.model == "raf-2", "pretrained"] = None
    assert pair_pretrainings(results) is results
    converted = pretrained_results().assign(activation=["keep", "raf"] * 8)
    assert pair_pretrainings(converted) is converted
    assert len(pair_pretrainings(pretrained_results()).model.unique()) == 2


def test_two_models_of_one_variant_and_seed_are_not_one() -> None:
    results = pretrained_results()
    other = results[results.model == "raf-1"].assign(model="raf-b-1", points=0.0)
    both = pd.concat([results, other])
    assert pair_pretrainings(both) is both
    differences = make_grid_tables(both)[1]
    assert {row[0] for row in differences.rows} == {"gelu-2", "raf-1", "raf-2", "raf-b-1"}


def test_pairs_share_a_pretraining_seed() -> None:
    results = pretrained_results()
    apart = results[results.model.isin(["gelu-1", "raf-2"])]
    assert pair_pretrainings(apart) is apart
    one_common = results[results.model != "gelu-2"]
    titles = [table.title for table in make_grid_tables(one_common)]
    assert not any("one a pretraining" in title for title in titles)


def test_a_mixture_of_models_is_not_pooled() -> None:
    results = pd.concat(
        [pretrained_results().assign(activation=activation) for activation in ("keep", "raf")]
    )
    titles = [table.title for table in make_grid_tables(results)]  # two variants, each as it is and converted
    assert titles[0].endswith("over 2 seeds")
    assert not any("one a pretraining" in title for title in titles)


def test_titles_tell_how_many_pretrainings_the_cells_rest_on() -> None:
    results = pretrained_results()
    third = results[results.pretraining_seed == 2].assign(pretraining_seed=3)
    third = third.assign(model=third.model.str.replace("-2", "-3")).query("task == 'cola'")
    scores, over, *_ = make_grid_tables(pd.concat([results, third]))
    assert scores.title.endswith("of each of 2 to 3 pretrainings")
    assert "95 % over 2 to 3 pretrainings" in over.title


def test_pretrainings_are_compared_over_the_seeds_that_both_have() -> None:
    results = pretrained_results().query("task == 'cola'")
    unfinished = results[(results.model != "raf-2") | (results.seed == 1)]
    over = make_grid_tables(unfinished)[1]
    # +2 of two seeds and +4 of the one that is there, not 44 less the mean of 30 and 40
    assert over.rows[0][1].startswith("+3.0 [")


def cells(points: dict[tuple[str, str], list[float | None]]) -> pd.DataFrame:
    """By task and activation, the points of each seed; None where its run is missing."""
    return pd.DataFrame(
        [
            {
                "task": task, "model": "bert", "activation": activation, "tuning": "full",
                "train_examples": "100", "learning_rate": 1e-3, "raf_learning_rate": None,
                "seed": seed, "points": value, "constant": False,
            }
            for (task, activation), values in points.items()
            for seed, value in enumerate(values)
            if value is not None
        ]
    )  # fmt: skip


def test_a_missing_seed_is_said_and_not_compared() -> None:
    scores, differences = make_grid_tables(
        cells({("cola", "keep"): [10.0, 20.0, 60.0], ("cola", "raf"): [13.0, 21.0, None]})
    )
    assert scores.title.endswith("over 2 to 3 seeds")
    assert [row[1] for row in scores.rows] == ["30.0 ± 26.5", "17.0 ± 5.7"]
    # +3 and +1 of the seeds that both have, not 17 less 30
    assert differences.rows[0][1].startswith("+2.0 [")
    assert differences.rows[0][1].endswith("2/0/0")


@pytest.mark.parametrize("missing", ["keep", "raf"])
def test_an_average_is_over_the_seeds_that_have_all_tasks(missing: str) -> None:
    points: dict[tuple[str, str], list[float | None]] = {
        ("cola", "keep"): [10.0, 20.0, 30.0], ("rte", "keep"): [50.0, 60.0, 70.0],
        ("cola", "raf"): [11.0, 22.0, 33.0], ("rte", "raf"): [51.0, 62.0, 73.0],
    }  # fmt: skip
    points["cola", missing][0] = points["rte", missing][1] = None
    scores, differences = make_grid_tables(cells(points))
    rows = dict(zip(["keep", "raf"], scores.rows, strict=True))
    assert rows[missing][3] == ("50.0" if missing == "keep" else "53.0")
    # of one seed, though each task has two
    assert scores.title.endswith("over 1 to 3 seeds")
    cola, rte, average = differences.rows[0][1:]
    assert cola.startswith("+2.5 [")
    assert rte.startswith("+2.0 [")
    assert average == "+3.0"


def test_averages_over_few_seeds_are_said_where_tasks_have_equally_many() -> None:
    points: dict[tuple[str, str], list[float | None]] = {
        ("cola", "keep"): [None, 20.0, 30.0], ("rte", "keep"): [50.0, None, 70.0],
    }  # fmt: skip
    (scores,) = make_grid_tables(cells(points))
    assert scores.rows == [["bert", "25.0 ± 7.1", "60.0 ± 14.1", "50.0"]]
    assert scores.title.endswith("over 1 to 2 seeds")


def test_models_keep_as_much_of_their_names_as_tells_them_apart() -> None:
    names = shorten_model_names(["small/gelu-1", "large/gelu-1", "large/raf-1/", "minilm"])
    assert list(names.values()) == ["small/gelu-1", "large/gelu-1", "raf-1", "minilm"]


def test_the_first_model_comes_first_whatever_is_done() -> None:
    rows = [
        {"task": task, "model": model, "activation": "keep", "points": 1}
        for task, model in (("cola", "a/raf"), ("rte", "a/gelu"), ("rte", "a/raf"))
    ]
    actual = build_frame(rows, GridRecipe(models=["a/gelu", "a/raf"], activations=["keep"]))
    assert actual.model.tolist() == ["gelu", "raf", "raf"]


def test_a_row_and_the_options_of_its_cell_are_one() -> None:
    options = {
        "task": "rte", "model": "runs/large/gelu-1", "activation": "keep", "tuning": "fixed",
        "train_examples": "100", "learning_rate": 1e-4, "raf_learning_rate": 0.0, "seed": 3,
    }  # fmt: skip
    row = {**options, "model": "large/gelu-1", "raf_learning_rate": float("nan")}
    models = ["small/gelu-1", "large/gelu-1"]
    assert make_cell_key(row, models) == make_cell_key(options, models)
    assert make_cell_key({**row, "seed": 4}, models) != make_cell_key(options, models)
    assert make_cell_key({**row, "model": "small/gelu-1"}, models) != make_cell_key(options, models)
