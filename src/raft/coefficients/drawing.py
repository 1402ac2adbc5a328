"""Curves of a RAF as SVG in a notebook: no matplotlib, no script, readable on light and dark pages."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from raft.coefficients.functions import Array, Function

WIDTH, HEIGHT, MARGIN, POINTS = 360, 220, 28, 241
DEFAULT_INTERVAL = (-5.0, 5.0)
"""For functions whose interval is unknown."""
RAF_COLOUR, START_COLOUR = "#D55E00", "#0072B2"


def figure(
    functions: Sequence[Function], initial: Function, interval: tuple[float, float], caption: str
) -> str:
    """Curves (solid) and their initial function (dashed), as HTML.

    Args:
        functions: of numpy arrays.
        initial: the one that they began as.
        interval: of the inputs that are shown.
        caption: text, unescaped.
    """
    x = np.linspace(*(interval if np.isfinite(interval).all() else DEFAULT_INTERVAL), POINTS)
    label = html.escape(caption)
    svg = _svg(x, [function(x) for function in functions], initial(x), label)
    return f'<figure style="margin:0"><figcaption><code>{label}</code></figcaption>{svg}</figure>'


def _svg(x: Array, curves: list[Array], initial: Array, label: str) -> str:
    values = np.concatenate([*curves, initial])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9:
        low, high = low - 1, high + 1

    def to_x(value: Any) -> Any:
        return MARGIN + (value - x[0]) / (x[-1] - x[0]) * (WIDTH - 2 * MARGIN)

    def to_y(value: Any) -> Any:
        return HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * MARGIN)

    def line(y: Array, style: str) -> str:
        inside = np.isfinite(y)  # not at a pole
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(to_x(x[inside]), to_y(y[inside]), strict=True))
        return f'<polyline points="{points}" fill="none" {style}/>'

    def text(value: float, a: float, b: float, anchor: str) -> str:
        return (
            f'<text x="{a:.0f}" y="{b:.0f}" font-size="11" fill="currentColor" text-anchor="{anchor}">'
            f"{value:.3g}</text>"
        )

    axes = "".join(
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" opacity=".35"/>'
        for x1, y1, x2, y2, is_inside in (
            (MARGIN, to_y(0), WIDTH - MARGIN, to_y(0), low <= 0 <= high),
            (to_x(0), MARGIN, to_x(0), HEIGHT - MARGIN, x[0] <= 0 <= x[-1]),
        )
        if is_inside
    )
    bold = f'stroke="{RAF_COLOUR}" stroke-width="2"'
    dashed = f'stroke="{START_COLOUR}" stroke-width="1.5" stroke-dasharray="5 4"'
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" xmlns="http://www.w3.org/2000/svg">{axes}'
        + "".join(line(curve, bold) for curve in curves)
        + line(initial, dashed)
        + text(x[0], MARGIN, HEIGHT - 8, "middle")
        + text(x[-1], WIDTH - MARGIN, HEIGHT - 8, "middle")
        + text(high, MARGIN - 4, MARGIN - 8, "middle")
        + text(low, MARGIN - 4, HEIGHT - MARGIN + 4, "end")
        + "</svg>"
    )
