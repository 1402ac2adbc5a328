"""Tables whose first column has dotted names of modules."""

from __future__ import annotations

import re
from collections import Counter

from rich.console import Console
from rich.text import Text

from raft.analysis.learned import shorten_names
from raft.networks.conversion_report import HEADS, ConversionReport, format_cells
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
    return "\n".join(re.findall(rf".{{1,{width}}}(?=\.|$)|.{{1,{width}}}", name))


def print_conversion(console: Console, name: str, report: ConversionReport) -> None:
    """Print a conversion's report; it takes 80 columns, and more where there are more.

    Names of sites are short where whole ones have no room.
    """
    end = None if any(site.inputs for site in report) else -1  # without a calibration there are no inputs
    heads, rows = HEADS[:end], [format_cells(site)[:end] for site in report]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    whole = [site.site for site in report]
    width = fit_name_width(console, whole, widths)
    short = shorten_names(whole) if width < max(map(len, whole)) else {}
    places = [[short.get(site.site, site.site)] for site in report]
    for place, site in zip(places, report, strict=True):
        if site.shares:
            place.append(f"= {short.get(site.shares, site.shares)}")
    width = fit_name_width(console, [part for place in places for part in place], widths)
    kinds = Counter(site.kind for site in report)
    table = make_rich_table(f"{name}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    table.add_column("site", min_width=width, no_wrap=True)
    for head, least in zip(heads, widths, strict=True):
        table.add_column(head, justify="left" if head == "was" else "right", min_width=least, no_wrap=True)
    for place, row in zip(places, rows, strict=True):
        table.add_row(Text("\n".join(fold_name(part, width) for part in place)), *map(Text, row))
    console.print(table, crop=False)
