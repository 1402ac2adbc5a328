"""Tables that fit where they are shown."""

from __future__ import annotations

import io

import pandas as pd
from rich.console import Console

from raft.analysis.figure_style import break_name
from raft.report.tables.text_table import TERMINAL_WIDTH, TextTable

LONG = "raf:raf_shared=kind:raf_learning_rate=8e-3:raf_lr_scheduler_type=linear"
HEADERS = ["activation", *(f"a measure of number {number}" for number in range(7))]


def show(table: TextTable) -> list[str]:
    printed = io.StringIO()
    console = Console(file=printed, width=TERMINAL_WIDTH)
    console.print(table.console(), crop=False)
    return printed.getvalue().splitlines()


def make(names: list[str]) -> TextTable:
    rows = [[name, *(f"{name[:4]} {number}" for number in range(7))] for name in names]
    return TextTable("Title", pd.DataFrame(rows, columns=HEADERS), labels=1, note="A [note].")


def test_names_break_after_colons() -> None:
    assert break_name(LONG) == ("raf:raf_shared=kind:\nraf_learning_rate=8e-3:\nraf_lr_scheduler_type=linear")
    assert break_name("gelu") == "gelu"
    assert break_name(prose := "a text without any, which is longer than thirty characters") == prose


def test_a_wide_table_of_few_rows_is_transposed() -> None:
    tables, labels = make(["gelu", "raf"]).fitted(TERMINAL_WIDTH)
    assert labels == 1
    ((header, *rows),) = tables
    assert header == ["activation", "gelu", "raf"]
    assert rows[0] == ["a measure of number 0", "gelu 0", "raf 0"]


def test_where_neither_fits_the_columns_go_on_below() -> None:
    table = make(["gelu", "raf", LONG, f"{LONG}:version=B", "relu2", "silu", "swish"])
    tables, labels = table.fitted(TERMINAL_WIDTH)
    assert labels == 1
    assert len(tables) > 1
    assert [header for lines in tables for header in lines[0][1:]] == HEADERS[1:]
    for lines in tables:
        assert [line[0] for line in lines[1:]] == list(map(break_name, table.cells["activation"]))
    printed = show(table)
    assert max(map(len, printed)) <= TERMINAL_WIDTH
    assert sum(line.startswith("Title") for line in printed) == 1
    assert sum("A [note]." in line for line in printed) == 1
    assert LONG in table.markdown()  # which has no narrow lines
