"""Tables whose cells are text: for a terminal, a README and a paper."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table
from rich.text import Text

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

    def fitted(self, width: int) -> tuple[list[list[str]], int]:
        """Header and rows, and how many columns are labels: transposed where that makes a table narrower that
        has more characters a line than ``width``."""
        labels = self.labels
        lines = [[*self.cells], *self.rows]
        is_wide = sum(_measure_columns(lines)) + 2 * len(lines[0]) > width
        if is_wide and len(self.rows) < len(lines[0]) - labels:
            named = [[" ".join(line[:labels]), *line[labels:]] for line in lines]
            return [list(column) for column in zip(*named, strict=True)], 1
        return lines, labels

    def console(self) -> Table:
        """For a terminal: never cut."""
        broken = replace(self, cells=self.cells.map(lambda cell: cell.replace(" p=", "\np=")))
        lines, labels = broken.fitted(TERMINAL_WIDTH)
        table = make_rich_table(self.title, self.note or None)
        for number, (header, width) in enumerate(zip(lines[0], _measure_columns(lines), strict=True)):
            justify: JustifyMethod = "left" if number < labels else "right"
            table.add_column(Text(header), justify=justify, min_width=width, no_wrap=True)
        for row in lines[1:]:
            table.add_row(*map(Text, row))
        return table

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


def make_rich_table(title: str, note: str | None = None) -> Table:
    """A table without columns, in the style of all commands."""
    return Table(
        title=escape(title), title_justify="left", caption=note, caption_justify="left", box=box.SIMPLE_HEAD,
        pad_edge=False, padding=(0, 0, 0, 1),
    )  # fmt: skip


def _join_lines(text: str) -> str:
    return " ".join(text.splitlines())


def _measure_columns(lines: list[list[str]]) -> list[int]:
    return [
        max(cell_len(part) for cell in column for part in cell.split("\n"))
        for column in zip(*lines, strict=True)
    ]
