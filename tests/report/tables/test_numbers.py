"""Differences as text."""

from __future__ import annotations

import pytest

from raft.report.tables.numbers import format_interval, format_signed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "0.000"), (-0.0004, "0.000"), (0.0, "0.000"), (-0.0126, "−0.013"), (1.5, "+1.500")],
)
def test_what_rounds_to_nothing_has_no_sign(value: float, text: str) -> None:
    assert format_signed(value, 3) == text


def test_an_interval() -> None:
    assert format_interval(-0.12, -0.31, 0.04, 1) == "−0.1 [−0.3, 0.0]"
    assert format_interval(0.5, 0.5, 0.5, 1) == "+0.5"
