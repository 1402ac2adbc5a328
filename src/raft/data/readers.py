"""The texts of one file, one after the other: memory stays flat, however large the file is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from raft.errors import InputError

FORMATS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    # unlike zstandard's reader it goes on to the next frame, and tells a stream that was cut off
    ".zst": lambda file: pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"),
}

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RecursionError,  # of JSON that is nested too deeply
    lzma.LZMAError,
    zlib.error,
    pa.ArrowException,
)
"""What readers raise for files that are not what their names say."""

ROWS = 64
"""Rows of a parquet file that are decoded at once: documents can be long."""

LONGEST_PARAGRAPH = 1_000_000
"""Characters after which a paragraph of a txt file is cut, at a line's end where there is one: files without
blank lines would otherwise be one document."""

LONGEST_ARRAY = 200_000_000
"""Characters of a ``.json`` file that is one array: it can only be read whole."""


def format_of(file: Path) -> str | None:
    """``parquet``, ``json`` or ``text`` by the file's name, compression left out; None for anything else."""
    suffixes = [suffix for suffix in file.suffixes if suffix not in COMPRESSED]
    return FORMATS.get(suffixes[-1]) if suffixes else None


def read_texts(file: Path, column: str, by_line: bool = False) -> Iterator[str]:
    """The texts of a file in order; those that are empty, or nothing but spaces, are left out.

    Args:
        file: parquet, jsonl or txt; the latter two compressed or not.
        column: of parquet and jsonl, the one that holds the text.
        by_line: whether a text of a txt file is a line, instead of a paragraph (up to a blank line).

    Raises:
        InputError: for a file that cannot be read to its end or holds no text, a missing column, or one that
            holds something else.
    """
    check_file(file, column)
    found = False
    if format_of(file) == "text":
        rows: Iterator[str | None] = _plain(file, by_line)
    else:
        rows = (_parquet if format_of(file) == "parquet" else _json)(file, column)
    try:
        for text in rows:
            if text and text.strip():
                found = True
                yield text
    except InputError:
        raise
    except UNREADABLE as error:
        raise _unreadable(file, error) from error
    if not found:
        raise InputError(f"{file} holds no text; remove it or write it again")


def check_file(file: Path, column: str) -> None:
    """Refuse what can be seen to be wrong without reading the file: nothing in it, a broken parquet footer, a
    parquet file without the column.

    Raises:
        InputError: for any of these.
    """
    if file.stat().st_size == 0:
        raise InputError(f"{file} is empty (0 bytes); remove it or write it again")
    if format_of(file) != "parquet":
        return
    if file.suffix in COMPRESSED:
        raise InputError(f"{file} is a compressed parquet file, which cannot be read in parts; unpack it")
    try:
        schema = pq.read_schema(file)
    except UNREADABLE as error:
        raise _unreadable(file, error) from error
    if column not in schema.names:
        raise InputError(f"{file} has no column {column!r}, only {', '.join(schema.names)}")
    kind = schema.field(column).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(test(values) for test in is_text):
        raise InputError(f"column {column!r} of {file} holds {kind}, not text")


def _unreadable(file: Path, error: Exception) -> InputError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return InputError(f"cannot read {file} as {format_of(file)}: {reason}")


def _parquet(file: Path, column: str) -> Iterator[str | None]:
    # without these two settings a whole row group's column is held at once
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
        for batch in parquet.iter_batches(ROWS, columns=[column], use_threads=False):
            yield from batch.column(0).to_pylist()


def _open(file: Path) -> IO[str]:
    stream = COMPRESSED[file.suffix](file) if file.suffix in COMPRESSED else file.open("rb")
    return io.TextIOWrapper(stream, encoding="utf-8-sig")


def _json(file: Path, column: str) -> Iterator[str | None]:
    with _open(file) as lines:
        start = lines.readline()
        while start and not start.strip():
            start = lines.readline()
        rows = _array(start, lines) if start.lstrip().startswith("[") else _objects(start, lines)
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise InputError(f"{file} holds a {type(row).__name__} where an object was expected")
            if number == 0 and column not in row:
                raise InputError(f"{file} has no column {column!r}, only {', '.join(row)}")
            text = row.get(column)
            if not isinstance(text, (str, type(None))):
                raise InputError(f"column {column!r} of {file} holds {type(text).__name__}, not text")
            yield text and _whole_characters(text)


def _whole_characters(text: str) -> str:
    """The text; JSON can escape half a character (of a text that was cut), which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _objects(start: str, lines: IO[str]) -> Iterator[Any]:
    number = 1
    while start:
        if start.strip():
            try:
                yield json.loads(start)
            except json.JSONDecodeError as error:
                raise ValueError(f"object {number}: {error}") from error
            number += 1
        start = lines.readline()


def _array(start: str, lines: IO[str]) -> list[Any]:
    whole = start + lines.read(LONGEST_ARRAY)
    if lines.read(1):
        raise ValueError(f"one array of more than {LONGEST_ARRAY:,} characters; write one object a line")
    found: list[Any] = json.loads(whole)
    return found


def _plain(file: Path, by_line: bool) -> Iterator[str]:
    held: list[str] = []
    characters = 0
    with _open(file) as lines:
        while line := lines.readline(LONGEST_PARAGRAPH):
            if line.strip():
                held.append(line)
                characters += len(line)
            if by_line or not line.strip() or characters >= LONGEST_PARAGRAPH:
                yield "".join(held).rstrip("\n")
                held, characters = [], 0
    yield "".join(held).rstrip("\n")
