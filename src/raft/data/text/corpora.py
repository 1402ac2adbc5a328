"""Text corpora from three sources through one door: installed packages' docstrings, local files, the hub."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from raft.data.cache import build_once, cache_directory, file_digest, key_of
from raft.data.files import PART_NAMES, data_files, format_of, is_compressed, part_of, suffix_of
from raft.data.hub import open_hub
from raft.data.text import python_docs
from raft.data.text.encoding import usable_cores
from raft.data.text.readers import TEXTS, check_texts, read_texts
from raft.errors import InputError

Split = Literal["train", "validation"]
PYTHON_DOCS = "pydocs"
OPEN_FILES = 64
"""Of a folder, that the first texts are read from at once."""


@dataclass(frozen=True)
class Part:
    """One file of a corpus, or one split of a hub dataset.

    Attributes:
        split: what its documents are for; those of ``train`` may be divided further.
        texts: reads them, in an order that is always the same.
        fingerprint: of the content.
    """

    split: Split
    texts: Callable[[], Iterator[str]]
    fingerprint: Callable[[], str]


@dataclass(frozen=True)
class Corpus:
    """Documents of any number: read one after the other, never held.

    Attributes:
        name: as given by the user.
        parts: in the order in which they are read.
        validation_share: of the documents that is held out, by the hash of their text, where no part is.
    """

    name: str
    parts: tuple[Part, ...]
    validation_share: float = python_docs.VALIDATION_SHARE

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all documents and of their division; files are read for it once and remembered."""
        with ThreadPoolExecutor() as threads:
            found = list(threads.map(lambda part: part.fingerprint(), self.parts))
        splits = [part.split for part in self.parts]
        return key_of([splits, found, None if self._has_validation else self.validation_share])

    @property
    def _has_validation(self) -> bool:
        return any(part.split == "validation" for part in self.parts)

    def labelled(self) -> Iterator[tuple[Split, str]]:
        """Every document with what it is for. Held-out parts come first, so that who stops early has them."""
        whole = self._has_validation
        for part in sorted(self.parts, key=lambda part: part.split, reverse=True):
            for text in part.texts():
                held_out = not whole and python_docs.is_validation(text, self.validation_share)
                yield "validation" if held_out else part.split, text

    def documents(self, split: Split) -> Iterator[str]:
        """The texts of ``train`` or ``validation``."""
        whole = self._has_validation
        for part in self.parts:
            if whole and part.split != split:
                continue
            for text in part.texts():
                held_out = not whole and python_docs.is_validation(text, self.validation_share)
                if whole or held_out == (split == "validation"):
                    yield text


@dataclass(frozen=True)
class Texts:
    """The documents of a small corpus, in memory.

    Attributes:
        name: as given by the user.
        train: texts.
        validation: texts of other documents.
    """

    name: str
    train: Sequence[str]
    validation: Sequence[str]


def open_corpus(
    source: str = PYTHON_DOCS,
    text_column: str = "text",
    validation_share: float = python_docs.VALIDATION_SHARE,
    streaming: bool = False,
) -> Corpus:
    """A corpus of any size; little more is read than the names of its files.

    Args:
        source: ``pydocs``; a file or folder of parquet, jsonl or txt, compressed or not (gz, bz2, xz,
            zst), or what ``save_to_disk`` of ``datasets`` wrote; or a hub dataset's name, ``owner/name`` or
            ``owner/name:configuration``. Of a folder, files whose names, or folders', hold the word
            validation, valid, val or dev are held out, those with the word test are left out, and so is what
            is hidden or tells of the data (README, LICENSE, ``dataset_info.json``); without held-out files,
            a share of the documents is held out, by the hash of their text.
        text_column: column of parquet, arrow and jsonl that holds the text.
        validation_share: between 0 and 1.
        streaming: read a hub dataset as it arrives and keep what was read, instead of downloading it first.

    Raises:
        InputError: for a missing source, an unknown format, an empty or broken file, or a missing column.
    """
    if not 0 < validation_share < 1:
        raise InputError(f"--validation_share must be between 0 and 1, not {validation_share}")
    path = _python_docs() if source == PYTHON_DOCS else Path(source).expanduser()
    if path.exists():
        if streaming:
            raise InputError(f"--streaming is of hub datasets, and {source} is here already: leave it out")
        parts = tuple(_file_part(file, split, text_column) for file, split in _splits(path))
    elif (
        source.startswith((".", "/", "~")) or source.count("/") > 1 or format_of(path) or is_compressed(path)
    ):
        raise InputError(f"no corpus at {source}: the path does not exist")
    else:
        parts = _hub_parts(source, text_column, streaming)
    if not any(part.split == "train" for part in parts):
        raise InputError(f"corpus {source} has no text to train on, only held-out files")
    return Corpus(source, parts, validation_share)


