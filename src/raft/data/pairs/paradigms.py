"""Benchmarks of minimal pairs by name, and what their readers share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from raft.data.files import check_file, data_files, suffix_of
from raft.data.json_rows import has_lone_surrogate
from raft.errors import InputError


@dataclass(frozen=True)
class Paradigm:
    """Minimal pairs of one kind.

    Attributes:
        name: of it.
        phenomenon: that it belongs to.
        pairs: the acceptable sentence and the other one.
    """

    name: str
    phenomenon: str
    pairs: tuple[tuple[str, str], ...]


def pair_files(folder: str, suffixes: Iterable[str], what: str) -> list[Path]:
    """The files of a benchmark, hidden ones left out; a single file may be given instead of a folder.

    Raises:
        InputError: where there is none, or one is empty.
    """
    path = Path(folder).expanduser()
    if not path.exists():
        raise InputError(f"--data_dir {folder}: the path does not exist")
    kinds = tuple(suffixes)
    files = data_files(path, kinds) if path.is_dir() else [path]
    if not files or suffix_of(files[0]) not in kinds:
        raise InputError(f"--data_dir {folder} holds no {what}")
    for file in files:
        check_file(file)
    return files


def check_sentence(value: object, where: str) -> str:
    """A sentence of a pair.

    Raises:
        InputError: for one that is empty, not a text, or no Unicode.
    """
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: an empty sentence, or one that is no text; remove the pair or mend it")
    if has_lone_surrogate(value):
        raise InputError(f"{where}: the sentence holds half of a surrogate pair, which is no character")
    return value
