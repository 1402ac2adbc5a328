"""Which files of a folder hold data, of which kind they are, and how they are opened, compressed or not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

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
    # unlike zstandard's reader it goes on to the next frame, and tells a stream that was cut off
    ".zst": lambda file: pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"),
}

UNREADABLE = (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, pa.ArrowException)
"""What readers raise for files that are not what their names say."""

ABOUT = ("README", "LICENSE", "LICENCE")
"""Beginnings of names of files that tell of a data set, and are no part of it."""
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What ``datasets`` writes beside the data."""

PartName = Literal["train", "validation", "test"]
PART_NAMES: dict[PartName, tuple[str, ...]] = {
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
    "train": ("train", "training"),
}
"""Words by which the name of a file, a folder or a hub split says what it is for."""


def suffix_of(file: Path) -> str:
    """The end of a file's name in lower case, compression left out: ``.txt`` of ``PartName-1.TXT.gz``."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in COMPRESSED), "")


def bare_name(file: Path) -> str:
    """A file's name without its end: ``mine`` of ``mine.csv.gz``."""
    return (file.with_suffix("") if is_compressed(file) else file).stem


def is_compressed(file: Path) -> bool:
    """Whether its name says so."""
    return file.suffix.lower() in COMPRESSED


def format_of(file: Path) -> str | None:
    """One of the values of ``FORMATS`` by the file's name; None for anything else."""
    return FORMATS.get(suffix_of(file))


def data_files(folder: Path, suffixes: Container[str]) -> list[Path]:
    """The files of a folder and of the folders in it, in the order of their paths.

    What is hidden (a dot begins its name, or a folder's that it lies in), tells of the data, or is another
    program's record of them, is left out.

    Args:
        folder: links in it are followed.
        suffixes: of the files that are wanted, see ``suffix_of``.

    Raises:
        InputError: for a link to a file that is not there.
    """
    found, entered = [], {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        within = {name: os.path.realpath(Path(place, name)) for name in sorted(folders)}
        folders[:] = [name for name, real in within.items() if name[0] != "." and real not in entered]
        entered.update(within[name] for name in folders)
        for name in names:
            file = Path(place, name)
            is_about = name.upper().startswith(ABOUT) or name in METADATA
            if name[0] == "." or is_about or suffix_of(file) not in suffixes:
                continue
            if file.is_symlink() and not file.exists():
                raise InputError(f"{file} is a link to nothing: remove it, or bring back {file.readlink()}")
            if file.is_file():
                found.append(file)
    return sorted(found)


def words_of(name: str) -> set[str]:
    """The words in a file's or folder's name, without numbers behind them: ``valid`` of ``valid_01.txt``."""
    return {word.rstrip("0123456789") for word in re.split(r"[-_.\s]+", name.lower())}


def part_of(file: Path, folder: Path) -> PartName | None:
    """What a file of a folder is for, by its name, or else by that of the folder that it lies in."""
    for name in reversed(file.relative_to(folder).parts):
        words = words_of(name)
        for part, names in PART_NAMES.items():
            if words & set(names):
                return part
    return None


def check_file(file: Path) -> None:
    """Refuse what cannot be read, by its name and size.

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
def readable(file: Path) -> Iterator[None]:
    """Tell in one line what goes wrong while a file is read.

    Raises:
        InputError: instead of anything in ``UNREADABLE``.
    """
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"cannot read {file} as {format_of(file)}: {reason}") from error


def open_bytes(file: Path) -> IO[bytes]:
    """Its content, unpacked."""
    if is_compressed(file):
        stream: IO[bytes] = io.BufferedReader(COMPRESSED[file.suffix.lower()](file))
        return stream
    return file.open("rb")


def open_text(file: Path, newline: str | None = None) -> IO[str]:
    """Its content as text, which is UTF-8; for ``newline`` see ``open``."""
    return io.TextIOWrapper(open_bytes(file), encoding="utf-8-sig", newline=newline)


def check_columns(where: str, wanted: Sequence[str], present: Sequence[str]) -> None:
    """Refuse a table in which a wanted column is missing, or not the only one of its name.

    Raises:
        InputError: with the columns that there are.
    """
    for name in wanted:
        if name not in present:
            raise InputError(f"{where}: no column {name!r}, only {', '.join(present)}")
        if list(present).count(name) > 1:
            raise InputError(f"{where}: {list(present).count(name)} columns are called {name!r}; rename them")
