"""What ``raft demo`` found out, as a table and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

import pandas as pd

from raft.experiments.modular_addition import FOUND, FREE, GELU, LEARNED, PRIME, SINE, SumComparison, SumRun
from raft.report.tables.text_table import TextTable

HEADERS = ["activation", "networks that learned", "steps, median", "sums right (%)"]


def tabulate_sums(comparison: SumComparison) -> TextTable:
    """A row an activation: networks that reached 99 %, their steps, and the share of held-out sums."""
    rows = [
        [name, format_learned(runs), format_steps(runs), f"{100 * fmean(run.accuracy for run in runs):.1f}"]
        for name, runs in comparison.by_activation().items()
    ]
    note = (
        f"Held-out sums, when 99 % were right or after {comparison.max_steps:,} steps. The median counts "
        "networks that did not learn as the slowest. A fixed gain holds the size of a RAF's output (root "
        "mean square over standard normal inputs), so that training changes its shape alone; 'the same, "
        "frozen' is what one more network made of it, in new networks that do not train it."
    )
    return TextTable(f"Addition modulo {PRIME}", pd.DataFrame(rows, columns=HEADERS), labels=1, note=note)


def format_learned(runs: Sequence[SumRun]) -> str:
    """``3 of 5``: networks that reached the goal."""
    return f"{sum(run.steps is not None for run in runs)} of {len(runs)}"


def format_steps(runs: Sequence[SumRun]) -> str:
    """The median of their steps; nothing where that network did not learn."""
    middle = median(float("inf") if run.steps is None else run.steps for run in runs)
    return "" if middle == float("inf") else f"{middle:,.0f}"


def summarize_sums(comparison: SumComparison) -> str:
    """In one sentence."""
    runs = comparison.by_activation()

    def tell(name: str) -> str:
        steps = format_steps(runs[name])
        return f"{format_learned(runs[name])}" + (f", after {steps} steps" if steps else "")

    return (
        f"With GELU {tell(GELU)} networks learn to add (99 % of held-out sums right), with a sine "
        f"{tell(SINE)}. With a rational function that starts as GELU and is learned (RAF) {tell(FREE)}; "
        f"where its gain is held, so that training changes its shape, {tell(LEARNED)}; with what one network "
        f"made of it, frozen in new ones, {tell(FOUND)}."
    )
