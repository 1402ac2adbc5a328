"""Atomic checkpoints: staged, hashed, synced, renamed; verified before use.

``Trainer`` writes a checkpoint file by file into its final place. A kill in between leaves a folder that
looks complete: without its optimizer file it resumes silently, with a new optimizer. Here a folder gets its
name ``checkpoint-N`` last, in one rename, and its ``manifest.json`` lists size and SHA-256 of all other
files. A folder that does not match its manifest is never resumed from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerState

from raft.errors import InputError, first_line
from raft.files import DISK_FULL, read_json, sync_folder, sync_folders, validate, write_error_reason

MANIFEST = "manifest.json"
STAGING = ".saving"
DISCARDED = ".discarded-"
TRAINER_STATE = "trainer_state.json"
STATE = "raft_state.json"
"""File in a checkpoint in addition to those of ``Trainer``."""

PROGRESS: dict[str, Any] = {
    "epoch": float | None, "total_flos": float | None, "log_history": list[dict[str, Any]] | None,
    "stateful_callbacks": dict[str, dict[str, Any]] | None, "best_metric": float | None,
    "best_model_checkpoint": str | None, "train_batch_size": int | None,
}  # fmt: skip
"""Fields of ``TrainerState`` that a resumed training uses, and their types."""

_NAME = re.compile(r"checkpoint-(\d+)")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TrainingState:
    """What ``raft_state.json`` holds.

    Attributes:
        clock: of ``Clock``: seconds of the training, and those of its steps.
        sequences_a_step: over all processes and accumulated parts.
    """

    clock: dict[str, float]
    sequences_a_step: int


def list_checkpoints(folder: Path) -> list[Path]:
    """List folders named ``checkpoint-N``, highest step first; they may be corrupt."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # or gone since: another process may begin a run anew
        return []
    checkpoints = [path for path in paths if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(checkpoints, key=step_number, reverse=True)


def step_number(checkpoint: Path) -> int:
    """The N of ``checkpoint-N``."""
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint.name!r} is not the name of a checkpoint")
    return int(match.group(1))


