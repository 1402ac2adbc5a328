"""Texts of hub datasets: read from a download, or from a stream whose texts are cached as they arrive."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from raft.data.cache import cache_directory, key_of, make_folder
from raft.data.files import check_columns
from raft.data.hub import load_splits, read_columns, stream_splits
from raft.data.text.readers import ROWS, Shard, read_texts
from raft.errors import InputError, first_line
from raft.files import write_text

SHARD_CHARACTERS = 32_000_000
"""Text of a stream that is held in memory until it is written to a file."""


def open_hub(source: str, column: str, streaming: bool) -> dict[str, Shard]:
    """The splits of a hub dataset, by name.

    Args:
        source: ``owner/name`` or ``owner/name:configuration``.
        column: that holds the text.
        streaming: read it as it arrives and cache what was read: a stream that breaks continues from there.
            Otherwise the dataset is downloaded whole, or taken from the cache of ``datasets``.

    Raises:
        InputError: where there is no such dataset.
    """
    if not streaming:
        return {
            name: Shard(
                partial(_read_split, source, split, column), partial(key_of, [split._fingerprint, column])
            )
            for name, split in load_splits(source).items()
        }
    dataset, _, configuration = source.partition(":")
    revision, streams = stream_splits(source)
    shards = {}
    for name, stream in streams.items():
        key = key_of([dataset, configuration, revision, name, column])
        cached = CachedStream(source, stream, column, cache_directory() / "streams" / key)
        shards[name] = Shard(cached.texts, partial(key_of, [key, column]))
    return shards


def _read_split(source: str, split: datasets.Dataset, column: str) -> Iterator[str]:
    for (texts,) in read_columns(source, split, [column], ROWS):
        for text in texts:
            yield from _text(source, {column: text}, column)


def _text(source: str, row: dict[str, Any], column: str) -> Iterator[str]:
    """The row's text, or nothing where it is empty."""
    check_columns(source, [column], list(row))
    text = row[column]
    if not isinstance(text, (str, type(None))):
        raise InputError(f"column {column!r} of {source} holds {type(text).__name__}, not text")
    if text and text.strip():
        yield text


class CachedStream:
    """A stream of which every text is read from its origin once.

    The folder holds files of texts, and the stream's position after the last one. A reader gets the files
    first and continues from the origin. Several may read at once: a text that one of them has written is not
    written again by the others.

    Args:
        source: name for messages.
        stream: an ``IterableDataset``, whose order does not change from one time to the next.
        column: that holds the text.
        folder: of this stream alone.
    """

    def __init__(self, source: str, stream: datasets.IterableDataset, column: str, folder: Path) -> None:
        self.source, self.stream, self.column, self.folder = source, stream, column, folder

    def texts(self) -> Iterator[str]:
        """All texts in order, the empty ones left out.

        Raises:
            InputError: for a missing column, or one that holds something else.
            ConnectionError: where the stream breaks; what arrived is kept.
        """
        progress = self._progress()
        for number in range(progress["files"]):
            yield from read_texts(self._file(number), "text")
        if not progress["complete"]:
            yield from self._read_origin(progress)

    def _read_origin(self, progress: dict[str, Any]) -> Iterator[str]:
        stream = self._copy_stream()
        if progress["position"] is not None:
            stream.load_state_dict(progress["position"])
        before, characters = progress["texts"], 0
        texts: list[str] = []
        known = 0, progress["position"]  # texts of these, and the position that follows them
        try:
            for row in stream:
                text = next(_text(self.source, row, self.column), "")
                if text:
                    texts.append(text)
                known = len(texts), stream.state_dict()
                if not text:
                    continue
                characters += len(text)
                if characters >= SHARD_CHARACTERS:
                    # at once, as an interrupt may come at any line
                    before, texts, characters, known = (
                        self._write(before, texts, known[1]), [], 0, (0, known[1])
                    )  # fmt: skip
                yield text
        except BaseException as error:
            before = self._write(before, texts[: known[0]], known[1])
            if isinstance(error, InputError) or not isinstance(error, Exception):
                raise
            raise ConnectionError(  # of the network, of a reader
                f"the stream {self.source} broke after {before:,} texts: {first_line(error)}; start "
                "again, and it goes on from there"
            ) from error
        self._write(before, texts, known[1], complete=True)

    def _copy_stream(self) -> datasets.IterableDataset:
        """A copy for one reader: the position is kept in the inner iterable, which shallow copies share."""
        stream = self.stream.with_format(None)
        stream._ex_iterable = copy.deepcopy(stream._ex_iterable)
        return stream

    def _write(self, before: int, texts: list[str], position: Any, complete: bool = False) -> int:
        """Write the texts that follow the first ``before``; returns how many there are with them."""
        after = before + len(texts)
        with FileLock(make_folder(self.folder) / "writing.lock"):
            progress = self._progress()
            written = progress["texts"] - before  # of these texts, by other readers
            if progress["complete"] or not 0 <= written <= len(texts):
                return after
            files = progress["files"]
            if texts := texts[written:]:
                pq.write_table(pa.table({"text": texts}), self._file(files), compression="zstd")
                files += 1
            state = {"files": files, "texts": after, "position": position, "complete": complete}
            write_text(self.folder / "progress.json", json.dumps(state))
        return after

    def _progress(self) -> dict[str, Any]:
        file = self.folder / "progress.json"
        if not file.exists():
            return {"files": 0, "texts": 0, "position": None, "complete": False}
        progress: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return progress

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.parquet"
