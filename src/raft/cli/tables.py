"""Tables on the screen whose first column is a module's dotted name."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

NARROW = 22
"""Columns for names where the terminal has no room for whole ones."""


def sites_table(title: str) -> Table:
    """An empty table in the style of all commands."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def name_width(console: Console, names: list[str], others: list[int]) -> int:
    """Columns for the names beside columns of these widths."""
    # two between columns, and one at each edge
    room = max(NARROW, console.width - sum(others) - 2 * len(others) - 2)
    return min(room, max(map(len, names)))


def folded(name: str, width: int) -> str:
    """A dotted name in lines of at most ``width``, broken before dots (and anywhere, where a part is longer).

    The lines joined are the name.
    """
    lines = [""]
    for number, part in enumerate(name.split(".")):
        text = part if number == 0 else f".{part}"
        if lines[-1] and len(lines[-1]) + len(text) > width:
            lines.append("")
        lines[-1] += text
        while len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(lines)
