"""A RAF as a small picture in a notebook: no matplotlib, no script, readable on light and dark pages."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from raft.coefficients.functions import Array, Function

WIDTH, HEIGHT, MARGIN, POINTS = 360, 220, 28, 241
UNKNOWN = (-5.0, 5.0)
"""What is shown of a function whose interval nobody knows."""
RAF_COLOUR, START_COLOUR = "#D55E00", "#0072B2"


def figure(
    functions: Sequence[Function], beginning: Function, interval: tuple[float, float], caption: str
) -> str:
    """Curves (solid) over the function that they began as (dashed), as HTML.

    Args:
        functions: of numpy arrays.
        beginning: what they began as.
        interval: of the inputs that are shown.
        caption: what they are, not yet escaped.
    """
    x = np.linspace(*(interval if np.isfinite(interval).all() else UNKNOWN), POINTS)
    label = html.escape(caption)
    svg = _svg(x, [each(x) for each in functions], beginning(x), label)
    return f'<figure style="margin:0"><figcaption><code>{label}</code></figcaption>{svg}</figure>'


def _svg(x: Array, curves: list[Array], beginning: Array, label: str) -> str:
    seen = np.concatenate([*curves, beginning])
    seen = seen[np.isfinite(seen)]
    low, high = float(seen.min()), float(seen.max())
    if high - low < 1e-9:
        low, high = low - 1, high + 1

    def across(value: Any) -> Any:
        return MARGIN + (value - x[0]) / (x[-1] - x[0]) * (WIDTH - 2 * MARGIN)

    def down(value: Any) -> Any:
        return HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * MARGIN)

    def line(y: Array, style: str) -> str:
        inside = np.isfinite(y)  # but at a pole
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across(x[inside]), down(y[inside]), strict=True))
        return f'<polyline points="{points}" fill="none" {style}/>'

    def text(value: float, a: float, b: float, anchor: str) -> str:
        return (
            f'<text x="{a:.0f}" y="{b:.0f}" font-size="11" fill="currentColor" text-anchor="{anchor}">'
            f"{value:.3g}</text>"
        )

    axes = "".join(
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" opacity=".35"/>'
        for x1, y1, x2, y2, is_inside in (
            (MARGIN, down(0), WIDTH - MARGIN, down(0), low <= 0 <= high),
            (across(0), MARGIN, across(0), HEIGHT - MARGIN, x[0] <= 0 <= x[-1]),
        )
        if is_inside
    )
    bold = f'stroke="{RAF_COLOUR}" stroke-width="2"'
    dashed = f'stroke="{START_COLOUR}" stroke-width="1.5" stroke-dasharray="5 4"'
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" xmlns="http://www.w3.org/2000/svg">{axes}'
        + "".join(line(curve, bold) for curve in curves)
        + line(beginning, dashed)
        + text(x[0], MARGIN, HEIGHT - 8, "middle")
        + text(x[-1], WIDTH - MARGIN, HEIGHT - 8, "middle")
        + text(high, MARGIN - 4, MARGIN - 8, "middle")
        + text(low, MARGIN - 4, HEIGHT - MARGIN + 4, "end")
        + "</svg>"
    )
