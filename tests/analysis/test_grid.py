"""Tables of grids lose nothing in a terminal."""

from __future__ import annotations

import pytest
from rich.console import Console

from raft.analysis.grid import TextTable

CELL = "−10.0 [−16.8, −4.7] p=0.008 1/0/9"


@pytest.mark.parametrize("rows", [["raf"], ["raf", "raf-residual"], [f"setting-{n}" for n in range(9)]])
def test_no_cell_is_cut(rows: list[str]) -> None:
    tasks = ["sst2", "stsb", "cola", "average"]
    table = TextTable("Title", ["activation", *tasks], [[name, *[CELL] * 4] for name in rows], 1)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table.console(), crop=False)
    printed = captured.get()
    assert "…" not in printed
    assert all(word in printed for word in ["activation", *tasks, *rows])
    for part in ("−10.0 [−16.8, −4.7]", "p=0.008 1/0/9"):
        assert printed.count(part) == 4 * len(rows)
    if len(rows) < 3:
        assert max(map(len, printed.splitlines())) <= 80  # fewer settings than tasks: a column each
