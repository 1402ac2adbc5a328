"""Rows of tab- and comma-separated files, with their line numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from raft.data.files import check_columns, format_of, open_bytes, open_text, reading
from raft.errors import InputError

LONGEST_FIELD = 100_000_000
"""Characters of a value: an unclosed quotation mark makes one value of all that follows."""


def read_header(path: Path) -> list[str]:
    """The names in a file's first line.

    Raises:
        InputError: as of ``read_rows``.
    """
    return next(_read_lines(path), (1, []))[1]


def read_rows(
    path: Path, columns: Sequence[str | int], allow_short: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The values of some columns, row by row, with the number of the row's last line.

    Args:
        path: UTF-8, compressed or not. A ``.csv`` has commas and quotation marks around values; anything else
            has tabs, and its quotation marks are part of the text. Empty lines are left out.
        columns: by name; or by number, from 0, where the file has no header.
        allow_short: give an empty list for a row with too few columns, instead of raising.

    Raises:
        InputError: for a file that is not there or not UTF-8, a missing column or two of its name, or a row
            that has another number of columns than the header.
    """
    rows = _read_lines(path)
    names = [column for column in columns if isinstance(column, str)]
    if names:
        line, header = next(rows, (1, []))
        check_columns(f"{path}, line {line}", names, header)
        indices = [header.index(name) for name in names]
        width = len(header)
    else:
        indices = [int(column) for column in columns]
        width = max(indices) + 1
    for line, row in rows:
        if allow_short and len(row) < width:
            yield line, []
            continue
        if len(row) != width:
            raise InputError(f"{path}, line {line}: {len(row)} columns where {width} are expected")
        yield line, [row[index] for index in indices]


def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    line = 0
    csv.field_size_limit(LONGEST_FIELD)
    with reading(path), open_text(path, newline="") as file:
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
                f"{path}, line {_first_undecodable_line(path)}: not UTF-8 text; convert the file"
            ) from error
        except csv.Error as error:
            raise InputError(
                f"{path}, line {line + 1}: {error}; mend it, or write the file as jsonl"
            ) from error


def _first_undecodable_line(path: Path) -> int:
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
