"""The cells of a grid as folders: each is done once, by whichever process comes to it first.

A cell is done when its folder is there, which gets its name when it is whole. A process that works on a cell
holds its lock, which the system takes back when the process ends, however it ends: there is nothing to clean
up after a ``kill -9``, and nobody waits for the dead.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from raft.data.cache import write_whole
from raft.errors import InputError, TrainingError

State = Literal["done", "running", "failed", "waiting"]

LOCKS, FAILURES = ".locks", "failed"
WAIT = 1.0
"""Seconds between two looks at cells that other processes work on."""


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        name: of its folder; no two cells of a grid share one.
        options: what is run.
    """

    name: str
    options: Mapping[str, Any]


class CellFolder:
    """Where the cells of a grid lie.

    Args:
        folder: of the grid; made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            (folder / LOCKS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {folder}: {error.strerror}") from error

    def path(self, cell: Cell) -> Path:
        """The cell's folder, which is there when it is done."""
        return self.folder / cell.name

    def failure(self, cell: Cell) -> str | None:
        """What went wrong when the cell was last tried."""
        if self.path(cell).is_dir():
            return None
        try:
            return str(json.loads(self._failure_file(cell).read_text(encoding="utf-8"))["error"])
        except FileNotFoundError:
            return None

    def forget_failures(self) -> None:
        """Let all cells that failed be tried again."""
        for file in (self.folder / FAILURES).glob("*.json"):
            file.unlink(missing_ok=True)

    def state(self, cell: Cell) -> State:
        """What is known of the cell now."""
        if self.path(cell).is_dir():
            return "done"
        if self._is_held(cell):
            return "running"
        return "waiting" if self.failure(cell) is None else "failed"

    def states(self, cells: Sequence[Cell]) -> Counter[State]:
        """How many cells are in each state."""
        return Counter(self.state(cell) for cell in cells)

    def work_through(
        self,
        cells: Sequence[Cell],
        run: Callable[[Cell, Path], None],
        told: Callable[[Cell, State], None] = lambda cell, state: None,
    ) -> list[Cell]:
        """Run all cells that are not done, beside other processes that do the same, until all are tried.

        A cell that fails leaves its error in a file and the others as they are. No process tries it again
        before ``forget_failures``.

        Args:
            cells: of the grid, in the order in which they are begun.
            run: fills the folder that it is given.
            told: of each cell that this process begins and ends.

        Returns:
            The cells that are not done: all attempts at them failed.
        """
        while left := [cell for cell in cells if not self._is_over(cell)]:
            held = 0
            for cell in left:
                try:
                    with self._lock(cell).acquire(timeout=0):
                        if not self._is_over(cell):
                            told(cell, "running")
                            told(cell, self._attempt(cell, run))
                except Timeout:
                    held += 1
            if held == len(left):
                time.sleep(WAIT)
        return [cell for cell in cells if not self.path(cell).is_dir()]

    def _is_over(self, cell: Cell) -> bool:
        return self.path(cell).is_dir() or self._failure_file(cell).is_file()

    def _attempt(self, cell: Cell, run: Callable[[Cell, Path], None]) -> State:
        unfinished = self.folder / f".{cell.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            run(cell, unfinished)
        except (InputError, TrainingError, OSError, RuntimeError) as error:
            message = " ".join(str(error).split()) or type(error).__name__
            text = json.dumps({"error": message, "options": dict(cell.options)}, indent=1)
            write_whole(self._failure_file(cell), text)
            return "failed"
        else:
            unfinished.rename(self.path(cell))
            return "done"
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _failure_file(self, cell: Cell) -> Path:
        return self.folder / FAILURES / f"{cell.name}.json"

    def _lock(self, cell: Cell) -> FileLock:
        return FileLock(self.folder / LOCKS / f"{cell.name}.lock")

    def _is_held(self, cell: Cell) -> bool:
        if not (self.folder / LOCKS / f"{cell.name}.lock").exists():
            return False
        try:
            with self._lock(cell).acquire(timeout=0):
                return False
        except Timeout:
            return True
