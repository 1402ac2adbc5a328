"""The figures of a page as files, for papers and slides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl

from raft.analysis.figure_style import STYLE, write_figure
from raft.files import atomic_write
from raft.report.page.blocks import Block, Drawing, Gallery
from raft.report.page.page import Section

KINDS = ("pdf", "svg", "png")
DPI = 200
LONGEST = 60
"""Characters of a file's name that say what the figure shows."""


def write_figures(sections: Sequence[Section], folder: Path) -> list[Path]:
    """Write each figure as PDF, SVG and PNG, and animations as GIF.

    Args:
        sections: of a page.
        folder: made where it does not exist; files of the same names are replaced.

    Returns:
        The files.
    """
    written: list[Path] = []
    for section in sections:
        for drawing in _find_drawings(section.blocks):
            stem = _find_free_name(f"{section.name}-{_slugify(drawing.label)}", written)
            for kind in KINDS:
                file = folder / f"{stem}.{kind}"
                with mpl.rc_context(STYLE):
                    write_figure(drawing.figure, file, DPI)
                written.append(file)
            if drawing.animate is not None:
                with atomic_write(folder / f"{stem}.gif") as unfinished:
                    drawing.animate(unfinished)
                written.append(folder / f"{stem}.gif")
    return written


def _find_drawings(blocks: Sequence[Block]) -> Iterator[Drawing]:
    for block in blocks:
        if isinstance(block, Drawing):
            yield block
        elif isinstance(block, Gallery):
            yield from block.drawings


def _slugify(label: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return words if len(words) <= LONGEST else words[:LONGEST].rpartition("-")[0]


def _find_free_name(stem: str, written: Sequence[Path]) -> str:
    taken = {file.stem for file in written}
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
