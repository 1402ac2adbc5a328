"""What a section of the page is made of: each kind of block writes itself as HTML, and escapes what it holds.

A section takes any object with this ``html`` method, so that a further kind of figure or table is one more
block in its list.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Protocol

import matplotlib as mpl
from matplotlib.figure import Figure

from raft.analysis.figures import FAFT_COLOUR, QUIET, RAFT_COLOUR, STYLE
from raft.report.tables.text_table import TextTable

LONG = 26
"""Characters of a table's cell beyond which it takes two lines."""


READABLE = 6.0
"""Inches of a figure that may shrink to the width of a phone; broader ones scroll there."""


class Block(Protocol):
    """A part of a section."""

    def html(self, name: str) -> str:
        """The block as HTML.

        Args:
            name: that no other block of the page has; ids begin with it.
        """
        ...


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str

    def html(self, name: str) -> str:
        """``<h3>``."""
        return f"<h3>{escape(self.text)}</h3>"


@dataclass(frozen=True)
class Prose:
    """A paragraph.

    Attributes:
        text: of it.
        kind: ``"plain"``, ``"lead"`` (what a reader sees first) or ``"quiet"`` (a note).
    """

    text: str
    kind: str = "plain"

    def html(self, name: str) -> str:
        """``<p>``."""
        return f'<p class="{escape(self.kind)}">{escape(self.text)}</p>'


@dataclass(frozen=True)
class Fact:
    """A number that is worth standing alone.

    Attributes:
        label: what it is of.
        value: with its unit.
        note: its spread or interval.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Some numbers in a row."""

    facts: Sequence[Fact]

    def html(self, name: str) -> str:
        """``<dl>``."""
        cells = [
            f'<div><dt>{escape(each.label)}</dt><dd>{escape(each.value)}<span class="note">'
            f"{escape(each.note)}</span></dd></div>"
            for each in self.facts
        ]
        return f'<dl class="facts">{"".join(cells)}</dl>'


@dataclass(frozen=True)
class Tabular:
    """A table, which scrolls by itself where the page is narrower."""

    table: TextTable
    note: str = ""

    def html(self, name: str) -> str:
        """``<table>`` in a region that a keyboard can scroll."""
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in self.table.headers)
        body = "".join(f"<tr>{self._row(row)}</tr>" for row in self.table.rows)
        caption = f'<p class="caption" id="{name}">{escape(self.table.title)}</p>'
        note = f'<p class="quiet">{escape(self.note)}</p>' if self.note else ""
        return (
            f'{caption}<div class="wide" role="region" tabindex="0" aria-labelledby="{name}">'
            f'<table aria-labelledby="{name}">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
        )

    def _row(self, cells: Sequence[str]) -> str:
        labels = "".join(f'<th scope="row">{escape(cell)}</th>' for cell in cells[: self.table.labels])
        return labels + "".join(map(_cell, cells[self.table.labels :]))


def _cell(text: str) -> str:
    """A long one may take two lines, but is not broken within an interval."""
    kind = ' class="long"' if len(text) > LONG else ""
    whole = text.replace(", ", ",\u00a0")
    return f"<td{kind}>{escape(whole)}</td>"


@dataclass(frozen=True)
class Listing:
    """Text that is typed or kept in a file: a command, a recipe."""

    text: str
    label: str

    def html(self, name: str) -> str:
        """``<pre>``."""
        region = f'role="region" tabindex="0" aria-label="{escape(self.label)}"'
        return f"<pre {region}><code>{escape(self.text.rstrip())}</code></pre>"


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when they are asked for."""

    summary: str
    blocks: Sequence[Block]

    def html(self, name: str) -> str:
        """``<details>``."""
        inside = "".join(block.html(f"{name}-{number}") for number, block in enumerate(self.blocks))
        return f"<details><summary>{escape(self.summary)}</summary>{inside}</details>"


@dataclass(frozen=True)
class Drawing:
    """A figure of matplotlib, inline.

    Attributes:
        figure: drawn by it.
        label: what a screen reader says in its place.
        caption: below it.
        on_card: keeps the figure's own colours, on white, also where the page is dark; else its black lines
            and text and the twins' colours are the page's.
        narrow: no wider than a column of text.
        animate: writes it as a GIF that moves, where it has one.
    """

    figure: Figure
    label: str
    caption: str = ""
    on_card: bool = False
    narrow: bool = False
    animate: Callable[[Path], None] | None = None

    def html(self, name: str) -> str:
        """``<figure>``."""
        kinds = [kind for kind, holds in (("card", self.on_card), ("narrow", self.narrow)) if holds]
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        drawn = inline_svg(self.figure, self.label, name, self.on_card)
        if self.figure.get_figwidth() > READABLE:
            kinds.append("broad")
            region = 'role="region" tabindex="0" aria-label="Figure, may be wider than the page"'
            drawn = f'<div class="wide" {region}>{drawn}</div>'
        return f'<figure class="{" ".join(kinds)}">{drawn}{caption}</figure>'


@dataclass(frozen=True)
class Gallery:
    """Small figures side by side, as many in a row as there is room for, and one caption."""

    drawings: Sequence[Drawing]
    caption: str = ""

    def html(self, name: str) -> str:
        """``<figure>`` of ``<figure>``."""
        inside = "".join(each.html(f"{name}-{number}") for number, each in enumerate(self.drawings))
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure><div class="gallery">{inside}</div>{caption}</figure>'


PAGE_COLOURS = {
    "#000000": "currentColor",
    RAFT_COLOUR.lower(): "var(--raf)",
    FAFT_COLOUR.lower(): "var(--twin)",
    QUIET.lower(): "var(--quiet)",
}


def inline_svg(figure: Figure, label: str, name: str, on_card: bool = False) -> str:
    """A figure as an element of a page: no metadata, no namespaces, ids that begin with ``name``."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):  # ids that are the same each time
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=not on_card)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text, count=2).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    # a hundredth of a point is finer than any screen
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    if not on_card:
        for colour, of_page in PAGE_COLOURS.items():
            text = text.replace(f": {colour}", f": {of_page}")
    attributes = f'role="img" aria-label="{escape(label)}" style="max-width: {figure.get_figwidth():.2f}in"'
    return text.replace("<svg ", f"<svg {attributes} ", 1)
