"""BLiMP (Warstadt et al. 2020), and any benchmark in its layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from raft.data.hub import list_configurations, load_splits
from raft.data.json_rows import json_rows
from raft.data.pairs.paradigms import Paradigm, check_sentence, pair_files
from raft.errors import InputError

KEYS = ("sentence_good", "sentence_bad", "linguistics_term", "UID")
HUB = "nyu-mll/blimp"


def read_blimp(folder: str | None, items: int | None = None) -> list[Paradigm]:
    """The paradigms (values of ``UID``) in the order of their files; phenomena are ``linguistics_term``.

    Args:
        folder: of jsonl with the keys of ``KEYS``, compressed or not; None for the hub's.
        items: so many pairs of each paradigm, the first ones; None for all.

    Raises:
        InputError: for a missing key, a file without pairs, or a paradigm that lies in two files.
    """
    sources: dict[str, str] = {}
    phenomena: dict[str, str] = {}
    pairs: dict[str, list[tuple[str, str]]] = {}
    for source, rows in _hub_rows() if folder is None else _file_rows(folder):
        is_empty = True
        for where, row in rows:
            is_empty = False
            missing = next((key for key in KEYS if row.get(key) is None), None)
            if missing is not None:
                raise InputError(f"{where}: no {missing!r}, only {', '.join(row)}")
            name = str(row["UID"])
            if sources.setdefault(name, source) != source:
                raise InputError(
                    f"{where}: pairs of {name} are in {sources[name]}, too; keep one of the files"
                )
            term = phenomena.setdefault(name, str(row["linguistics_term"]))
            if term != row["linguistics_term"]:
                raise InputError(f"{where}: {name} is of {row['linguistics_term']!r}, and of {term!r} above")
            pair = (
                check_sentence(row["sentence_good"], where),
                check_sentence(row["sentence_bad"], where),
            )
            kept = pairs.setdefault(name, [])
            if items is None or len(kept) < items:
                kept.append(pair)
        if is_empty:
            raise InputError(f"{source} holds no pairs")
    return [Paradigm(name, phenomena[name], tuple(kept)) for name, kept in pairs.items()]


def _file_rows(folder: str) -> Iterator[tuple[str, Iterator[tuple[str, dict[str, Any]]]]]:
    for file in pair_files(folder, (".jsonl", ".json"), "jsonl files of BLiMP"):
        yield str(file), json_rows(file, KEYS)


def _hub_rows() -> Iterator[tuple[str, Iterator[tuple[str, dict[str, Any]]]]]:
    for name in list_configurations(HUB, "--data_dir"):
        source = f"{HUB}:{name}"
        (split,) = load_splits(source, "--data_dir").values()
        yield source, ((f"{source}, row {number}", row) for number, row in enumerate(split))
