"""Tables whose cells are text: for a terminal, a README and a paper."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Group, JustifyMethod
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from raft.analysis.figure_style import break_name
from raft.analysis.formulas import escape_latex

MARKDOWN = str.maketrans({"\\": "\\\\", "|": "\\|", "`": "\\`", "<": "&lt;"})
TERMINAL_WIDTH = 80


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text.

    Attributes:
        title: of it.
        cells: a data frame of strings.
        labels: how many columns at the left name the row; the others are aligned at the right.
        note: below it in a terminal.
    """

    title: str
    cells: pd.DataFrame
    labels: int
    note: str = ""

    @property
    def rows(self) -> list[list[str]]:
        """Cells by row, without the headers."""
        rows: list[list[str]] = self.cells.to_numpy().tolist()
        return rows

    def fitted(self, width: int) -> tuple[list[list[list[str]]], int]:
        """Fit into lines of ``width`` characters.

        Returns:
            Header and rows, and how many columns are labels; transposed where only that fits. Where neither
            does, the columns are those of several tables, and each has the labels.
        """
        labels = self.labels
        named = [[*map(break_name, row[:labels]), *row[labels:]] for row in self.rows]
        lines = [[break_name(str(header)) for header in self.cells], *named]
        if _measure_line(lines) <= width:
            return [lines], labels
        joined = [["\n".join(filter(None, line[:labels])), *line[labels:]] for line in lines]
        transposed = [list(column) for column in zip(*joined, strict=True)]
        if _measure_line(transposed) <= width:
            return [transposed], 1
        tables: list[list[list[str]]] = []
        first = labels
        for end in range(labels + 1, len(lines[0]) + 1):
            if end == len(lines[0]) or _measure_line(_select(lines, labels, first, end + 1)) > width:
                tables.append(_select(lines, labels, first, end))
                first = end
        return tables or [lines], labels

    def console(self) -> Group:
        """For a terminal: never cut."""
        broken = replace(self, cells=self.cells.map(lambda cell: cell.replace(" p=", "\np=")))
        tables, labels = broken.fitted(TERMINAL_WIDTH)
        drawn = []
        for lines in tables:
            is_first, is_last = lines is tables[0], lines is tables[-1]
            table = make_rich_table(self.title if is_first else "", self.note if is_last else "")
            for number, (header, width) in enumerate(zip(lines[0], _measure_columns(lines), strict=True)):
                justify: JustifyMethod = "left" if number < labels else "right"
                table.add_column(Text(header), justify=justify, min_width=width, no_wrap=True)
            for row in lines[1:]:
                table.add_row(*map(Text, row))
            drawn.append(table)
        return Group(*drawn)

    def markdown(self) -> str:
        """For a README."""
        rules = ["---"] * self.labels + ["---:"] * (len(self.cells.columns) - self.labels)
        headers, *lines = (
            [_join_lines(cell).translate(MARKDOWN) for cell in row] for row in ([*self.cells], *self.rows)
        )
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rules, *lines)) + "\n"

    def latex(self) -> str:
        """For a paper; needs the package booktabs."""
        escaped = self.cells.map(escape_latex).rename(columns=escape_latex)
        alignment = "l" * self.labels + "r" * (len(escaped.columns) - self.labels)
        return str(escaped.to_latex(index=False, escape=False, column_format=alignment))


def make_rich_table(title: str, note: str = "") -> Table:
    """A table without columns, in the style of all commands."""
    return Table(
        title=escape(title) or None, title_justify="left", caption=escape(note) or None,
        caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1),
    )  # fmt: skip


def _join_lines(text: str) -> str:
    return " ".join(text.splitlines())


def _select(lines: list[list[str]], labels: int, first: int, end: int) -> list[list[str]]:
    """The labels and some of the other columns."""
    return [[*line[:labels], *line[first:end]] for line in lines]


def _measure_line(lines: list[list[str]]) -> int:
    return sum(_measure_columns(lines)) + 2 * len(lines[0])


def _measure_columns(lines: list[list[str]]) -> list[int]:
    return [
        max(cell_len(part) for cell in column for part in cell.split("\n"))
        for column in zip(*lines, strict=True)
    ]
