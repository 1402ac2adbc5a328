"""The cells of a grid as folders: each is done once, by whichever process comes to it first.

A cell is done when its folder is there, which gets its name when it is whole. A process that works on a cell
holds its lock, which the system takes back when the process ends, however it ends: there is nothing to clean
up after a ``kill -9``, and nobody waits for the dead.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from raft.errors import InputError, TrainingError
from raft.files import find_write_error, publish, read_json, staging_folder, write_text

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


@dataclass(frozen=True)
class Failure:
    """What a cell that failed leaves; its file holds just this.

    Attributes:
        error: in one line.
        options: of the cell.
    """

    error: str
    options: dict[str, Any]


class CellFolder:
    """Where the cells of a grid lie.

    Args:
        folder: of the grid; made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        reason = find_write_error(folder / LOCKS)
        if reason:
            raise InputError(f"cannot write to {folder}: {reason}")

    def path(self, cell: Cell) -> Path:
        """The cell's folder, which is there when it is done."""
        return self.folder / cell.name

    @property
    def is_used(self) -> bool:
        """Whether any cell is done or running, whatever its options."""
        done = (path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        locks = (self.folder / LOCKS).glob("*.lock")
        return any(path.name != FAILURES for path in done) or any(map(_is_held, locks))

    def failure(self, cell: Cell) -> str | None:
        """What went wrong when the cell was last tried."""
        if self.path(cell).is_dir():
            return None
        file = self._failure_file(cell)
        return read_json(file, Failure, "failure of a cell").error if file.is_file() else None

    def forget_failures(self) -> None:
        """Let all cells that failed be tried again."""
        for file in (self.folder / FAILURES).glob("*.json"):
            file.unlink(missing_ok=True)

    def state(self, cell: Cell) -> State:
        """What is known of the cell now."""
        if self.path(cell).is_dir():
            return "done"
        if _is_held(self._lock_file(cell)):
            return "running"
        return "waiting" if self.failure(cell) is None else "failed"

    def states(self, cells: Sequence[Cell]) -> Counter[State]:
        """How many cells are in each state."""
        return Counter(self.state(cell) for cell in cells)

    def run_all(
        self,
        cells: Sequence[Cell],
        run: Callable[[Cell, Path], None],
        on_state_change: Callable[[Cell, State], None] = lambda cell, state: None,
    ) -> list[Cell]:
        """Run all cells that are not done, beside other processes that do the same, until all are tried.

        A cell that fails leaves its error in a file and the others as they are. No process tries it again
        before ``forget_failures``.

        Args:
            cells: of the grid, in the order in which they are begun.
            run: fills the folder that it is given.
            on_state_change: called when this process begins or ends a cell.

        Returns:
            The cells that are not done: all attempts at them failed.
        """
        while left := [cell for cell in cells if not self.is_over(cell)]:
            held = 0
            for cell in left:
                try:
                    with FileLock(self._lock_file(cell)).acquire(timeout=0):
                        if not self.is_over(cell):
                            on_state_change(cell, "running")
                            on_state_change(cell, self._attempt(cell, run))
                except Timeout:
                    held += 1
            if held == len(left):
                time.sleep(WAIT)
        return [cell for cell in cells if not self.path(cell).is_dir()]

    def is_over(self, cell: Cell) -> bool:
        """Whether the cell is done, or failed and was not forgotten."""
        return self.path(cell).is_dir() or self._failure_file(cell).is_file()

    def _attempt(self, cell: Cell, run: Callable[[Cell, Path], None]) -> State:
        final = self.path(cell)
        try:
            with staging_folder(self.folder / f".{cell.name}.unfinished", final) as unfinished:
                run(cell, unfinished)
                publish(unfinished, final)
            return "done"
        except (InputError, TrainingError, OSError, RuntimeError) as error:
            message = " ".join(str(error).split()) or type(error).__name__
            failure = Failure(message, dict(cell.options))
            write_text(self._failure_file(cell), json.dumps(asdict(failure), indent=1))
            return "failed"

    def _failure_file(self, cell: Cell) -> Path:
        return self.folder / FAILURES / f"{cell.name}.json"

    def _lock_file(self, cell: Cell) -> Path:
        return self.folder / LOCKS / f"{cell.name}.lock"


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    try:
        with FileLock(lock).acquire(timeout=0):
            return False
    except Timeout:
        return True
