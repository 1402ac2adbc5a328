"""The scores of fine-tuned models as tables."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from raft.data.tasks.task import Score
from raft.finetuning.run import FinetuningResult
from raft.report.tables.text_table import TextTable

HEADERS = ["scored on", "parts", "remark", "points"]


def tabulate_result(result: FinetuningResult, name: str = "") -> TextTable:
    """A row for the validation part and for each test; ``name`` is of the run's folder, for the title."""
    scores = {
        test: Score(points, result.parts[test], test in result.constant, result.single_class.get(test))
        for test, points in result.tests.items()
    }
    epochs = len(result.history) or result.epoch
    title = f"{result.task}, seed {result.seed}, epoch {result.epoch} of {epochs}"
    counts = ", ".join(f"{count:,} {part}" for part, count in result.examples.items())
    return tabulate_scores(
        f"{name}: {title}" if name else title, scores, result.validation, f"Examples: {counts}."
    )


def tabulate_scores(
    title: str, scores: Mapping[str, Score], validation: float | None = None, note: str = ""
) -> TextTable:
    """A row for the validation part, where there is one, and for each test."""
    rows = [] if validation is None else [["validation", "", "", f"{validation:.2f}"]]
    for name, score in scores.items():
        parts = ", ".join(f"{part} {value:.2f}" for part, value in score.parts.items())
        remark = "" if score.single_class is None else f"best single class {score.single_class:.2f}"
        remark = "the same for every input" if score.constant else remark
        rows.append([name, parts, remark, f"{score.points:.2f}"])
    return TextTable(title, pd.DataFrame(rows, columns=HEADERS), labels=3, note=note)
