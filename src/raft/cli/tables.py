"""Tables whose first column has dotted names of modules."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from raft.networks.conversion_report import ConversionReport
from raft.report.tables.text_table import make_rich_table

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


def print_conversion(console: Console, name: str, report: ConversionReport) -> None:
    """Print a conversion's report; it takes 80 columns, and more where there are more."""
    is_calibrated = any(site.inputs for site in report)
    heads = ["was", "fitted for", "max error", "rms error", *(["inputs"] if is_calibrated else [])]
    rows = [
        [
            site.replaced,
            "nothing" if site.max_error is None else f"[{site.interval[0]:.1f}, {site.interval[1]:.1f}]",
            _format_error(site.max_error),
            _format_error(site.rms_error),
            *([f"{site.inputs:,}" if site.inputs else "none seen"] if is_calibrated else []),
        ]
        for site in report
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    names = [site.site for site in report] + [f"= {site.shares}" for site in report if site.shares]
    width = fit_name_width(console, names, widths)
    kinds = Counter(site.kind for site in report)
    table = make_rich_table(f"{name}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    table.add_column("site", min_width=width, no_wrap=True)
    for head, least in zip(heads, widths, strict=True):
        table.add_column(head, justify="left" if head == "was" else "right", min_width=least, no_wrap=True)
    for site, row in zip(report, rows, strict=True):
        place = fold_name(site.site, width)
        if site.shares:
            place += "\n" + fold_name(f"= {site.shares}", width)
        table.add_row(Text(place), *map(Text, row))
    console.print(table, crop=False)


def _format_error(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}" if value else "0"
