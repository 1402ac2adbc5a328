"""A grid's scores as tables: means over seeds, and paired differences to the first twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.table import Table

from raft.errors import InputError
from raft.experiments.statistics import Difference, Paired, over_seeds, paired
from raft.training.finetuning_run import UNTRAINED

SETTING = ["model", "train_examples", "tuning", "activation"]
"""What a row of a table stands for."""

PRETRAINED, PRETRAINING_SEED = "pretrained", "pretraining_seed"
"""Columns where models are those of ``raft pretrain``: the variant's name, and its seed."""

AVERAGE = "average"
ESCAPED = {"&": "\\&", "%": "\\%", "_": "\\_", "±": "$\\pm$", "−": "$-$", "→": "$\\to$"}
"""In LaTeX."""
RESULTS = "results.csv"


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text.

    Attributes:
        title: of it.
        headers: of the columns.
        rows: as long as the headers each.
        labels: how many columns at the left name the row.
    """

    title: str
    headers: list[str]
    rows: list[list[str]]
    labels: int

    def console(self) -> Table:
        """For a terminal: with a column a setting where there are fewer settings than tasks; never cut."""
        labels = self.labels
        lines = [self.headers, *([cell.replace(" p=", "\np=") for cell in row] for row in self.rows)]
        if len(self.rows) < len(self.headers) - labels:
            named = [[" ".join(line[:labels]), *line[labels:]] for line in lines]
            lines, labels = [list(column) for column in zip(*named, strict=True)], 1
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        headers, *rows = lines
        for number, header in enumerate(headers):
            table.add_column(header, justify="left" if number < labels else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        widest = [
            max(cell_len(part) for line in column for part in line.split("\n"))
            for column in zip(*lines, strict=True)
        ]
        table.width = sum(widest) + 3 * len(widest) + 1  # padding and lines
        return table

    def markdown(self) -> str:
        """For a README."""
        rules = ["---"] * self.labels + ["---:"] * (len(self.headers) - self.labels)
        lines = [self.headers, rules, *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"

    def latex(self) -> str:
        """For a paper; needs the package booktabs."""
        columns = "l" * self.labels + "r" * (len(self.headers) - self.labels)
        lines = [f"{' & '.join(map(_latex, cells))} \\\\" for cells in (self.headers, *self.rows)]
        body = ["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"]
        return "\n".join([f"\\begin{{tabular}}{{{columns}}}", *body, "\\end{tabular}"]) + "\n"


def scores_table(results: pd.DataFrame) -> TextTable:
    """Mean ± standard deviation over seeds, in points; ``*`` where a model says the same of every input.

    Args:
        results: one row a cell, with the columns of ``raft.experiments.grid.results``.
    """
    averages = _with_averages(results)

    def cell(rows: pd.DataFrame) -> str:
        spread = f" ± {rows.points.std():.1f}" if len(rows) > 1 else ""
        return f"{rows.points.mean():.1f}{spread}{'*' if rows.constant.any() else ''}".replace("-", "−")

    seeds = results.groupby(["task", *SETTING]).size()
    title = f"Scores in points, mean ± standard deviation over {_range(seeds.min(), seeds.max())} seeds"
    return _table(title, averages, _compared(results), cell)


def differences_table(results: pd.DataFrame) -> TextTable | None:
    """Differences to the twin of the same seeds: mean, 95 % interval, p, and wins / ties / losses.

    The twin of a setting has the first activation; where there is but one activation, the first model.

    Args:
        results: as of ``scores_table``.

    Returns:
        None where there are no twins.
    """
    by = _compared(results)
    baseline = results[by].iloc[0]
    if results[by].nunique() < 2:
        return None
    averages = _with_averages(results)
    keys = ["task", "seed", *(name for name in SETTING if name != by)]
    joined = averages[averages[by] != baseline].merge(
        averages[averages[by] == baseline][[*keys, "points"]], on=keys, suffixes=("", "_baseline")
    )

    def cell(rows: pd.DataFrame) -> str:
        if len(rows) < 2:
            return f"{(rows.points - rows.points_baseline).mean():+.1f}".replace("-", "−")
        return difference_text(paired(rows.points.tolist(), rows.points_baseline.tolist()))

    title = f"Differences to {baseline}, paired by seed: mean [95 % bootstrap], exact p, wins/ties/losses"
    return _table(title, joined, by, cell)


def rates_table(results: pd.DataFrame) -> TextTable | None:
    """Learning rates that validation chose: that of the model and, after a stroke, that of the RAFs.

    Args:
        results: as of ``scores_table``.

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

    title = "Learning rates / rates of the RAFs, chosen by validation scores"
    return _table(title, results, _compared(results), cell)


def grid_tables(results: pd.DataFrame) -> list[TextTable]:
    """All tables that there are for a grid.

    Args:
        results: as of ``scores_table``.
    """
    results = as_twins(results)
    pooled = results
    if PRETRAINED in results and results.activation.nunique() > 1:
        pooled = results.assign(model="")  # a score's spread is that over both kinds of seeds
    made = (
        scores_table(pooled),
        pretrainings_table(results),
        differences_table(results),
        rates_table(results),
    )
    return [table for table in made if table is not None]


