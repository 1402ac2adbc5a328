"""Tables whose cells are text: for a terminal, a README and a paper."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.table import Table

ESCAPED = {"&": "\\&", "%": "\\%", "_": "\\_", "±": "$\\pm$", "−": "$-$", "→": "$\\to$"}
"""In LaTeX."""


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


def _latex(text: str) -> str:
    for found, escaped in ESCAPED.items():
        text = text.replace(found, escaped)
    return text
