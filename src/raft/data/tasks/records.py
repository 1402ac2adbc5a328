"""Rows with sentences and a label, from any file or the hub, and the examples they make."""

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
from raft.data.files import COLUMNAR, check_columns, check_file, format_of, readable, suffix_of
from raft.data.json_rows import has_half_character, json_rows
from raft.data.tasks.task import Example, Sentences
from raft.errors import InputError

TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".json", ".parquet", ".arrow")
"""Ends of the names of files that can be read, all but the last two compressed or not; ``.txt`` as
``.tsv``."""

NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*)?")
"""Labels that are numbers; what begins with another zero is a code."""

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
        label: as text or a number; None where there is none: nothing is written there, or −1 by a data set
            that has names for its classes.
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
    """A class's name; whole numbers as such, whatever type a file keeps them in."""
    whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if whole else label)


def class_key(name: str) -> str:
    """Equal for names of one class: for numbers that are equal, and for true and false in any case."""
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
        rows = _batched(str(path), read_columns(path, names, BATCH), classes)
    elif format_of(path) == "json":
        rows = _json_lines(path, names)
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
    """The classes that a parquet or arrow file of ``datasets`` names for its numbers; None for any other."""
    if format_of(path) not in COLUMNAR:
        return None
    schema = read_schema(path)
    with readable(path):
        return feature_classes(datasets.Features.from_arrow_schema(schema), label)


def feature_classes(features: datasets.Features, label: str | int | None) -> list[str] | None:
    """The names of the classes of a column, in the order of their numbers; None where it has none."""
    feature = features.get(label)
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None


def hub_records(source: str, split: str, part: datasets.Dataset, columns: Columns) -> Iterator[Record]:
    """The rows of a split of a hub dataset; classes by name, None where the class is −1.

    Raises:
        InputError: for a missing column, or a row without a text.
    """
    wanted = [str(column) for column in columns.all()]
    where = f"{source}, {split}"
    check_columns(where, wanted, part.column_names)
    found = part.select_columns(wanted).with_format("arrow").iter(BATCH)
    batches = ([batch.column(name).to_pylist() for name in wanted] for batch in found)
    for place, values in _batched(where, batches, feature_classes(part.features, columns.label)):
        yield _record(place, values, columns)


def _batched(
    where: str, batches: Iterable[list[list[Any]]], classes: Sequence[str] | None
) -> Iterator[tuple[str, list[Any]]]:
    """The rows of lists of columns, of which the last is the label where it has named classes."""
    number = 0
    for batch in batches:
        for row in zip(*batch, strict=True):
            values, place = list(row), f"{where}, row {number}"
            number += 1
            if classes is not None and values[-1] is not None:
                values[-1] = _named(values[-1], classes, place)
            yield place, values


def _named(number: int, classes: Sequence[str], where: str) -> str | None:
    if not -1 <= number < len(classes):
        raise InputError(f"{where}: label {number} is none of the {len(classes)} classes")
    return None if number == -1 else classes[number]


def examples_of(
    records: Iterable[Record | None], labels: LabelFormat
) -> tuple[list[Example], list[int] | None]:
    """The examples, and the rows they stand in, from 0; None where that is all rows.

    Rows that are broken or have no label are left out; a line says how many have none.

    Raises:
        InputError: for a label that does not fit, or where all texts are empty.
    """
    examples: list[Example] = []
    rows, unlabelled, seen = [], [], 0
    for number, record in enumerate(records):
        seen += 1
        if record is not None and record.label is None:
            unlabelled.append(record.where)
        if record is None or record.label is None or record.label == labels.undecided:
            continue
        sentences = record.sentences
        label = labels.read(record.label, record.where)
        examples.append(Example(sentences.first, sentences.second, label))
        rows.append(number)
        where = record.where
    if unlabelled:
        logging.getLogger("raft").warning(
            "%s: no label; rows without one are left out, %d in all", unlabelled[0], len(unlabelled)
        )
    if examples:
        check_sentences(examples, where)
    return examples, None if len(rows) == seen else rows


def check_sentences(sentences: Sequence[Sentences], where: str) -> None:
    """Refuse sentences of which nothing is written.

    Args:
        sentences: at least one.
        where: the last of them stands.

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
    if has_half_character(text):
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


def _json_lines(path: Path, names: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    for where, row in json_rows(path, names):
        check_columns(where, names, list(row))
        yield where, [row[name] for name in names]
