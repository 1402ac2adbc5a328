"""``raft report``: what a run found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.console import Console

from raft.analysis.grid import TextTable, frame
from raft.cli.grid import RECIPE, RESULTS, parsed, write_tables
from raft.cli.options import parse
from raft.errors import InputError
from raft.experiments.cells import CellFolder
from raft.experiments.grid import results

DESCRIPTION = """Show the tables of a grid, finished or still at work, and write them beside its cells:
results.csv, tables.md and tables.tex. A folder that holds results.csv alone will do."""


@dataclass
class ReportSettings:
    """``raft report``."""

    folder: str = field(default="", metadata={"help": "Folder of a grid.", "positional": True})


def main(arguments: Sequence[str]) -> None:
    """Run ``raft report`` with the given words of the command line."""
    settings = parse(ReportSettings, "raft report", DESCRIPTION, arguments)
    console = Console()
    for table in grid_tables(Path(settings.folder)):
        console.print(table.console(), crop=False)


def grid_tables(folder: Path) -> list[TextTable]:
    """Tables of a grid, which are written into its folder.

    Raises:
        InputError: where there is no grid, or none of its cells is done.
    """
    if (folder / RECIPE).is_file():
        grid = parsed(["--config", str(folder / RECIPE), "--output_dir", str(folder)])[0]
        cells = CellFolder(folder)
        rows = results(cells, grid.final_cells(cells))
        if rows:
            return write_tables(frame(rows), folder)
        if not (folder / RESULTS).is_file():
            raise InputError(f"no cell of the grid in {folder} counts yet")
    if not (folder / RESULTS).is_file():
        raise InputError(f"{folder} holds no grid: neither {RECIPE} nor {RESULTS} is in it")
    return write_tables(pd.read_csv(folder / RESULTS, dtype={"train_examples": str}), folder)
