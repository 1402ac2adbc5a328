"""Rows with sentences and a label, from files or the hub, and the examples made of them."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets

from raft.data.columnar import read_columns, read_schema
from raft.data.delimited import read_header, read_rows
from raft.data.files import COLUMNAR, check_columns, check_file, format_of, reading, suffix_of
from raft.data.hub import read_columns as read_hub_columns
from raft.data.json_rows import has_lone_surrogate, json_rows
from raft.data.tasks.task import Example, Sentences
from raft.errors import InputError

TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".json", ".parquet", ".arrow")
"""Ends of the names of files that can be read, all but the last two compressed or not; ``.txt`` as
``.tsv``."""

NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*)?")
"""Labels that are numbers; what begins with another zero is a code."""

BATCH = 1000
"""Rows of a hub split or a parquet file that become Python objects at once."""

Examples = tuple[list[Example], list[int] | None]
"""Examples and the rows that they stand in, from 0; None where these are all rows."""


@dataclass(frozen=True)
class Columns:
    """Columns of sentences and label: names, or numbers in files without a header."""

    first: str | int
    second: str | int | None = None
    label: str | int | None = "label"

    def all(self) -> list[str | int]:
        """Those that are not None: first, second, label."""
        return [column for column in (self.first, self.second, self.label) if column is not None]


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Attributes:
        where: file and line, or data set and row, for messages.
        sentences: one or two.
        label: as text or a number; None where it is missing, or −1 in a data set that names its classes.
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

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {class_key(name): number for number, name in enumerate(self.classes or ())}

    def read(self, label: str | float, where: str) -> int | float:
        """The number of a class, or a score.

        Raises:
            InputError: for a label that is no class, or no finite number within the bounds.
        """
        if self.classes is not None:
            name = class_name(label)
            number = self._numbers.get(class_key(name))
            if number is None:
                raise InputError(f"{where}: label {name!r} is none of {', '.join(self.classes)}")
            return number
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
    """A class's name; a whole number is written as an integer, whatever its type."""
    is_whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if is_whole else label)


def class_key(name: str) -> str:
    """A key that is equal for names of one class: equal numbers, and true and false in any case."""
    if NUMBER.fullmatch(name):
        return f"{(Decimal(name) + 0).normalize():f}"
    return name.lower() if name.lower() in ("true", "false") else name


def file_records(path: Path, columns: Columns, allow_short: bool = False) -> Iterator[Record | None]:
    """The rows of a file.

    Args:
        path: csv, tsv (whose quotation marks are text), jsonl, parquet or arrow, by the end of its name.
        columns: wanted.
        allow_short: give None for a row of a csv or tsv that has too few columns, instead of raising.

    Raises:
        InputError: for a file that cannot be read, a missing column, or a broken row, with its line.
    """
    _check_format(path)
    names = [str(column) for column in columns.all()]
    rows: Iterator[tuple[str, list[Any]]]
    if format_of(path) in COLUMNAR:
        classes = file_classes(path, columns.label)
        rows = _enumerate_rows(str(path), read_columns(path, names, BATCH), classes)
    elif format_of(path) == "json":
        rows = _json_values(path, names)
    else:
        lines = read_rows(path, columns.all(), allow_short)
        rows = ((f"{path}, line {line}", values) for line, values in lines)
    for where, values in rows:
        yield _record(where, values, columns) if values else None


def column_names(path: Path, columns: Columns) -> list[str]:
    """The columns of a file; of jsonl, those of its first row.

    Args:
        path: as of ``file_records``.
        columns: some that it has.

    Raises:
        InputError: for a file that cannot be read.
    """
    _check_format(path)
    if format_of(path) in COLUMNAR:
        return list(read_schema(path).names)
    if format_of(path) == "json":
        return list(next(json_rows(path, [str(column) for column in columns.all()]), ("", {}))[1])
    return read_header(path)


def file_classes(path: Path, label: str | int | None) -> list[str] | None:
    """The class names in the schema of a parquet or arrow file of ``datasets``; None without any."""
    if format_of(path) not in COLUMNAR:
        return None
    schema = read_schema(path)
    with reading(path):
        return feature_classes(datasets.Features.from_arrow_schema(schema), label)


def feature_classes(features: datasets.Features, label: str | int | None) -> list[str] | None:
    """The class names of a column, in the order of their numbers; None where it has none."""
    feature = features.get(label)
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None