def seal(checkpoint: Path) -> None:
    """Write the manifest of a complete folder, and sync all of it to disk.

    Raises:
        OSError: if the disk is full, or fails.
    """
    files = {}
    for path in _files(checkpoint):
        with path.open("r+b") as file:  # Windows syncs only what may be written
            size, digest = _digest(file)
            os.fsync(file.fileno())
        files[path.relative_to(checkpoint).as_posix()] = {"size": size, "sha256": digest}
    with (checkpoint / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({"format": 1, "files": files}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync_folders(checkpoint)


def publish(staged: Path, final: Path) -> None:
    """Rename a sealed folder to its final name; an earlier folder of that name is removed.

    Args:
        staged: on the file system of ``final``.
        final: ``checkpoint-N``.
    """
    replaced = _set_aside(final) if final.exists() else None
    staged.rename(final)
    sync_folder(final.parent)
    if replaced is not None:
        shutil.rmtree(replaced, ignore_errors=True)


def find_corruption(checkpoint: Path, must_resume: bool = True) -> str | None:
    """Describe what is wrong with a checkpoint; None if every file of its manifest is unchanged, and its
    training state is readable.

    With ``must_resume``, a checkpoint saved with ``save_only_model`` is wrong, too.
    """
    try:
        listed: dict[str, dict[str, Any]] = json.loads((checkpoint / MANIFEST).read_bytes())["files"]
        expected = {name: (entry["size"], entry["sha256"]) for name, entry in listed.items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST}: cut short, or not written by raft"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its {MANIFEST} cannot be read ({error})"
    missing = _missing_for_resuming(expected) if must_resume else None
    mismatches = (_find_mismatch(checkpoint, name, size, digest) for name, (size, digest) in expected.items())
    return missing or next(filter(None, mismatches), None) or _find_impossible_state(checkpoint)


def read_state(checkpoint: Path) -> TrainingState:
    """Read ``raft_state.json``.

    Raises:
        InputError: if it has other content.
    """
    return read_json(checkpoint / STATE, TrainingState, "state of a training")


def find_newest_valid(folder: Path) -> Path | None:
    """Find the newest checkpoint that can be resumed from; log why newer ones are refused."""
    for checkpoint in list_checkpoints(folder):
        reason = find_corruption(checkpoint)
        if reason is None:
            return checkpoint
        logging.getLogger("raft").warning("%s is refused: %s; looking for an older one", checkpoint, reason)
    return None


def rotate(newest: Path, limit: int | None, keep: Path | None = None) -> None:
    """Remove the oldest checkpoints until ``limit`` are left.

    Call it after ``newest`` has been published. It is always kept, and so are folders with a higher step:
    they were refused when the training resumed before them, and are replaced when it gets there.

    Args:
        newest: just published.
        limit: how many to keep, ``newest`` among them; all where it is None or 0.
        keep: one more that stays, such as the best one.
    """
    if not limit or limit < 0:
        return
    older = [path for path in list_checkpoints(newest.parent) if step_number(path) < step_number(newest)]
    kept = [path for path in older if keep is not None and path.name == keep.name]
    removable = [path for path in older if path not in kept]
    for path in removable[max(0, limit - 1 - len(kept)) :]:
        shutil.rmtree(_set_aside(path), ignore_errors=True)


def remove_stale(folder: Path) -> None:
    """Remove what a killed training left half written, or half removed."""
    if folder.is_dir():
        for path in (folder / STAGING, *folder.glob(f"{DISCARDED}*")):
            shutil.rmtree(path, ignore_errors=True)


def describe_failure(error: BaseException, checkpoint: Path) -> str:
    """One line on why a checkpoint could not be written."""
    reason = write_error_reason(error)
    last = next((path for path in list_checkpoints(checkpoint.parent) if find_corruption(path) is None), None)
    rest = f"the last good one is {last.name}" if last else "there is no earlier one"
    space = "free some space, " if reason == DISK_FULL else ""
    return f"{checkpoint} could not be written: {reason}; {rest}: {space}then give the same command again"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _digest(file: Any) -> tuple[int, str]:
    digest, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(_CHUNK))
    while count := file.readinto(buffer):
        digest.update(buffer[:count])
        size += count
    return size, digest.hexdigest()


def _missing_for_resuming(names: Collection[str]) -> str | None:
    """A checkpoint saved with ``save_only_model`` matches its manifest, and still cannot be resumed from."""
    needed = {"an optimizer": "optimizer", "a scheduler": "scheduler", "a trainer state": "trainer_state"}
    lacking = [what for what, start in needed.items() if not any(name.startswith(start) for name in names)]
    return f"it was saved without {' and '.join(lacking)}" if lacking else None


def _find_impossible_state(checkpoint: Path) -> str | None:
    """Describe an invalid training state in files that match the manifest."""
    try:
        read_state(checkpoint)
        what = "state of a Trainer"
        values = read_json(checkpoint / TRAINER_STATE, dict[str, Any], what)
        step = validate(values.get("global_step"), int, "global_step")
        for key, kind in PROGRESS.items():
            validate(values.get(key), kind, key)
        TrainerState(**values)
    except InputError as error:
        return str(error)
    except (ValueError, TypeError, OverflowError) as error:
        return f"its {TRAINER_STATE} holds no {what}: {first_line(error)}"
    named = _NAME.fullmatch(checkpoint.name)
    if step < 0 or (named is not None and step != int(named.group(1))):
        return f"its {TRAINER_STATE} is of step {step}"
    return None


def _find_mismatch(checkpoint: Path, name: str, size: int, digest: str) -> str | None:
    path = checkpoint / name
    is_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    if not is_inside or not path.is_file():  # nor is a device one, which could be read for ever
        return f"{name} is missing"
    try:
        actual = path.stat().st_size
        if actual != size:
            return f"{name} has {actual} bytes instead of {size}"
        with path.open("rb") as file:
            return None if _digest(file)[1] == digest else f"the content of {name} has changed"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"


def _set_aside(checkpoint: Path) -> Path:
    """Rename a folder before it is removed: a kill in between leaves no half-removed checkpoint."""
    aside = checkpoint.with_name(f"{DISCARDED}{checkpoint.name}")
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)
    return aside