def as_twins(results: pd.DataFrame) -> pd.DataFrame:
    """Models of ``raft pretrain`` as twins: the activation is that of the pretraining, the model its seed.

    Args:
        results: as of ``scores_table``. They are left as they are where models differ in nothing but a seed,
            have others beside them, or are converted.
    """
    if PRETRAINED not in results or results[PRETRAINED].isna().any() or results.activation.nunique() > 1:
        return results
    if results[PRETRAINED].nunique() < 2:
        return results
    seeds = results[PRETRAINING_SEED].astype(int).astype(str)
    return results.assign(activation=results[PRETRAINED], model="pretraining " + seeds)


def pretrainings_table(results: pd.DataFrame) -> TextTable | None:
    """Differences to the first twin over pretrainings: each one's mean over its fine-tunings counts once.

    Fine-tunings of one pretrained model share its luck, so the interval is Student's over the pretrainings.

    Args:
        results: of ``as_twins``.

    Returns:
        None where there are no two pretrainings of each twin.
    """
    if PRETRAINED not in results or results.activation.nunique() < 2 or results.model.nunique() < 2:
        return None
    averages = _with_averages(results)
    means = averages.groupby(["task", *SETTING], sort=False).points.mean().reset_index()
    baseline = results.activation.iloc[0]
    keys = ["task", "model", "train_examples", "tuning"]
    joined = means[means.activation != baseline].merge(
        means[means.activation == baseline][[*keys, "points"]], on=keys, suffixes=("", "_baseline")
    )

    def cell(rows: pd.DataFrame) -> str:
        difference = (rows.points - rows.points_baseline).to_numpy()
        if len(rows) < 2:
            return f"{difference.mean():+.1f}".replace("-", "−")
        found = over_seeds(rows.points.tolist(), rows.points_baseline.tolist())
        wins, ties = int((difference > 0).sum()), int((difference == 0).sum())
        return f"{interval_text(found)} {wins}/{ties}/{len(rows) - wins - ties}"

    title = (
        f"Differences to {baseline}, one a pretraining: mean [95 % over {results.model.nunique()} "
        "pretrainings], wins/ties/losses"
    )
    return _table(title, joined.assign(model=""), "activation", cell)


def read_results(file: Path) -> pd.DataFrame:
    """A grid's ``results.csv``.

    Raises:
        InputError: for a file that is none.
    """
    try:
        found = pd.read_csv(file, dtype={"train_examples": str})
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file}: {error}") from error
    missing = {"task", *SETTING, "learning_rate", "raf_learning_rate", "seed", "points"} - {*found.columns}
    if missing:
        raise InputError(f"{file} holds no results of a grid: it has no column {min(missing)!r}")
    return found


def difference_text(found: Paired) -> str:
    """A paired difference in a table's cell."""
    return f"{interval_text(found)} p={found.p_value:.3f} {found.wins}/{found.ties}/{found.losses}"


def interval_text(found: Difference | Paired) -> str:
    """A mean with its interval."""
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]".replace("-", "−")


def _with_averages(results: pd.DataFrame) -> pd.DataFrame:
    """With the mean over the tasks of each seed that has all of them, where there are several; those that
    models are judged on untrained do not count."""
    tuned = of_tuned_tasks(results)
    tasks = tuned.task.nunique()
    if tasks < 2:
        return results
    runs = [name for name in (*SETTING, PRETRAINED, PRETRAINING_SEED, "seed") if name in results]
    groups = tuned.groupby(runs, sort=False, dropna=False)
    whole = groups.agg(points=("points", "mean"), n=("task", "nunique"), constant=("constant", "any"))
    rows = whole[whole.n == tasks].drop(columns="n").reset_index().assign(task=AVERAGE)
    return pd.concat([results, rows], ignore_index=True)


def _compared(results: pd.DataFrame) -> str:
    """The column that tells twins apart."""
    return "activation" if results.activation.nunique() > 1 else "model"


def _table(title: str, rows: pd.DataFrame, by: str, cell: Callable[[pd.DataFrame], str]) -> TextTable:
    tasks = list(dict.fromkeys(rows.task))
    labels = [name for name in SETTING if rows[name].nunique() > 1 or name == by]
    lines = []
    for key, of_row in rows.groupby(SETTING, sort=False):
        named = dict(zip(SETTING, _tuple(key), strict=True))
        cells = [cell(of_task) if len(of_task := of_row[of_row.task == task]) else "" for task in tasks]
        lines.append([*(str(named[name]) for name in labels), *cells])
    headers = [{"train_examples": "examples"}.get(name, name) for name in labels]
    return TextTable(title, [*headers, *tasks], lines, len(labels))


def _tuple(key: Any) -> Sequence[Any]:
    return key if isinstance(key, tuple) else (key,)


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _latex(text: str) -> str:
    for found, escaped in ESCAPED.items():
        text = text.replace(found, escaped)
    return text


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows of ``raft.experiments.grid.results`` as a frame, models by the last part of their names."""
    found = pd.DataFrame(rows)
    found["model"] = [short_name(str(name)) for name in found.model]
    return found.astype({"points": np.float64})


def short_name(model: str) -> str:
    """The last part of a model's name or place."""
    return model.rstrip("/").rpartition("/")[2]


def of_tuned_tasks(results: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: without those of tasks that its model was judged on untrained."""
    return results[~results.task.str.contains(UNTRAINED)]