def load_corpus(source: str = PYTHON_DOCS, text_column: str = "text") -> Texts:
    """A corpus in memory, for short runs, in an order of documents that is always the same.

    Args:
        source: as of ``open_corpus``.
        text_column: column of parquet, arrow and jsonl that holds the text.

    Raises:
        InputError: as of ``open_corpus``; and where there is no text to train or to validate on.
    """
    documents: dict[Split, list[str]] = {"train": [], "validation": []}
    for split, text in open_corpus(source, text_column).labelled():
        documents[split].append(text)
    for split, texts in documents.items():
        if not texts:
            raise InputError(
                f"corpus {source} has no text to {split.replace('ion', 'e')} on; use more documents"
            )
    train = documents["train"]
    if source != PYTHON_DOCS:
        # files are often sorted, and short runs read a part of the corpus only
        train = [train[i] for i in np.random.default_rng(0).permutation(len(train))]
    return Texts(source, train, documents["validation"])


def first_texts(source: str, count: int, text_column: str = "text") -> list[str]:
    """The first texts of a file, or of a folder's files in turn; no more is read than that.

    Args:
        source: a file or folder of txt (one text a line), jsonl, parquet or arrow, compressed or not.
        count: how many, or as many as there are.
        text_column: column of parquet, arrow and jsonl that holds the text.

    Raises:
        InputError: for a missing source or one without a text, an unknown format, or a missing column.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"no texts at {source}: the path does not exist")
    files = _files(path)
    step = -(-len(files) // OPEN_FILES)  # files that lie evenly among all come first, then those behind them

    def in_turn(group: Sequence[Path]) -> Iterator[str | None]:
        parts = [read_texts(file, text_column, by_line=True) for file in group]
        yield from chain.from_iterable(zip_longest(*parts))

    texts = chain.from_iterable(in_turn(files[start::step]) for start in range(step))
    return list(islice((text for text in texts if text is not None), count))


def _python_docs() -> Path:
    packages = python_docs.installed_packages()
    key = key_of([packages, python_docs.CLEANING])

    def build(folder: Path) -> None:
        splits = ("train", "validation")
        found = python_docs.python_docs(list(packages), usable_cores())
        for split, texts in zip(splits, found, strict=True):
            pd.DataFrame({"text": texts}).to_parquet(folder / f"{split}.parquet")

    return build_once(cache_directory() / f"pydocs-{key}", build)


def _files(path: Path) -> list[Path]:
    files = data_files(path, TEXTS) if path.is_dir() else [path]
    if not files or suffix_of(files[0]) not in TEXTS:
        raise InputError(f"{path} holds no parquet, jsonl or txt file (compressed or not)")
    return files


def _splits(path: Path) -> Iterator[tuple[Path, Split]]:
    left = 0
    for file in _files(path):
        part = part_of(file, path) if path.is_dir() else None
        if part == "test":
            left += 1
        else:
            yield file, part or "train"
    if left:
        logging.getLogger("raft").warning("%d files of %s are left out as tests, by their names", left, path)


def _file_part(file: Path, split: Split, column: str) -> Part:
    check_texts(file, column)

    def fingerprint() -> str:
        return key_of([file_digest(file), format_of(file), column])

    return Part(split, partial(read_texts, file, column), fingerprint)


def _hub_parts(source: str, column: str, streaming: bool) -> tuple[Part, ...]:
    found = open_hub(source, column, streaming)
    if not found:
        raise InputError(f"corpus {source} is empty")
    train = "train" if "train" in found else next(iter(found))
    held_out = [name for name in PART_NAMES["validation"] if name in found and name != train][:1]
    chosen: list[tuple[Split, str]] = [("train", train), *(("validation", name) for name in held_out)]
    return tuple(
        Part(split, found[name].texts, partial(key_of, [found[name].fingerprint, column]))
        for split, name in chosen
    )
