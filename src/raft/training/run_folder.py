"""Folders of runs: filled in another place and moved when whole, or claimed by a recipe and resumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from raft.errors import InputError
from raft.files import find_write_error, publish, read_yaml, staging_folder, write_text
from raft.training.arguments import RaftTrainingArguments, changed_arguments, first_difference
from raft.training.checkpoints import list_checkpoints
from raft.training.distributed import run_on_main_and_broadcast

RECIPE = "recipe.yaml"
RESULTS = "results.json"
LOCK = ".lock"
UNFINISHED = ".unfinished-"
"""What the names of folders begin with that are filled inside of their final folder."""
RunState = Literal["new", "begun", "finished"]


@dataclass(frozen=True)
class Content:
    """What an output folder holds.

    Attributes:
        name: of such a thing, for messages.
        marker: the file that tells it; a folder without it is never overwritten.
        option: by which the user names the folder.
    """

    name: str = "run"
    marker: str = RESULTS
    option: str = "--out"


RUN = Content()


# ---- filled once ----


def check_free(out: Path, overwrite: bool, content: Content = RUN) -> None:
    """Refuse an output folder that holds another run (or other ``content``), or anything else.

    Raises:
        InputError: unless the folder is missing or empty, or holds a run that may be overwritten.
    """
    if not out.exists():
        return
    other = f"choose another {content.option}"
    if not out.is_dir():
        raise InputError(f"{out} is a file; {other}")
    if not _content(out):
        return
    if not (out / content.marker).exists():
        raise InputError(f"{out} is not empty and holds no {content.name}; {other}")
    if not overwrite:
        raise InputError(f"{out} holds another {content.name}; {other}, or give --overwrite")


@contextmanager
def run_folder(out: Path, overwrite: bool, content: Content = RUN) -> Iterator[Path]:
    """A folder to fill, which takes its place only when the block ends well; else it is removed.

    Where the place exists, the folder is filled inside of it: it may be the root of a file system.

    Raises:
        InputError: as ``check_free``, and where the folder cannot be made.
        WriteError: where a file in it cannot be written.
    """
    out = out.resolve()  # "." has no name
    check_free(out, overwrite, content)
    reason = find_write_error(out.parent)
    if reason:
        raise InputError(f"cannot write to {out.parent}: {reason}")
    own = f"{UNFINISHED}{os.getpid()}"
    with staging_folder(out / own if out.exists() else out.with_name(f".{out.name}{own}"), out) as unfinished:
        yield unfinished
        check_free(out, overwrite, content)
        if out.exists():
            _replace_content(out, unfinished, content.marker)
        else:
            publish(unfinished, out)


def _replace_content(out: Path, new: Path, marker: str) -> None:
    """The folder itself stays, in which a shell may stand; what tells that it is whole comes last."""
    for path in sorted(_content(out), key=lambda path: path.name != marker):
        _remove(path)
    for path in sorted(new.iterdir(), key=lambda path: path.name == marker):
        path.rename(out / path.name)


def _content(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(UNFINISHED)]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# ---- claimed and resumed ----


def recipe_options(
    recipe: Any, arguments: RaftTrainingArguments, left_out: Collection[str] = ()
) -> dict[str, Any]:
    """Recipe and arguments as a file holds them: a recipe that repeats the run."""
    options = {**asdict(recipe), **changed_arguments(arguments)}
    return {key: value for key, value in options.items() if value is not None and key not in left_out}


def write_recipe(folder: Path, options: dict[str, Any]) -> None:
    """Write ``recipe.yaml``."""
    write_text(folder / RECIPE, yaml.safe_dump(options, sort_keys=False))


def is_unused(folder: Path) -> bool:
    """Whether a folder is missing, or holds no more than hidden files: the user's, or what a kill cut off."""
    return not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir())


def check_holds(folder: Path, name: str, is_one: bool) -> None:
    """Raise ``InputError`` for a folder with anything but a run of this name in it."""
    if not is_one and not is_unused(folder):
        raise InputError(f"{folder} is not empty and holds no {name}; choose another --output_dir")


def recipe_defaults(kind: Any) -> dict[str, Any]:
    """The options of a recipe of which nothing is given, without those that are None."""
    return {key: value for key, value in asdict(kind()).items() if value is not None}


def run_state(
    folder: Path, options: dict[str, Any], result: str, ignored: Collection[str], defaults: Mapping[str, Any]
) -> RunState:
    """How far a folder is with a run of these options.

    Args:
        folder: of the run.
        options: of ``recipe_options``.
        result: the file that a finished run has.
        ignored: options that may differ.
        defaults: of ``recipe_defaults``: of options that the recipe in the folder is too old to have.

    Raises:
        InputError: where the folder holds a run of another recipe, or anything else.
    """
    file = folder / RECIPE
    check_holds(folder, "run", file.is_file())
    if is_unused(folder):
        return "new"
    now = yaml.safe_load(yaml.safe_dump(options))
    before = {**yaml.safe_load(yaml.safe_dump(dict(defaults))), **read_yaml(file, "recipe")}
    changed = first_difference(before, now, ignored)
    if changed is not None:
        raise InputError(
            f"{folder} holds a run of another recipe: {changed}; give the same options to go on, or choose "
            "another --output_dir"
        )
    return "finished" if (folder / result).is_file() else "begun"


@contextmanager
def hold(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Whether this process, or the job that it is part of, has a run's folder to itself until the block ends.

    The system takes a lock back when its process ends, however it ends.

    Args:
        folder: of the run, beside which the lock lies.
        wait: until it is free.

    Raises:
        InputError: where the folder cannot be written.
    """
    folder = folder.resolve()  # "." has no name
    file = folder.with_name(f".{folder.name}{LOCK}")
    lock = FileLock(file)

    def acquire() -> bool:
        reason = find_write_error(file.parent)
        if reason:
            raise InputError(f"cannot write to {file.parent}: {reason}")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:  # a file system without locks
            raise InputError(f"cannot lock {file}: {error}") from error
        return True

    is_ours = run_on_main_and_broadcast(acquire)
    try:
        yield is_ours
    except InputError:
        if lock.is_locked:
            file.unlink(missing_ok=True)  # nothing is left of a run that is refused
        raise
    finally:
        lock.release()


@contextmanager
def removed_if_refused(folder: Path | None) -> Iterator[None]:
    """Leave nothing of a new run whose options are refused, so that corrected ones are no other recipe's.

    Hidden files stay, and so does a folder with any: the user's ``.git`` may be among them. All stays where
    there is a checkpoint: the run had begun.
    """
    try:
        yield
    except InputError:
        if folder is not None and not list_checkpoints(folder):
            for path in folder.iterdir():
                if not path.name.startswith("."):
                    _remove(path)
            with suppress(OSError):
                folder.rmdir()
        raise
