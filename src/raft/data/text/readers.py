"""The texts of one file, one after the other: memory stays flat, however large the file is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raft.data.columnar import read_columns, read_schema
from raft.data.files import COLUMNAR, check_columns, check_file, format_of, open_text, reading
from raft.data.json_rows import json_rows, replace_lone_surrogates
from raft.errors import InputError

TEXTS = (".parquet", ".arrow", ".jsonl", ".json", ".txt", ".text", ".md")
"""Ends of the names of files that texts are read from; all but the first two compressed or not."""

ROWS = 64
"""Rows of a parquet file that are decoded at once: documents can be long."""

LONGEST_PARAGRAPH = 1_000_000
"""Characters after which a paragraph of a txt file is cut, at a line's end where there is one: files without
blank lines would otherwise be one document."""


@dataclass(frozen=True)
class Shard:
    """One file of a corpus, or one split of a hub dataset.

    Attributes:
        texts: reads its documents, in an order that is always the same.
        fingerprint: of the content; a file is read for it once.
    """

    texts: Callable[[], Iterator[str]]
    fingerprint: Callable[[], str]


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
    file_format, is_empty = format_of(file), True
    rows: Iterator[str | None]
    if file_format in COLUMNAR:
        rows = (text for (texts,) in read_columns(file, [column], ROWS) for text in texts)
    else:
        rows = _read_json(file, column) if file_format == "json" else _read_plain(file, by_line)
    with reading(file):
        for text in rows:
            if text and text.strip():
                is_empty = False
                yield text
    if is_empty:
        raise InputError(f"{file} holds no text; remove it or write it again")


def check_texts(file: Path, column: str) -> None:
    """Check what can be checked without reading the file.

    Raises:
        InputError: for an empty file, a broken parquet footer, or a parquet or arrow file without the column.
    """
    check_file(file)
    if format_of(file) not in COLUMNAR:
        return
    schema = read_schema(file)
    check_columns(str(file), [column], schema.names)
    dtype = schema.field(column).type
    values = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    text_types = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(is_type(values) for is_type in text_types):
        raise InputError(f"column {column!r} of {file} holds {dtype}, not text")


def _read_json(file: Path, column: str) -> Iterator[str | None]:
    for number, (where, row) in enumerate(json_rows(file, [column])):
        if number == 0:
            check_columns(where, [column], list(row))
        text = row.get(column)
        if not isinstance(text, (str, type(None))):
            raise InputError(f"{where}: column {column!r} holds {type(text).__name__}, not text")
        yield text and replace_lone_surrogates(text)


def _read_plain(file: Path, by_line: bool) -> Iterator[str]:
    lines: list[str] = []
    characters = 0
    with open_text(file) as stream:
        while line := stream.readline(LONGEST_PARAGRAPH):
            if line.strip():
                lines.append(line)
                characters += len(line)
            if by_line or not line.strip() or characters >= LONGEST_PARAGRAPH:
                yield "".join(lines).rstrip("\n")
                lines, characters = [], 0
    yield "".join(lines).rstrip("\n")
