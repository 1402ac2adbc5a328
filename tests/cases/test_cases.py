"""Each case has its right outcome."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.all import CASES
from tests.cases.replay import Case


@pytest.mark.parametrize(
    "each",
    [pytest.param(each, id=each.id, marks=[pytest.mark.slow] if each.is_slow else []) for each in CASES],
)
def test_it_has_the_right_outcome(each: Case, tmp_path: Path) -> None:
    outcome = each.outcome(tmp_path)
    assert each.holds(outcome), outcome
