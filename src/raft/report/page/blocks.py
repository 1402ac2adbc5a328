"""What a section of the page is made of; ``assets/blocks.html`` has a macro for each class of block."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from raft.analysis.figure_style import FAFT_COLOUR, QUIET, RAFT_COLOUR, STYLE
from raft.report.tables.text_table import TextTable

TEMPLATES = Environment(
    loader=PackageLoader("raft.report.page", "assets"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
READABLE = 6.0
"""Inches of a figure that may shrink to the width of a phone; broader ones scroll there."""


class Block:
    """A part of a section: the macro with its class's name writes it, and escapes what it holds."""

    def html(self, name: str) -> Markup:
        """The block as HTML.

        Args:
            name: that no other block of the page has; ids begin with it.
        """
        macro: Callable[[Block, str], Markup]
        macro = getattr(TEMPLATES.get_template("blocks.html").module, type(self).__name__.lower())
        return macro(self, name)


PAGE_WIDTH = 110
"""Characters of a table that fit on the page."""


@dataclass(frozen=True)
class Heading(Block):
    text: str


@dataclass(frozen=True)
class Prose(Block):
    """A paragraph.

    Attributes:
        text: of it.
        kind: ``"plain"``, ``"lead"`` (what a reader sees first) or ``"quiet"`` (a note).
    """

    text: str
    kind: str = "plain"


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
class Facts(Block):
    facts: Sequence[Fact]


@dataclass(frozen=True)
class Tabular(Block):
    """A table: transposed or in parts where only that fits the page, and a list of its rows on a phone.

    A part that is wider still scrolls by itself, in a region that a keyboard can scroll.
    """

    table: TextTable
    note: str = ""

    @property
    def parts(self) -> list[list[list[str]]]:
        """Header and rows of each part."""
        return self.table.fitted(PAGE_WIDTH)[0]

    @property
    def labels(self) -> int:
        """How many cells name a row."""
        return self.table.fitted(PAGE_WIDTH)[1]


@dataclass(frozen=True)
class Listing(Block):
    """Text that is typed or kept in a file: a command, a recipe."""

    text: str
    label: str


@dataclass(frozen=True)
class Details(Block):
    """Blocks that are shown when they are asked for."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Drawing(Block):
    """A figure of matplotlib, inline.

    Attributes:
        figure: drawn by it.
        label: what a screen reader says in its place.
        caption: below it.
        on_card: keeps the figure's own colours, on white, also where the page is dark; else its black lines
            and text and the models' colours are the page's.
        narrow: no wider than a column of text.
        animate: writes it as a GIF that moves, where it has one.
    """

    figure: Figure
    label: str
    caption: str = ""
    on_card: bool = False
    narrow: bool = False
    animate: Callable[[Path], None] | None = None

    @property
    def is_broad(self) -> bool:
        return self.figure.get_figwidth() > READABLE

    @property
    def classes(self) -> str:
        kinds = {"card": self.on_card, "narrow": self.narrow, "broad": self.is_broad}
        return " ".join(kind for kind, holds in kinds.items() if holds)

    def svg(self, name: str) -> Markup:
        return render_svg(self.figure, self.label, name, self.on_card)


@dataclass(frozen=True)
class Gallery(Block):
    """Small figures side by side, as many in a row as there is room for, and one caption.

    Attributes:
        drawings: in their order.
        caption: below them.
        is_wide: at most two in a row.
    """

    drawings: Sequence[Drawing]
    caption: str = ""
    is_wide: bool = False


PAGE_COLOURS = {
    "#000000": "currentColor",
    RAFT_COLOUR.lower(): "var(--raf)",
    FAFT_COLOUR.lower(): "var(--baseline)",
    QUIET.lower(): "var(--quiet)",
}


def render_svg(figure: Figure, label: str, name: str, on_card: bool = False) -> Markup:
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
    return Markup(text.replace("<svg ", f"<svg {attributes} ", 1))
