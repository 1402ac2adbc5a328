"""Parquet and Arrow files: schema and rows, a few at a time, so that memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raft.data.files import check_columns, check_file, format_of, reading

ARROW_FILE = b"ARROW1"
"""First bytes of Arrow's file format; ``datasets`` writes its stream format."""


def read_schema(file: Path) -> pa.Schema:
    """Names and types of the columns.

    Raises:
        InputError: for a file that cannot be read.
    """
    check_file(file)
    with reading(file):
        if format_of(file) == "parquet":
            return pq.read_schema(file)
        with pa.memory_map(str(file)) as source:
            return _open_arrow(source).schema


def read_columns(file: Path, columns: Sequence[str], rows: int) -> Iterator[list[list[Any]]]:
    """The values of some columns, one list a column, for so many rows at a time.

    Raises:
        InputError: for a file that cannot be read to its end, or a missing column.
    """
    check_columns(str(file), columns, read_schema(file).names)
    with reading(file):
        read_batches = _parquet_batches if format_of(file) == "parquet" else _arrow_batches
        for batch in read_batches(file, columns, rows):
            yield [batch.column(name).to_pylist() for name in columns]


def _parquet_batches(file: Path, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    # without these settings a whole row group's column is in memory at once
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
        yield from parquet.iter_batches(rows, columns=list(columns), use_threads=False)


def _arrow_batches(file: Path, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(file)) as source:
        reader = _open_arrow(source)
        count = getattr(reader, "num_record_batches", None)  # a stream has none
        batches = reader if count is None else map(reader.get_batch, range(count))
        for batch in batches:
            for start in range(0, len(batch), rows):
                yield batch.select(list(columns)).slice(start, rows)


def _open_arrow(source: pa.NativeFile) -> Any:
    is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
    source.seek(0)
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
