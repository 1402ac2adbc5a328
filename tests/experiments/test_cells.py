"""Cells of a grid: once each, whatever dies, however many work on them."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock

from raft.errors import InputError, TrainingError
from raft.experiments.cells import Cell, CellFolder
from raft.files import write_text

PROCESSES = multiprocessing.get_context("fork")  # no threads of torch's are running here
CELLS = [Cell(f"cell-{number}", {"number": number}) for number in range(6)]


def slow(cell: Cell, folder: Path) -> None:
    """Takes a moment; what it has begun and ended stands in a file beside the grid."""
    journal = folder.parent.parent / "journal.txt"
    with journal.open("a") as file:
        file.write(f"begun {cell.name} {os.getpid()}\n")
    time.sleep(0.05)
    (folder / "result.json").write_text(str(cell.options["number"]))
    time.sleep(0.05)
    with journal.open("a") as file:
        file.write(f"ended {cell.name} {os.getpid()}\n")


def work(folder: Path) -> None:
    CellFolder(folder).run_all(CELLS, slow)


def ended(folder: Path) -> Counter[str]:
    lines = (folder.parent / "journal.txt").read_text().splitlines()
    return Counter(line.split()[1] for line in lines if line.startswith("ended"))


def assert_all_done(folder: Path) -> None:
    grid = CellFolder(folder)
    assert grid.states(CELLS) == {"done": len(CELLS)}
    for cell in CELLS:
        assert (grid.path(cell) / "result.json").read_text() == str(cell.options["number"])
    left = {path.name for path in folder.iterdir()} - {cell.name for cell in CELLS}
    assert left <= {".locks"}


def test_two_processes_do_each_cell_once(tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    workers = [PROCESSES.Process(target=work, args=(folder,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert_all_done(folder)
    assert ended(folder) == {cell.name: 1 for cell in CELLS}
    workers_seen = {line.split()[2] for line in (tmp_path / "journal.txt").read_text().splitlines()}
    assert len(workers_seen) == 2


def test_killed_processes_leave_nothing_in_the_way(tmp_path: Path) -> None:
    folder, chance = tmp_path / "grid", random.Random(5)
    for _ in range(5):
        worker = PROCESSES.Process(target=work, args=(folder,))
        worker.start()
        time.sleep(chance.uniform(0.02, 0.25))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    work(folder)
    assert_all_done(folder)
    # a cell that was killed between its end and its name is run again, one a kill; none that has its name is
    counts = ended(folder).values()
    assert sum(counts) <= len(counts) + 5


def test_what_another_process_works_on_is_running(tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    grid = CellFolder(folder)
    assert grid.states(CELLS) == {"waiting": 6}
    worker = PROCESSES.Process(target=work, args=(folder,))
    worker.start()
    begun = time.monotonic()
    while grid.state(CELLS[0]) != "running":
        assert time.monotonic() - begun < 30
        time.sleep(0.005)
    worker.join()
    assert grid.states(CELLS) == {"done": 6}


def test_a_failed_cell_spoils_no_other_and_is_tried_again(tmp_path: Path) -> None:
    grid = CellFolder(tmp_path / "grid")
    attempts: list[str] = []

    def run(cell: Cell, folder: Path) -> None:
        attempts.append(cell.name)
        (folder / "result.json").write_text("")
        if cell.name == "cell-1":
            raise TrainingError("the loss is\nnot finite")

    changes: list[tuple[str, str]] = []
    failed = grid.run_all(CELLS[:3], run, lambda cell, state: changes.append((cell.name, state)))
    assert [cell.name for cell in failed] == ["cell-1"]
    assert changes == [
        ("cell-0", "running"), ("cell-0", "done"), ("cell-1", "running"), ("cell-1", "failed"),
        ("cell-2", "running"), ("cell-2", "done"),
    ]  # fmt: skip
    assert grid.failure(CELLS[1]) == "the loss is not finite"
    assert grid.states(CELLS[:3]) == {"done": 2, "failed": 1}
    assert not grid.path(CELLS[1]).exists()

    # not by another process of the same command, which comes to it later
    again = CellFolder(tmp_path / "grid")
    assert again.failure(CELLS[1]) == "the loss is not finite"
    assert again.run_all(CELLS[:3], run) == [CELLS[1]]
    assert attempts == ["cell-0", "cell-1", "cell-2"]

    again.forget_failures()
    assert grid.states(CELLS[:3]) == {"done": 2, "waiting": 1}
    grid.run_all(CELLS[:3], lambda cell, folder: attempts.append(cell.name))
    assert attempts == ["cell-0", "cell-1", "cell-2", "cell-1"]
    assert grid.failure(CELLS[1]) is None
    assert grid.states(CELLS[:3]) == {"done": 3}
    assert list((tmp_path / "grid" / "failed").iterdir()) == []


def test_an_error_of_the_program_is_not_hidden(tmp_path: Path) -> None:
    def run(cell: Cell, folder: Path) -> None:
        raise AttributeError("a mistake")

    grid = CellFolder(tmp_path / "grid")
    with pytest.raises(AttributeError):
        grid.run_all(CELLS, run)
    assert grid.states(CELLS) == {"waiting": 6}


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        CellFolder(tmp_path / "file" / "grid")


def test_a_cell_that_another_did_before_the_lock_was_ours_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, cell, run = CellFolder(tmp_path), CELLS[0], []
    acquire = FileLock.acquire

    def after_another(lock: FileLock, *args: object, **options: float) -> object:
        grid.path(cell).mkdir(exist_ok=True)  # it ends between our first look and our lock
        return acquire(lock, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FileLock, "acquire", after_another)
    assert grid.run_all([cell], lambda cell, folder: run.append(cell.name)) == []
    assert run == []


def test_a_full_disk_is_a_failure_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(cell: Cell, folder: Path) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            write_text(folder / "a.txt", "")

    grid = CellFolder(tmp_path)
    assert grid.run_all(CELLS[:1], run) == CELLS[:1]
    assert grid.failure(CELLS[0]) == f"{tmp_path}/cell-0/a.txt could not be written: the disk is full"
    assert not [*tmp_path.rglob("*unfinished*")]


def test_cells_that_all_failed_are_no_cells_of_the_grid(tmp_path: Path) -> None:
    def fail(cell: Cell, folder: Path) -> None:
        raise InputError("no")

    grid = CellFolder(tmp_path)
    grid.run_all(CELLS[:1], fail)
    had = [grid.is_used]
    with FileLock(tmp_path / ".locks" / "cell-3.lock"):
        had.append(grid.is_used)
    grid.run_all(CELLS[1:2], lambda cell, folder: None)
    assert [*had, grid.is_used] == [False, True, True]


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
