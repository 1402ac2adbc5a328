"""A demo's comparison as a table and in a sentence."""

from __future__ import annotations

import pandas as pd

from raft.experiments.results import Results, Row
from raft.report.tables.numbers import format_interval, format_signed
from raft.report.tables.text_table import TextTable

HEADERS = ["measure", "FAFT", "RAFT", "difference [95 %]", "seeds"]


def _format_number(value: float, row: Row) -> str:
    return f"{value:.3f}" if row.unit == "nats" else f"{value:.1f}"


def _format_row(row: Row) -> list[str]:
    def mean_and_std(mean: float, std: float | None) -> str:
        return _format_number(mean, row) + ("" if std is None else f" ± {_format_number(std, row)}")

    difference, digits = row.raft - row.faft, 3 if row.unit == "nats" else 1
    text = format_signed(difference, digits)
    if row.difference is not None:
        text = format_interval(difference, row.difference.low, row.difference.high, digits)
    name = f"{row.measure} ({row.unit})" if row.unit else row.measure
    columns = [mean_and_std(row.faft, row.faft_std), mean_and_std(row.raft, row.raft_std)]
    return [name, *(column.replace("-", "−") for column in columns), text, str(row.seeds)]


def tabulate_comparison(results: Results) -> TextTable:
    """Both models' scores; the unigram model's loss stands below theirs."""
    unigram = ["unigram model (nats)", *[f"{results.unigram_loss:.3f}"] * 2, "", ""]
    first, *others = map(_format_row, results.rows)
    cells = pd.DataFrame([first, unigram, *others], columns=HEADERS)
    return TextTable("The RAFT and its FAFT", cells, labels=1, note=describe_intervals(results))


def summarize(results: Results) -> str:
    """Summarize the outcome in one sentence."""
    faft, raft = results.rows[0].faft, results.rows[0].raft
    lower, higher = ("RAFT", "FAFT") if raft < faft else ("FAFT", "RAFT")
    interval = results.rows[0].difference
    clear = interval is not None and (interval.low > 0 or interval.high < 0)
    tasks = [row for row in results.rows if row.faft_std is not None]
    above = sum(row.raft > row.faft for row in tasks)
    decided = sum(
        row.difference is not None and not row.difference.low <= 0 <= row.difference.high for row in tasks
    )
    certainty = "" if clear else ", a difference that the validation text cannot tell from none"
    return (
        f"After {results.setup['steps']:,} steps on the same batches the {lower} has the lower validation "
        f"loss: {min(faft, raft):.3f} against the {higher}'s {max(faft, raft):.3f} nats{certainty}. "
        f"Fine-tuned on {results.settings['train_examples']} examples, the RAFT scores higher on {above} of "
        f"{len(tasks)} tasks; on {decided} of them the 95 % interval of the difference excludes zero."
    )


def describe_intervals(results: Results) -> str:
    return (
        f"Pretraining: one seed; its interval is over {results.setup['validation_sequences']:,} validation "
        "sequences. Differences are RAFT − FAFT. Tasks: points, mean ± standard deviation over fine-tuning "
        "seeds; intervals are Student's, over paired seeds."
    )
