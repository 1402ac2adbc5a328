"""Data files: which of a folder there are, their formats, and opening them, compressed or not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from raft.errors import InputError, first_line

FORMATS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".jsonl": "json",
    ".json": "json",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".csv": "csv",
    ".tsv": "tsv",
}
COLUMNAR = ("parquet", "arrow")
COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    # unlike zstandard's reader, this one reads all frames and detects truncation
    ".zst": lambda file: pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"),
}

UNREADABLE = (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, pa.ArrowException)
"""What readers raise for files of another format than their names say."""

ABOUT = ("README", "LICENSE", "LICENCE")
"""Beginnings of names of files that describe a data set and are no part of it."""
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What ``datasets`` writes next to the data."""
SAVED_STATE, SAVED_CACHE = "state.json", "cache-"
"""A file of each set that ``save_to_disk`` wrote, and how the copies begin that ``map`` keeps beside it."""


def suffix_of(file: Path) -> str:
    """The end of a file's name in lower case, compression left out: ``.txt`` of ``Part-1.TXT.gz``."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in COMPRESSED), "")


def stem_of(file: Path) -> str:
    """A file's name without its suffixes: ``mine`` of ``mine.csv.gz``."""
    return (file.with_suffix("") if is_compressed(file) else file).stem


def is_compressed(file: Path) -> bool:
    """Whether a file is compressed, by its name."""
    return file.suffix.lower() in COMPRESSED


def format_of(file: Path) -> str | None:
    """One of the values of ``FORMATS`` by the file's name; None for anything else."""
    return FORMATS.get(suffix_of(file))


def is_path(name: str) -> bool:
    """Whether a name can only be a path, and not a name on the hub."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def is_data_path(name: str) -> bool:
    """``is_path``, or whether the name ends as a data file's."""
    return is_path(name) or format_of(Path(name)) is not None or is_compressed(Path(name))


def data_files(folder: Path, suffixes: Container[str]) -> list[Path]:
    """The files of a folder and of the folders in it, in the order of their paths.

    Hidden files, files in hidden folders, files about the data (``ABOUT``, ``METADATA``), and what
    ``datasets`` keeps of computations on a saved data set are left out.

    Args:
        folder: links in it are followed.
        suffixes: of the files that are wanted, see ``suffix_of``.

    Raises:
        InputError: for a link to a file that is not there.
    """
    files, entered = [], {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        found, folders[:] = sorted(folders, key=lambda name: (Path(place, name).is_symlink(), name)), []
        for name in found:  # folders before links to them, and each once
            real = os.path.realpath(Path(place, name))
            if name[0] != "." and real not in entered:
                entered.add(real)
                folders.append(name)
        for name in names:
            file = Path(place, name)
            is_about = name.upper().startswith(ABOUT) or name in METADATA
            is_about |= name.startswith(SAVED_CACHE) and SAVED_STATE in names
            if name[0] == "." or is_about or suffix_of(file) not in suffixes:
                continue
            if file.is_symlink() and not file.exists():
                raise InputError(f"{file} is a link to nothing: remove it, or bring back {file.readlink()}")
            if file.is_file():
                files.append(file)
    return sorted(files)


def check_file(file: Path) -> None:
    """Check a file's name and size.

    Raises:
        InputError: for an empty file, or a compressed one that has to be read in parts.
    """
    if file.stat().st_size == 0:
        raise InputError(f"{file} is empty (0 bytes); remove it or write it again")
    if is_compressed(file) and format_of(file) in COLUMNAR:
        raise InputError(
            f"{file} is a compressed {format_of(file)} file, which cannot be read in parts; unpack it"
        )


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raise errors of reading a file, ``UNREADABLE``, as one line that names it.

    Raises:
        InputError: instead of any of them.
    """
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"cannot read {file} as {format_of(file)}: {reason}") from error


def open_bytes(file: Path) -> IO[bytes]:
    """Open a file, decompressed."""
    if is_compressed(file):
        stream: IO[bytes] = io.BufferedReader(COMPRESSED[file.suffix.lower()](file))
        return stream
    return file.open("rb")


def open_text(file: Path, newline: str | None = None) -> IO[str]:
    """Open a file as UTF-8 text, decompressed; for ``newline`` see ``open``."""
    return io.TextIOWrapper(open_bytes(file), encoding="utf-8-sig", newline=newline)


def check_columns(where: str, wanted: Sequence[str], present: Sequence[str]) -> None:
    """Check that a table has each wanted column exactly once.

    Raises:
        InputError: with the columns that it has.
    """
    for name in wanted:
        if name not in present:
            raise InputError(f"{where}: no column {name!r}, only {', '.join(present)}")
        if list(present).count(name) > 1:
            raise InputError(f"{where}: {list(present).count(name)} columns are called {name!r}; rename them")
