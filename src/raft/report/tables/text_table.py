"""Tables whose cells are text: for a terminal, a README and a paper."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.table import Table

LATEX = str.maketrans(
    {
        "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%",
        "_": "\\_", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}",
        "±": "$\\pm$", "−": "$-$", "→": "$\\to$",
    }
)  # fmt: skip
MARKDOWN = str.maketrans({"\\": "\\\\", "|": "\\|", "`": "\\`", "<": "&lt;"})


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
        headers, *lines = (
            [_in_one_line(cell).translate(MARKDOWN) for cell in row] for row in (self.headers, *self.rows)
        )
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rules, *lines)) + "\n"

    def latex(self) -> str:
        """For a paper; needs the package booktabs."""
        columns = "l" * self.labels + "r" * (len(self.headers) - self.labels)
        lines = [f"{' & '.join(map(latex_escaped, cells))} \\\\" for cells in (self.headers, *self.rows)]
        body = ["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"]
        return "\n".join([f"\\begin{{tabular}}{{{columns}}}", *body, "\\end{tabular}"]) + "\n"


def latex_escaped(text: str) -> str:
    """Text as LaTeX shows it: none of it is a command."""
    return _in_one_line(text).translate(LATEX)


def _in_one_line(text: str) -> str:
    return " ".join(text.splitlines())
