"""Curves as braille characters, four by two dots each: readable in any terminal, and in a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLANK = 0x2800
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bit of each dot in a character, from its upper left corner."""


def sketch(curves: Sequence[NDArray[np.float64]], width: int, height: int) -> str:
    """Draw curves over one another, scaled so that they fill the height; a constant lies in the middle.

    Args:
        curves: values at evenly spaced points, ``[points]`` each; those that are not finite are left out.
        width: in characters.
        height: in lines.

    Returns:
        ``height`` lines of ``width`` characters.
    """
    columns, rows = 2 * width, 4 * height
    finite = [np.asarray(curve)[np.isfinite(curve)] for curve in curves]
    values = np.concatenate([*finite, np.zeros(0)])
    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    grid = np.zeros((rows, columns), dtype=bool)
    for curve in curves:
        places = np.linspace(0, len(curve) - 1, columns).round().astype(int)
        before = None
        for column, value in enumerate(np.asarray(curve)[places]):
            if not np.isfinite(value):
                before = None
                continue
            row = round((high - value) / (high - low) * (rows - 1)) if high > low else rows // 2
            # a steep curve stays one line: the dots between it and the last column's are drawn too
            near = row if before is None or abs(row - before) < 2 else before + (1 if row > before else -1)
            grid[min(row, near) : max(row, near) + 1, column] = True
            before = row
    codes = (grid.reshape(height, 4, width, 2) * DOTS[None, :, None, :]).sum(axis=(1, 3)) + BLANK
    return "\n".join("".join(map(chr, line)) for line in codes)
