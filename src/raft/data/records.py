"""Rows with sentences and a label, from any file or the hub, and the examples they make."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from raft.data.delimited import read_header, read_rows
from raft.data.tasks import Example, Sentences
from raft.errors import InputError

TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".json", ".parquet")
"""Ends of the names of files that can be read; ``.txt`` as ``.tsv``, ``.json`` as ``.jsonl``."""

BATCH = 1000
"""Rows of the hub or a parquet file that become Python objects at once."""


@dataclass(frozen=True)
class Columns:
    """Where sentences and label stand: names, or numbers in files without a header."""

    first: str | int
    second: str | int | None = None
    label: str | int | None = "label"

    def all(self) -> list[str | int]:
        """Those that are wanted, in the order first, second, label."""
        return [column for column in (self.first, self.second, self.label) if column is not None]


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Attributes:
        where: it stands, for messages.
        sentences: one or two.
        label: as text or a number; None where the data set says that there is none.
    """

    where: str
    sentences: Sentences
    label: str | float | None


@dataclass(frozen=True)
class LabelFormat:
    """How labels are written.

    Attributes:
        classes: as written, in the order of their numbers; None for scores.
        low, high: scores that there can be.
        undecided: written where annotators did not agree; such rows are left out.
    """

    classes: tuple[str, ...] | None
    low: float = -math.inf
    high: float = math.inf
    undecided: str | None = None

    def read(self, label: str | float, where: str) -> int | float:
        """The number of a class, or a score.

        Raises:
            InputError: for a label that is no class, or no finite number within the bounds.
        """
        if self.classes is not None:
            name = class_name(label)
            if name not in self.classes:
                raise InputError(f"{where}: label {name!r} is none of {', '.join(self.classes)}")
            return self.classes.index(name)
        try:
            score = float(label)
        except ValueError:
            raise InputError(f"{where}: score {label!r} is not a number") from None
        if not math.isfinite(score):
            raise InputError(f"{where}: score {label!r} is not finite")
        if not self.low <= score <= self.high:
            raise InputError(f"{where}: score {label!r} is not between {self.low:g} and {self.high:g}")
        return score


def class_name(label: str | float) -> str:
    """A class's name; whole numbers as such, whatever type a file keeps them in."""
    whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if whole else label)


def file_records(path: Path, columns: Columns, allow_short: bool = False) -> Iterator[Record | None]:
    """The rows of a file.

    Args:
        path: csv, tsv (whose quotation marks are text), jsonl or parquet, by the end of its name.
        columns: wanted.
        allow_short: give None for a row of a csv or tsv that has too few columns, instead of raising.

    Raises:
        InputError: for a file that cannot be read, a missing column, or a broken row, with its line.
    """
    _check_format(path)
    rows: Iterator[tuple[str, list[Any]]]
    if path.suffix == ".parquet":
        rows = _parquet(path, columns)
    elif path.suffix.startswith(".json"):
        rows = _json_lines(path, columns)
    else:
        lines = read_rows(path, columns.all(), allow_short)
        rows = ((f"{path}, line {line}", values) for line, values in lines)
    for where, values in rows:
        yield _record(where, values, columns) if values else None


def column_names(path: Path) -> list[str]:
    """The columns of a file; of jsonl, those of its first row.

    Raises:
        InputError: for a file that cannot be read.
    """
    _check_format(path)
    if path.suffix == ".parquet":
        with _parquet_errors(path):
            return list(pq.read_schema(path).names)
    if path.suffix.startswith(".json"):
        return list(next(_objects(path), ("", {}))[1])
    return read_header(path)


def hub_records(source: str, split: str, part: datasets.Dataset, columns: Columns) -> Iterator[Record]:
    """The rows of a split of a hub dataset; classes by name, None where the class is −1.

    Raises:
        InputError: for a missing column, or a row without a text.
    """
    wanted = [str(column) for column in columns.all()]
    _check_columns(f"{source}, {split}", wanted, part.column_names)
    feature = None if columns.label is None else part.features[str(columns.label)]
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    number = 0
    for batch in part.select_columns(wanted).with_format("arrow").iter(BATCH):
        for row in zip(*(batch.column(name).to_pylist() for name in wanted), strict=True):
            values, where = list(row), f"{source}, {split}, row {number}"
            number += 1
            if names is None:
                yield _record(where, values, columns)
            else:
                label = None if values[-1] in (-1, None) else names[values[-1]]
                yield Record(where, _sentences(where, values, columns), label)


def examples_of(
    records: Iterable[Record | None], labels: LabelFormat
) -> tuple[list[Example], list[int] | None]:
    """The examples, and the rows they stand in, from 0; None where that is all rows.

    Rows that are broken or have no label are left out.

    Raises:
        InputError: for a label that does not fit.
    """
    examples, rows, seen = [], [], 0
    for number, record in enumerate(records):
        seen += 1
        if record is None or record.label is None or record.label == labels.undecided:
            continue
        sentences = record.sentences
        label = labels.read(record.label, record.where)
        examples.append(Example(sentences.first, sentences.second, label))
        rows.append(number)
    return examples, None if len(rows) == seen else rows


def _record(where: str, values: list[Any], columns: Columns) -> Record:
    label = None if columns.label is None else _label(where, values[-1], columns.label)
    return Record(where, _sentences(where, values, columns), label)


def _sentences(where: str, values: list[Any], columns: Columns) -> Sentences:
    texts = values[: 1 if columns.second is None else 2]
    for column, text in zip(columns.all(), texts, strict=False):
        if not isinstance(text, str):
            raise InputError(f"{where}: column {column!r} holds {_kind(text)}, not text")
    return Sentences(texts[0], texts[1] if len(texts) == 2 else None)


def _label(where: str, value: Any, column: str | int) -> str | float:
    missing = value is None or value == "" or value != value  # the last is NaN
    if missing or not isinstance(value, (str, int, float)):
        raise InputError(f"{where}: column {column!r} holds {_kind(None if missing else value)}, not a label")
    return value


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _check_columns(where: str, wanted: list[str], present: list[str]) -> None:
    missing = next((name for name in wanted if name not in present), None)
    if missing is not None:
        raise InputError(f"{where}: no column {missing!r}, only {', '.join(present)}")


def _check_format(path: Path) -> None:
    if path.suffix not in TABLES:
        raise InputError(f"{path} is none of {', '.join(TABLES)}; convert it to one of them")


def _json_lines(path: Path, columns: Columns) -> Iterator[tuple[str, list[Any]]]:
    names = [str(column) for column in columns.all()]
    for where, row in _objects(path):
        _check_columns(where, names, list(row))
        yield where, [row[name] for name in names]


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                row = json.loads(line.decode("utf-8-sig"))
                where = f"{path}, line {number}"
                if not isinstance(row, dict):
                    raise InputError(f"{where}: a {type(row).__name__} where an object was expected")
                yield where, row
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not UTF-8 text; convert the file") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}, line {number}: not JSON ({error}); write one object a line") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _parquet(path: Path, columns: Columns) -> Iterator[tuple[str, list[Any]]]:
    names = [str(column) for column in columns.all()]
    _check_columns(str(path), names, column_names(path))
    number = 0
    with _parquet_errors(path), pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(BATCH, columns=names):
            for values in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                yield f"{path}, row {number}", list(values)
                number += 1


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be read as parquet: {reason}") from error
