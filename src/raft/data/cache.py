"""A cache on disk: each entry is built once, by whichever process comes first, and never left half-built."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from raft.errors import InputError
from raft.files import find_write_error, publish, staging_folder, write_text

CHUNK = 1 << 20
SETTLED_NS = 2_000_000_000
"""A file modified more recently may change again within one tick of its time stamp."""


def cache_directory() -> Path:
    """``$RAFT_CACHE``, or ``raft`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "raft"
    return Path(os.environ.get("RAFT_CACHE") or default).expanduser()


def make_folder(folder: Path) -> Path:
    """Make a folder of the cache where it does not exist yet.

    Raises:
        InputError: where it cannot be made or written to.
    """
    reason = find_write_error(folder)
    if reason:
        raise InputError(
            f"the cache {folder} cannot be written to ({reason}); set RAFT_CACHE to a folder that can be"
        )
    return folder


def key_of(settings: object) -> str:
    """A short name for settings that JSON can hold: the start of their hash."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return a folder, built by ``build`` where it does not exist yet.

    Of several processes that ask at once, one builds and the others wait. The folder gets its name when it is
    complete; the next build removes what an interrupted one left.

    Args:
        folder: the entry.
        build: fills the empty folder it is given.

    Raises:
        InputError: where the cache cannot be written to.
    """
    if folder.is_dir():
        return folder
    make_folder(folder.parent)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():  # built by another process while this one waited
            return folder
        with staging_folder(folder.with_name(f"{folder.name}.unfinished"), folder) as unfinished:
            build(unfinished)
            publish(unfinished, folder)
    return folder


def file_digest(file: Path) -> str:
    """SHA-256 of a file's bytes, cached under the file's size and modification time."""
    status = file.stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
    entry = cache_directory() / "digests" / f"{key_of(str(file.resolve()))}.json"
    try:
        cached = json.loads(entry.read_text(encoding="utf-8"))
        if cached["stamp"] == stamp:
            return str(cached["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    if time.time_ns() - status.st_mtime_ns > SETTLED_NS:
        make_folder(entry.parent)
        write_text(entry, json.dumps({"stamp": stamp, "sha256": digest.hexdigest()}))
    return digest.hexdigest()
