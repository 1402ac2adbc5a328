"""Rows of tab- and comma-separated files, each with the line on which it stands."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from raft.data.files import check_columns, format_of, open_bytes, open_text, readable
from raft.errors import InputError

LONGEST_FIELD = 100_000_000
"""Characters of a value; a quotation mark that is not closed makes one of all that follows."""


def read_header(path: Path) -> list[str]:
    """The names in a file's first line.

    Raises:
        InputError: as of ``read_rows``.
    """
    return next(_lines(path), (1, []))[1]


def read_rows(
    path: Path, columns: Sequence[str | int], allow_short: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The values of some columns, row after row, with the number of the row's line (its last one).

    Args:
        path: UTF-8, compressed or not. A ``.csv`` has commas and quotation marks around values; anything else
            has tabs, and its quotation marks are part of the text. Empty lines are left out.
        columns: by name; or by number, from 0, where the file has no header.
        allow_short: give an empty list for a row with too few columns, instead of raising.

    Raises:
        InputError: for a file that is not there or not UTF-8, a missing column or two of its name, or a row
            that has another number of columns than the header.
    """
    rows = _lines(path)
    names = [column for column in columns if isinstance(column, str)]
    if names:
        line, header = next(rows, (1, []))
        check_columns(f"{path}, line {line}", names, header)
        places = [header.index(name) for name in names]
        width = len(header)
    else:
        places = [int(column) for column in columns]
        width = max(places) + 1
    for line, row in rows:
        if allow_short and len(row) < width:
            yield line, []
            continue
        if len(row) != width:
            raise InputError(f"{path}, line {line}: {len(row)} columns where {width} are expected")
        yield line, [row[place] for place in places]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    line = 0
    csv.field_size_limit(LONGEST_FIELD)
    with readable(path), open_text(path, newline="") as file:
        if format_of(path) == "csv":
            rows = csv.reader(file, strict=True)
        else:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        try:
            for row in rows:
                line = rows.line_num
                if row:
                    yield line, row
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {_undecodable(path)}: not UTF-8 text; convert the file"
            ) from error
        except csv.Error as error:
            raise InputError(
                f"{path}, line {line + 1}: {error}; mend it, or write the file as jsonl"
            ) from error


def _undecodable(path: Path) -> int:
    """The first line that is not UTF-8."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