def hub_records(source: str, name: str, split: datasets.Dataset, columns: Columns) -> Iterator[Record]:
    """The rows of a split of a hub dataset; classes by name, None where the class is −1.

    Raises:
        InputError: for a missing column, or a row without a text.
    """
    where = f"{source}, {name}"
    batches = read_hub_columns(where, split, [str(column) for column in columns.all()], BATCH)
    for place, values in _enumerate_rows(where, batches, feature_classes(split.features, columns.label)):
        yield _record(place, values, columns)


def _enumerate_rows(
    where: str, batches: Iterable[list[list[Any]]], classes: Sequence[str] | None
) -> Iterator[tuple[str, list[Any]]]:
    """The rows of batches of columns, with their places; with ``classes``, the last column is the label."""
    rows = (row for batch in batches for row in zip(*batch, strict=True))
    for number, row in enumerate(rows):
        values, place = list(row), f"{where}, row {number}"
        if classes is not None and values[-1] is not None:
            values[-1] = _class_of(values[-1], classes, place)
        yield place, values


def _class_of(number: int, classes: Sequence[str], where: str) -> str | None:
    if not -1 <= number < len(classes):
        raise InputError(f"{where}: label {number} is none of the {len(classes)} classes")
    return None if number == -1 else classes[number]


def make_examples(records: Iterable[Record | None], labels: LabelFormat) -> Examples:
    """The examples of records; those that are None or have no label are left out, the latter with a warning.

    Raises:
        InputError: for a label that does not fit, or where all texts are empty.
    """
    examples: list[Example] = []
    rows, unlabelled, count = [], [], 0
    for count, record in enumerate(records, start=1):
        if record is not None and record.label is None:
            unlabelled.append(record.where)
        if record is None or record.label is None or record.label == labels.undecided:
            continue
        sentences = record.sentences
        label = labels.read(record.label, record.where)
        examples.append(Example(sentences.first, sentences.second, label))
        rows.append(count - 1)
        where = record.where
    if unlabelled:
        logging.getLogger("raft").warning(
            "%s: no label; rows without one are left out, %d in all", unlabelled[0], len(unlabelled)
        )
    if examples:
        check_sentences(examples, where)
    return examples, None if len(rows) == count else rows


def check_sentences(sentences: Sequence[Sentences], where: str) -> None:
    """Check that not all sentences are empty.

    Args:
        sentences: at least one.
        where: place of the last one.

    Raises:
        InputError: where all are empty, or the second ones of all pairs.
    """
    for which, texts in (
        ("text", (s.first for s in sentences)),
        ("second text", (s.second for s in sentences)),
    ):
        if not any(text is None or text.strip() for text in texts):
            raise InputError(f"{where}: the {which} is empty, in this row as in all; name the right column")


def _record(where: str, values: list[Any], columns: Columns) -> Record:
    label = None if columns.label is None else _label(where, values[-1], columns.label)
    return Record(where, _sentences(where, values, columns), label)


def _sentences(where: str, values: list[Any], columns: Columns) -> Sentences:
    texts = values[: 1 if columns.second is None else 2]
    for column, text in zip(columns.all(), texts, strict=False):
        if not isinstance(text, str):
            raise InputError(f"{where}: column {column!r} holds {_kind(text)}, not text")
        _check_characters(text, column, where)
    return Sentences(texts[0], texts[1] if len(texts) == 2 else None)


def _label(where: str, value: Any, column: str | int) -> str | float | None:
    if isinstance(value, str):
        _check_characters(value, column, where)
        return value.strip() or None
    if value is None or value != value:  # NaN
        return None
    if not isinstance(value, (int, float)):
        raise InputError(f"{where}: column {column!r} holds {_kind(value)}, not a label")
    return value


def _check_characters(text: str, column: str | int, where: str) -> None:
    if has_lone_surrogate(text):
        raise InputError(
            f"{where}: column {column!r} holds half a character ({text!a:.60}); mend or remove it"
        )


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _check_format(path: Path) -> None:
    if suffix_of(path) not in TABLES:
        raise InputError(f"{path} is none of {', '.join(TABLES)}; convert it to one of them")
    if path.is_file():
        check_file(path)


def _json_values(path: Path, names: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    for where, row in json_rows(path, names):
        check_columns(where, names, list(row))
        yield where, [row[name] for name in names]
