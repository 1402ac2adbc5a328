"""Rows of JSON files: one object a line, or all that is in the file as one array."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from raft.data.files import open_bytes, reading
from raft.errors import InputError

LONGEST_WHOLE = 200_000_000
"""Bytes of a file that is not one object a line, and has to be read whole."""

SPACE = re.compile(r"\s*")

Row = dict[str, Any]
Pairs = list[tuple[str, Any]]


def json_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """The objects of a file, each with its place (file and line).

    Args:
        file: of one object a line; of an array of objects, or an object that holds one and none of the
            columns, as ``{"data": [...]}``; or of objects over several lines, one behind the other.
        columns: that the rows are read for.

    Raises:
        InputError: for a file that is anything else, with the line, or that cannot be read to its end.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_object_hook(columns))
    with reading(file), open_bytes(file) as stream:
        first, number = _read_line(stream, file), 1
        while first and not first.decode("utf-8-sig", "replace").strip():
            first, number = _read_line(stream, file), number + 1
        if not first:
            return
        if not _is_row(decoder, first, columns):
            yield from _read_whole(file, decoder, first + stream.read(LONGEST_WHOLE), number, columns)
            return
        while first:
            where = f"{file}, line {number}"
            if line := _decode(first, where).strip():
                try:
                    row = decoder.decode(line)
                except (ValueError, RecursionError) as error:
                    raise _json_error(where, error) from error
                yield where, _check_row(row, where, columns)
            first, number = _read_line(stream, file), number + 1


def _read_line(stream: IO[bytes], file: Path) -> bytes:
    line = stream.readline(LONGEST_WHOLE + 1)
    if len(line) > LONGEST_WHOLE:
        raise InputError(f"{file} has a line of more than {LONGEST_WHOLE:,} bytes; write one object a line")
    return line


def _is_row(decoder: json.JSONDecoder, line: bytes, columns: Sequence[str]) -> bool:
    """Whether the first line is a row; otherwise the file has to be read whole."""
    try:
        value = decoder.decode(line.decode("utf-8-sig").strip())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and _rows_within(value, columns) is None


def _rows_within(value: Any, columns: Sequence[str]) -> list[Any] | None:
    """The rows in an array or in an object that holds one; None where the value is a row itself."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or any(name in value for name in columns):
        return None
    lists = [member for member in value.values() if isinstance(member, list) and member]
    lists = [member for member in lists if all(isinstance(row, dict) for row in member)]
    return lists[0] if len(lists) == 1 else None


def _read_whole(
    file: Path, decoder: json.JSONDecoder, content: bytes, number: int, columns: Sequence[str]
) -> Iterator[tuple[str, Row]]:
    if len(content) > LONGEST_WHOLE:
        raise InputError(
            f"{file} does not hold one object a line, and is larger than {LONGEST_WHOLE:,} bytes; write one "
            "object a line"
        )
    text = _decode(content, f"{file}, line {number}")
    values: list[Any] = []
    position = _skip_space(text, 0)
    number += text.count("\n", 0, position)
    while position < len(text):
        where = f"{file}, line {number}"
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _json_error(
                f"{file}, line {number + text.count(chr(10), position, error.pos)}", error
            ) from error
        except (ValueError, RecursionError) as error:
            raise _json_error(where, error) from error
        values.append((where, value))
        end = _skip_space(text, end)
        position, number = end, number + text.count("\n", position, end)
    rows = _rows_within(values[0][1], columns) if len(values) == 1 else None
    if rows is not None:
        values = [(f"{file}, object {index}", row) for index, row in enumerate(rows, start=1)]
    for where, row in values:
        yield where, _check_row(row, where, columns)


def _skip_space(text: str, position: int) -> int:
    match = SPACE.match(text, position)
    return match.end() if match else position


def _check_row(row: Any, where: str, columns: Sequence[str]) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{where}: a {type(row).__name__} where an object was expected")
    for name in columns:
        if isinstance(row.get(name), (dict, list)):  # as where an object holds whole columns
            kind = type(row[name]).__name__
            raise InputError(f"{where}: column {name!r} holds {kind}, not one value; write one object a line")
    return row


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text; convert the file") from error


def _json_error(where: str, error: Exception) -> InputError:
    reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
    return InputError(f"{where}: not JSON ({reason}); write one object a line")


def _object_hook(columns: Sequence[str]) -> Callable[[Pairs], Row]:
    def make(pairs: Pairs) -> Row:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            duplicate = next((name for name in columns if names.count(name) > 1), None)
            if duplicate is not None:
                raise ValueError(f"{names.count(duplicate)} members of an object are called {duplicate!r}")
        return row

    return make


def has_lone_surrogate(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, as JSON can escape it; tokenizers refuse it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def replace_lone_surrogates(text: str) -> str:
    """The text with U+FFFD for each lone surrogate."""
    if not has_lone_surrogate(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
