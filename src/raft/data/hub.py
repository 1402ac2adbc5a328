"""Datasets of the Hugging Face hub: downloaded whole, or streamed and kept as they are read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from huggingface_hub import HfApi

from raft.data.cache import cache_directory, key_of, make_folder
from raft.data.files import check_columns
from raft.data.text.readers import ROWS, read_texts
from raft.errors import InputError
from raft.files import write_text

SHARD_CHARACTERS = 32_000_000
"""Text of a stream that is held in memory until it is written to a file."""

POSITION_EVERY = 100
"""Rows after which the position in a stream is noted: what follows the last one is lost when it breaks."""


@dataclass(frozen=True)
class HubSplit:
    """One split of a hub dataset.

    Attributes:
        fingerprint: of the dataset's revision, or content, and the split.
        texts: reads them in order, the empty ones left out.
    """

    fingerprint: str
    texts: Callable[[], Iterator[str]]


def open_hub(source: str, column: str, streaming: bool) -> dict[str, HubSplit]:
    """The splits of a hub dataset, by name.

    Args:
        source: ``owner/name`` or ``owner/name:configuration``.
        column: that holds the text.
        streaming: read it as it arrives, and keep what was read: a stream that breaks goes on from there.
            Otherwise the dataset is downloaded whole, or taken from where ``datasets`` has put it before.

    Raises:
        InputError: where there is no such dataset.
    """
    if not streaming:
        return {
            split: HubSplit(part._fingerprint, partial(_rows, source, part, column))
            for split, part in load_splits(source).items()
        }
    name, _, configuration = source.partition(":")
    with _one_line(source):
        revision = _revision(name)
        streams = datasets.load_dataset(name, configuration or None, streaming=True, revision=revision)
    found = {}
    for split, part in streams.items():
        key = key_of([name, configuration, revision, str(split), column])
        cached = CachedStream(source, part, column, cache_directory() / "streams" / key)
        found[str(split)] = HubSplit(key, cached.texts)
    return found


def load_splits(source: str) -> dict[str, datasets.Dataset]:
    """The splits of a hub dataset, by name: downloaded whole, or from where ``datasets`` has put it before.

    Args:
        source: ``owner/name`` or ``owner/name:configuration``.

    Raises:
        InputError: where there is no such dataset.
    """
    name, _, configuration = source.partition(":")
    with _one_line(source):
        loaded = datasets.load_dataset(name, configuration or None)
    return {str(split): part for split, part in loaded.items()}


@contextmanager
def _one_line(source: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # every layer below raises its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"{source} is neither a local path nor a hub dataset that can be loaded: {reason}"
        ) from error


def _revision(name: str) -> str:
    """The commit that the dataset is at now."""
    return str(HfApi().dataset_info(name).sha)


def _rows(source: str, part: datasets.Dataset, column: str) -> Iterator[str]:
    check_columns(source, [column], part.column_names)
    for batch in part.select_columns([column]).with_format("arrow").iter(ROWS):
        for text in batch.column(column).to_pylist():
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
    """A stream of which every part is read from its origin once.

    Beside the files with its texts stands where the stream was when the last one was written. Whoever reads
    gets the files first, and what follows from the origin. Several may read at once: a text that one of them
    has written already is not written again by the others.

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
            yield from self._arriving(progress)

    def _arriving(self, progress: dict[str, Any]) -> Iterator[str]:
        stream = self._own_stream()
        if progress["position"] is not None:
            stream.load_state_dict(progress["position"])
        waiting = _Waiting(progress["texts"], progress["position"])
        rows = iter(stream)
        try:
            for number in count():
                row = next(rows, None)
                text = "" if row is None else next(_text(self.source, row, self.column), "")
                waiting.add(text)
                if row is None or number % POSITION_EVERY == 0 or waiting.characters >= SHARD_CHARACTERS:
                    waiting.reached(stream.state_dict())
                if row is None or waiting.characters >= SHARD_CHARACTERS:
                    waiting = self._keep(waiting, complete=row is None)
                if row is None:
                    return
                if text:
                    yield text
        except GeneratorExit:
            waiting.reached(stream.state_dict())
            self._keep(waiting)
            raise
        except (KeyboardInterrupt, SystemExit):  # while the next text was awaited
            self._keep(waiting)
            raise
        except InputError:
            raise
        except Exception as error:  # of the network, of a reader
            known = self._keep(waiting)
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ConnectionError(
                f"the stream {self.source} broke after {known.before:,} texts: {reason}; start again, and it "
                "goes on from there"
            ) from error

    def _own_stream(self) -> datasets.IterableDataset:
        """The stream for one reader: where it is stands in what it iterates over, which copies share."""
        stream = self.stream.with_format(None)
        stream._ex_iterable = copy.deepcopy(stream._ex_iterable)
        return stream

    def _keep(self, waiting: _Waiting, complete: bool = False) -> _Waiting:
        """Write what waits, up to the last known position; returns what waits then: nothing."""
        texts = waiting.texts[: waiting.certain]
        after = _Waiting(waiting.before + len(texts), waiting.position)
        with FileLock(make_folder(self.folder) / "writing.lock"):
            progress = self._progress()
            known = progress["texts"] - waiting.before  # of these texts, to other readers who were here first
            if progress["complete"] or not 0 <= known <= len(texts):
                return after
            files = progress["files"]
            if texts := texts[known:]:
                pq.write_table(pa.table({"text": texts}), self._file(files), compression="zstd")
                files += 1
            state = {"files": files, "texts": after.before, "position": after.position, "complete": complete}
            write_text(self.folder / "progress.json", json.dumps(state))
        return after

    def _progress(self) -> dict[str, Any]:
        file = self.folder / "progress.json"
        if not file.exists():
            return {"files": 0, "texts": 0, "position": None, "complete": False}
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.parquet"


class _Waiting:
    """Texts that have arrived and are not written yet.

    Attributes:
        before: how many were written.
        texts: those that wait.
        certain: how many of them stand before ``position``.
        position: a state of the stream, from which it gives what follows.
    """

    def __init__(self, before: int, position: dict[str, Any] | None) -> None:
        self.before = before
        self.position = position
        self.texts: list[str] = []
        self.characters = 0
        self.certain = 0

    def add(self, text: str) -> None:
        if text:
            self.texts.append(text)
            self.characters += len(text)

    def reached(self, position: dict[str, Any]) -> None:
        self.certain, self.position = len(self.texts), position
