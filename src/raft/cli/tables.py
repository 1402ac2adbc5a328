"""Dotted names of modules in the first column of a table."""

from __future__ import annotations

from rich.console import Console

NARROW = 22
"""Columns for names where the terminal has no room for whole ones."""


def fit_name_width(console: Console, names: list[str], others: list[int]) -> int:
    """Choose the width of the name column, given the widths of the others."""
    # two between columns, and one at each edge
    room = max(NARROW, console.width - sum(others) - 2 * len(others) - 2)
    return min(room, max(map(len, names)))


def fold_name(name: str, width: int) -> str:
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
