"""Differences as text."""

from __future__ import annotations


def format_signed(value: float, digits: int) -> str:
    """``+0.12``, ``−0.12``, and ``0.00`` for what rounds to nothing."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if float(text[1:]) else text[1:]


def format_interval(mean: float, low: float, high: float, digits: int) -> str:
    """``−0.12 [−0.31, +0.07]``; the mean alone where all differences are equal, which tells no spread."""
    if low == high:
        return format_signed(mean, digits)
    return f"{format_signed(mean, digits)} [{format_signed(low, digits)}, {format_signed(high, digits)}]"
