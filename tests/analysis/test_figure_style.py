"""Figures are written small, and look as they were drawn."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from raft.analysis.figure_style import OTHER_COLOURS, compress_png, new_figure, write_figure


def draw(curves: int) -> Figure:
    """Curves over one another, above a filled one, and a matrix with its colours: what is drawn of RAFs."""
    figure = new_figure(6, 3)
    lines, picture = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    x = np.linspace(0, 6, 200)
    for number in range(curves):
        lines.plot(x, np.sin(x + number / 4), color=OTHER_COLOURS[number % 8], alpha=0.5)
    lines.fill_between(x, np.sin(x), -1, color="#8a8a8a", alpha=0.25, linewidth=0)
    figure.colorbar(picture.imshow(np.add.outer(x, np.cos(x))[::20, ::20], cmap="cividis"), ax=picture)
    return figure


def test_a_png_is_a_fraction_of_its_size_and_looks_the_same() -> None:
    plain = io.BytesIO()
    draw(4).savefig(plain, format="png", dpi=160)
    packed = compress_png(plain.getvalue())
    assert len(packed) < 0.5 * len(plain.getvalue())
    with Image.open(plain) as drawn, Image.open(io.BytesIO(packed)) as written:
        assert written.info["dpi"] == pytest.approx(drawn.info["dpi"])
        expected, actual = (np.asarray(image.convert("RGB")).astype(int) for image in (drawn, written))
    assert actual.shape == expected.shape
    error = np.abs(actual - expected).max(-1)  # of 255
    assert error.mean() < 0.5
    assert (error > 24).mean() < 0.002
    # colours of areas stay: those of the paper, and of what is filled
    _, places, counts = np.unique(expected.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    assert error.ravel()[counts[places.ravel()] > error.size / 100].max() <= 1


def test_a_figure_is_written_so_and_twice_the_same(tmp_path: Path) -> None:
    figure = draw(4)
    figure.draw_without_rendering()  # its layout settles
    for name in ("a.png", "b.png"):
        write_figure(figure, tmp_path / name)
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == "P"
        assert written.size == (960, 480)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("curves", "transparent"), [(4, True), (60, False)])
def test_pictures_that_would_not_look_the_same_are_left_as_they_are(curves: int, transparent: bool) -> None:
    plain = io.BytesIO()
    draw(curves).savefig(plain, format="png", dpi=80, transparent=transparent)
    assert compress_png(plain.getvalue()) == plain.getvalue()
