"""The texts of one file, one after the other: memory stays flat, however large the file is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from raft.data.columnar import read_columns, read_schema
from raft.data.files import COLUMNAR, check_columns, check_file, format_of, open_text, readable
from raft.data.json_rows import json_rows, replace_half_characters
from raft.errors import InputError

TEXTS = (".parquet", ".arrow", ".jsonl", ".json", ".txt", ".text", ".md")
"""Ends of the names of files that texts are read from; all but the first two compressed or not."""

ROWS = 64
"""Rows of a parquet file that are decoded at once: documents can be long."""

LONGEST_PARAGRAPH = 1_000_000
"""Characters after which a paragraph of a txt file is cut, at a line's end where there is one: files without
blank lines would otherwise be one document."""


def read_texts(file: Path, column: str, by_line: bool = False) -> Iterator[str]:
    """The texts of a file in order; those that are empty, or nothing but spaces, are left out.

    Args:
        file: parquet, arrow, jsonl or txt; the latter two compressed or not.
        column: the one that holds the text, of all but txt.
        by_line: whether a text of a txt file is a line, instead of a paragraph (up to a blank line).

    Raises:
        InputError: for a file that cannot be read to its end or holds no text, a missing column, or one that
            holds something else.
    """
    check_texts(file, column)
    found = False
    kind = format_of(file)
    rows: Iterator[str | None]
    if kind in COLUMNAR:
        rows = (text for (texts,) in read_columns(file, [column], ROWS) for text in texts)
    else:
        rows = _json(file, column) if kind == "json" else _plain(file, by_line)
    with readable(file):
        for text in rows:
            if text and text.strip():
                found = True
                yield text
    if not found:
        raise InputError(f"{file} holds no text; remove it or write it again")


def check_texts(file: Path, column: str) -> None:
    """Refuse what can be seen to be wrong without reading the file: nothing in it, a broken parquet footer, a
    parquet or arrow file without the column.

    Raises:
        InputError: for any of these.
    """
    check_file(file)
    if format_of(file) not in COLUMNAR:
        return
    schema = read_schema(file)
    check_columns(str(file), [column], schema.names)
    kind = schema.field(column).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(test(values) for test in is_text):
        raise InputError(f"column {column!r} of {file} holds {kind}, not text")


def _json(file: Path, column: str) -> Iterator[str | None]:
    for number, (where, row) in enumerate(json_rows(file, [column])):
        if number == 0:
            check_columns(where, [column], list(row))
        text = row.get(column)
        if not isinstance(text, (str, type(None))):
            raise InputError(f"{where}: column {column!r} holds {type(text).__name__}, not text")
        yield text and replace_half_characters(text)


def _plain(file: Path, by_line: bool) -> Iterator[str]:
    held: list[str] = []
    characters = 0
    with open_text(file) as lines:
        while line := lines.readline(LONGEST_PARAGRAPH):
            if line.strip():
                held.append(line)
                characters += len(line)
            if by_line or not line.strip() or characters >= LONGEST_PARAGRAPH:
                yield "".join(held).rstrip("\n")
                held, characters = [], 0
    yield "".join(held).rstrip("\n")
