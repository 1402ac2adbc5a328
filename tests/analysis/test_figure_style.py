"""Figures are reproducible to the byte."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest

from raft.analysis.figure_style import STYLE, new_figure, write_figure


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_figure_is_written_twice_the_same(tmp_path: Path, kind: str) -> None:
    files = [tmp_path / f"{name}.{kind}" for name in ("a", "b")]
    with mpl.rc_context(STYLE):
        figure = new_figure(6, 3)
        figure.add_subplot().plot([0, 1, 2], [0, 1, 4])
        figure.draw_without_rendering()  # its layout settles
        for file in files:
            write_figure(figure, file)
    assert files[0].read_bytes() == files[1].read_bytes()
