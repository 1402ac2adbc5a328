"""A grid's scores as tables: means over seeds, and paired differences to the first baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raft.errors import InputError, first_line
from raft.experiments.grid import SINGLE_CLASS, GridRecipe
from raft.experiments.statistics import Difference, Paired, compare_paired
from raft.finetuning.run import UNTRAINED
from raft.report.tables.numbers import format_interval, format_signed
from raft.report.tables.pretrained_models import has_pretrainings, pair_pretrainings
from raft.report.tables.text_table import TextTable

SETTING = ["model", "train_examples", "tuning", "activation"]
"""What a row of a table stands for."""

CONSTANT = "*"
"""Marks what rests on a model that predicts one class for every input."""
AVERAGE = "average"
RESULTS = "results.csv"
SEARCH = "search.csv"
"""The fine-tunings that chose the rates, with the columns of ``RESULTS``."""


def tabulate_scores(results: pd.DataFrame) -> TextTable:
    """Mean ± standard deviation, in points; ``*`` where a model predicts one class for every input.

    Over seeds, or over seeds and pretrainings together where there are several of each model. The last row is
    what the best single class would get.

    Args:
        results: one row a cell, with the columns of ``raft.experiments.grid.results``.
    """
    averages = _add_averages(results)

    def cell(rows: pd.DataFrame) -> str:
        spread = f" ± {rows.points.std():.1f}" if len(rows) > 1 else ""
        return f"{rows.points.mean():.1f}{spread}".replace("-", "−")

    seeds = averages.groupby(["task", *SETTING]).size()
    count = f"{_format_range(seeds.min(), seeds.max())} seed{'' if seeds.max() == 1 else 's'}"
    title = f"Scores in points, mean ± standard deviation over {count}"
    if has_pretrainings(results):
        title += f" of each of {_count_models(averages)} pretrainings"
        averages = averages.assign(model="")
    table = _tabulate(title, averages, get_compared_column(results), cell)
    floor = _find_single_classes(results)
    if floor is None:
        return table
    points = [f"{floor[task]:.1f}" if task in floor else "" for task in [*table.cells][table.labels :]]
    row = ["best single class", *[""] * (table.labels - 1), *points]
    return replace(table, cells=pd.DataFrame([*table.rows, row], columns=table.cells.columns))


def _find_single_classes(results: pd.DataFrame) -> pd.Series[float] | None:
    """Get the majority-class points by task, and their average; None if no task has any."""
    if SINGLE_CLASS not in results:
        return None
    points = results.groupby("task")[SINGLE_CLASS].first().dropna()
    tuned = select_tuned_tasks(results).task.unique()
    if len(tuned) > 1 and points.index.isin(tuned).sum() == len(tuned):
        points[AVERAGE] = points[tuned].mean()
    return points if len(points) else None


def tabulate_differences(results: pd.DataFrame) -> TextTable | None:
    """Differences to the baseline of the same seeds: mean, 95 % interval, p, and wins / ties / losses.

    ``*`` where one of the two predicts one class for every input.

    The baseline of a setting has the first activation; where there is but one activation, the first model.

    Args:
        results: as of ``tabulate_scores``.

    Returns:
        None where there are no baselines.
    """
    by = get_compared_column(results)
    if results[by].nunique() < 2:
        return None
    joined = _join_baseline(results, by)

    def cell(rows: pd.DataFrame) -> str:
        if len(rows) < 2:
            return format_signed((rows.points - rows.points_baseline).mean(), 1)
        return format_difference(compare_paired(rows.points.tolist(), rows.points_baseline.tolist()))

    title = f"Differences to {results[by].iloc[0]}, paired by seed: mean [95 %], exact p, wins/ties/losses"
    return _tabulate(title, joined, by, cell)


def tabulate_pretrainings(results: pd.DataFrame) -> TextTable | None:
    """Differences to the baseline over pretrainings: each one's mean over its fine-tunings counts once.

    Fine-tunings of one pretrained model share its luck, so the interval is over the pretrainings.

    Args:
        results: of ``raft.report.tables.pretrained_models.pair_pretrainings``.

    Returns:
        None where there are no two pretrainings of both.
    """
    if not has_pretrainings(results):
        return None
    joined = _join_baseline(results, "activation")
    if joined.model.nunique() < 2:
        return None
    means = joined.groupby(["task", *SETTING], sort=False).agg(
        {"points": "mean", "points_baseline": "mean", "constant": "any"}
    )

    def cell(rows: pd.DataFrame) -> str:
        if len(rows) < 2:
            return format_signed((rows.points - rows.points_baseline).mean(), 1)
        paired = compare_paired(rows.points.tolist(), rows.points_baseline.tolist())
        return f"{_format_interval(paired)} {paired.wins}/{paired.ties}/{paired.losses}"

    title = (
        f"Differences to {results.activation.iloc[0]}, one a pretraining: mean [95 % over "
        f"{_count_models(joined)} pretrainings], wins/ties/losses"
    )
    return _tabulate(title, means.reset_index().assign(model=""), "activation", cell)


def tabulate_rates(results: pd.DataFrame) -> TextTable | None:
    """Learning rates that validation chose: that of the model and, after a stroke, that of the RAFs.

    Args:
        results: as of ``tabulate_scores``.

    Returns:
        None where all settings have the same.
    """
    rates = results[["learning_rate", "raf_learning_rate"]]
    if len(rates.drop_duplicates()) == 1:
        return None

    def cell(rows: pd.DataFrame) -> str:
        chosen = rows[["learning_rate", "raf_learning_rate"]].drop_duplicates()
        return ", ".join(
            f"{rate:g}" if pd.isna(raf_rate) else f"{rate:g} / {raf_rate:g}"
            for rate, raf_rate in chosen.itertuples(index=False)
        )

    title = "Learning rates / rates of the RAFs"
    return _tabulate(title, results, get_compared_column(results), cell, is_of_scores=False)


def make_grid_tables(results: pd.DataFrame) -> list[TextTable]:
    """All tables that there are for a grid.

    Args:
        results: as of ``tabulate_scores``.
    """
    results = pair_pretrainings(results)
    made = (
        tabulate_scores(results),
        tabulate_pretrainings(results),
        tabulate_differences(results),
        tabulate_rates(results),
    )
    return [table for table in made if table is not None]


def read_results(file: Path) -> pd.DataFrame:
    """A grid's ``results.csv``.

    Raises:
        InputError: for a file that is none.
    """
    texts, numbers = ["task", *SETTING], ["learning_rate", "raf_learning_rate", "seed", "points"]
    try:
        results = pd.read_csv(file, dtype=dict.fromkeys(texts, str))
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"cannot read {file}: {first_line(error)}") from error
    if results.empty:
        raise InputError(f"{file} holds no results of a grid: it has no rows")
    missing = {*texts, *numbers, "constant"} - {*results.columns}
    if missing:
        raise InputError(f"{file} holds no results of a grid: it has no column {min(missing)!r}")
    for name in [*texts, "learning_rate", "seed", "points", "constant"]:  # RAFs that stay have no rate
        if results[name].isna().any():
            raise InputError(f"{file} holds no results of a grid: its column {name!r} has gaps")
    for name in [*numbers, "constant"]:
        kinds = "b" if name == "constant" else "iuf"
        if results[name].dtype.kind not in kinds or np.isinf(results[name]).any():
            what = "true or false" if name == "constant" else "finite numbers"
            raise InputError(f"{file} holds no results of a grid: its column {name!r} is not of {what}")
    return results


def format_difference(difference: Paired) -> str:
    counts = f"{difference.wins}/{difference.ties}/{difference.losses}"
    return f"{_format_interval(difference)} p={difference.p_value:.3f} {counts}"


def _format_interval(difference: Difference | Paired) -> str:
    return format_interval(difference.mean, difference.low, difference.high, 1)


def _add_averages(results: pd.DataFrame) -> pd.DataFrame:
    """With the mean over the tasks of each seed that has all of them, where there are several; those that
    models are judged on untrained do not count."""
    tuned = select_tuned_tasks(results)
    tasks = tuned.task.nunique()
    if tasks < 2:
        return results
    groups = tuned.groupby([*SETTING, "seed"], sort=False)
    whole = groups.agg(points=("points", "mean"), n=("task", "nunique"), constant=("constant", "any"))
    rows = whole[whole.n == tasks].drop(columns="n").reset_index().assign(task=AVERAGE)
    return pd.concat([results, rows], ignore_index=True)


def _join_baseline(results: pd.DataFrame, by: str) -> pd.DataFrame:
    """Scores and averages of all but the first of ``by``, each with that one's of the same seed, and of the
    same pretraining where activations are compared, as ``points_baseline``. ``constant`` is so of either."""
    averages = _add_averages(results)
    is_baseline = averages[by] == results[by].iloc[0]
    keys = ["task", "seed", *(name for name in SETTING if name != by)]
    joined: pd.DataFrame = averages[~is_baseline].merge(
        averages.loc[is_baseline, [*keys, "points", "constant"]], on=keys, suffixes=("", "_baseline")
    )
    return joined.assign(constant=joined.constant | joined.constant_baseline)


def get_compared_column(results: pd.DataFrame) -> str:
    """Name the column that distinguishes the baselines."""
    return "activation" if results.activation.nunique() > 1 else "model"


def _tabulate(
    title: str, rows: pd.DataFrame, by: str, cell: Callable[[pd.DataFrame], str], is_of_scores: bool = True
) -> TextTable:
    """A row a setting and a column a task; what rests on models that predict one class is marked."""
    if is_of_scores and rows.constant.any():
        title += f"; {CONSTANT} some models predict one class for every input"

    def marked(of_task: pd.DataFrame) -> str:
        return cell(of_task) + (CONSTANT if is_of_scores and of_task.constant.any() else "")

    tasks = list(dict.fromkeys(rows.task))
    labels = [name for name in SETTING if rows[name].nunique() > 1 or name == by]
    lines = []
    for key, of_row in rows.groupby(SETTING, sort=False):
        named = dict(zip(SETTING, _to_tuple(key), strict=True))
        cells = [marked(of_task) if len(of_task := of_row[of_row.task == task]) else "" for task in tasks]
        lines.append([*(str(named[name]) for name in labels), *cells])
    headers = [{"train_examples": "examples"}.get(name, name) for name in labels]
    return TextTable(title, pd.DataFrame(lines, columns=[*headers, *tasks]), len(labels))


def _to_tuple(key: Any) -> Sequence[Any]:
    return key if isinstance(key, tuple) else (key,)


def _count_models(rows: pd.DataFrame) -> str:
    """How many models there are of each task and setting, ``"2 to 3"`` where some lack one."""
    counts = rows.groupby(["task", *SETTING[1:]]).model.nunique()
    return _format_range(counts.min(), counts.max())


def _format_range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def build_frame(rows: Sequence[dict[str, Any]], recipe: GridRecipe) -> pd.DataFrame:
    """Rows of ``raft.experiments.grid.results`` as a frame, models by their short names.

    Args:
        rows: at least one.
        recipe: of the grid. The first row has its first activation, the first model that was run with it, and
            so has what others are compared with.
    """
    results = pd.DataFrame(rows)
    orders = {"model": recipe.models, "activation": recipe.activations}
    places = pd.DataFrame({name: results[name].map(order.index) for name, order in orders.items()})
    places.insert(0, "has_no_baseline", ~results.model.isin(results.model[places.activation == 0]))
    results = results.loc[places.sort_values([*places], kind="stable").index].reset_index(drop=True)
    results["model"] = results.model.map(shorten_model_names(recipe.models))
    return results.astype({"points": np.float64})


def shorten_model_names(models: Sequence[str]) -> dict[str, str]:
    """The last part of each model's name or place, with as many before it as tell it from the others."""
    parts = {model: model.rstrip("/").split("/") for model in models}
    return {
        model: next(
            "/".join(own[-n:])
            for n in range(1, len(own) + 1)
            if n == len(own) or sum(other[-n:] == own[-n:] for other in parts.values()) == 1
        )
        for model, own in parts.items()
    }


def make_cell_key(options: Mapping[Any, Any], models: Iterable[str]) -> tuple[str, ...]:
    """What tells a cell from all others, of a row of ``results.csv`` and of the cell's own options alike.

    Args:
        options: of the cell.
        models: the short names in ``results.csv``.
    """
    model = str(options.get("model")).rstrip("/")
    ends = [name for name in models if model == name or model.endswith(f"/{name}")]
    short = max(ends, key=len, default=model)
    rates = [float(options.get(name) or 0) for name in ("learning_rate", "raf_learning_rate")]
    # a rate of RAFs that are not trained is empty in the one and 0 in the other
    texts = [f"{0.0 if np.isnan(rate) else rate:g}" for rate in rates]
    others = (str(options.get(name)) for name in ("task", "tuning", "activation", "train_examples", "seed"))
    return (short, *texts, *others)


def select_tuned_tasks(results: pd.DataFrame) -> pd.DataFrame:
    """Drop zero-shot tasks, on which models were evaluated without training."""
    return results[~results.task.str.contains(UNTRAINED)]
