"""Parquet and Arrow files: their columns, and a few rows at a time, however large the file is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raft.data.files import check_columns, check_file, format_of, readable

ARROW_FILE = b"ARROW1"
"""Begins Arrow's file format; what ``datasets`` keeps is its stream format."""


def read_schema(file: Path) -> pa.Schema:
    """Names and types of the columns.

    Raises:
        InputError: for a file that cannot be read.
    """
    check_file(file)
    with readable(file):
        if format_of(file) == "parquet":
            return pq.read_schema(file)
        with pa.memory_map(str(file)) as source:
            return _reader(source).schema


def read_columns(file: Path, columns: Sequence[str], rows: int) -> Iterator[list[list[Any]]]:
    """The values of some columns, one list a column, for so many rows at a time.

    Raises:
        InputError: for a file that cannot be read to its end, or a missing column.
    """
    check_columns(str(file), columns, read_schema(file).names)
    with readable(file):
        batches = _parquet if format_of(file) == "parquet" else _arrow
        for batch in batches(file, columns, rows):
            yield [batch.column(name).to_pylist() for name in columns]


def _parquet(file: Path, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    # without these two settings a whole row group's column is held at once
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
        yield from parquet.iter_batches(rows, columns=list(columns), use_threads=False)


def _arrow(file: Path, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(file)) as source:
        reader = _reader(source)
        in_file = getattr(reader, "num_record_batches", None)
        batches = reader if in_file is None else map(reader.get_batch, range(in_file))
        for batch in batches:
            for start in range(0, len(batch), rows):
                yield batch.select(list(columns)).slice(start, rows)


def _reader(source: pa.NativeFile) -> Any:
    is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
    source.seek(0)
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
