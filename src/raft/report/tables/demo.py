"""A demo's comparison as a table, for the terminal and as Markdown, and in a sentence."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.table import Table

from raft.experiments.results import Results, Row

HEADERS = ("measure", "FAFT", "RAFT", "difference [95 %]", "seeds")


def _number(value: float, row: Row) -> str:
    return f"{value:.3f}" if row.unit == "nats" else f"{value:.1f}"


def _cells(row: Row) -> list[str]:
    def mean_and_std(mean: float, std: float | None) -> str:
        return _number(mean, row) + ("" if std is None else f" ± {_number(std, row)}")

    difference = row.raft - row.faft
    text = f"{'+' if difference >= 0 else '−'}{_number(abs(difference), row)}"
    if row.difference is not None:
        low, high = (
            _number(value, row).replace("-", "−") for value in (row.difference.low, row.difference.high)
        )
        text += f" [{low}, {high}]"
    name = f"{row.measure} ({row.unit})" if row.unit else row.measure
    columns = [mean_and_std(row.faft, row.faft_std), mean_and_std(row.raft, row.raft_std)]
    return [name, *(column.replace("-", "−") for column in columns), text, str(row.seeds)]


def _unigram_cells(results: Results) -> list[str]:
    return [
        "unigram model (nats)",
        f"{results.unigram_loss:.3f}",
        f"{results.unigram_loss:.3f}",
        "",
        "",
    ]


def table_cells(results: Results) -> list[list[str]]:
    """The table as text, without its header; the unigram model's loss stands below the twins'."""
    rows = [_cells(row) for row in results.rows]
    return [rows[0], _unigram_cells(results), *rows[1:]]


def console_table(results: Results) -> Table:
    """For the terminal; it fits into 80 columns, and is not cut where there are fewer."""
    table = Table(
        title="RAFT and its FAFT",
        title_justify="left",
        caption=note(results),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    cells = [HEADERS, *table_cells(results)]
    for number, header in enumerate(HEADERS):
        widest = max(cell_len(row[number]) for row in cells)
        table.add_column(header, justify="left" if number == 0 else "right", min_width=widest)
    for row in cells[1:]:
        table.add_row(*row)
    return table


def markdown_table(results: Results) -> str:
    """For a README."""
    lines = [HEADERS, ("---", *["---:"] * (len(HEADERS) - 1)), *table_cells(results)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def summary(results: Results) -> str:
    """One sentence that says how it came out."""
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


def note(results: Results) -> str:
    """What the intervals are."""
    return (
        f"Pretraining: one seed; its interval is over {results.setup['validation_sequences']:,} validation "
        "sequences. Differences are RAFT − FAFT. Tasks: points, mean ± standard deviation over fine-tuning "
        "seeds; intervals are Student's, over paired seeds."
    )
