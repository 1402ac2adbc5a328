"""Text corpora: docstrings of installed packages, local files, or hub datasets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice, zip_longest
from pathlib import Path

import pandas as pd

from raft.data.cache import build_once, cache_directory, file_digest, key_of
from raft.data.files import data_files, format_of, is_data_path, suffix_of
from raft.data.splits import TrainOrValidation, find_split, split_of
from raft.data.text import python_docs
from raft.data.text.encoding import usable_cores
from raft.data.text.hub_texts import open_hub
from raft.data.text.readers import TEXTS, Shard, check_texts, read_texts
from raft.errors import InputError

PYTHON_DOCS = "pydocs"
OPEN_FILES = 64
"""Files of a folder that are open at once while its first texts are read."""


@dataclass(frozen=True)
class Corpus:
    """Documents of any number: read one after the other, never held.

    Attributes:
        name: as given by the user.
        train: shards to train on, in the order in which they are read.
        validation: held-out shards; empty where a share of the documents is held out instead.
        validation_share: of the documents that is held out, by the hash of their text.
    """

    name: str
    train: tuple[Shard, ...]
    validation: tuple[Shard, ...] = ()
    validation_share: float = python_docs.VALIDATION_SHARE

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all documents and of their split; computed once."""
        with ThreadPoolExecutor() as threads:
            fingerprints = list(threads.map(lambda shard: shard.fingerprint(), self.train + self.validation))
        splits = ["train"] * len(self.train) + ["validation"] * len(self.validation)
        return key_of([splits, fingerprints, None if self.validation else self.validation_share])

    def split_documents(self) -> Iterator[tuple[TrainOrValidation, str]]:
        """Every document with its split; held-out shards come first, for those who stop early."""
        for shard in self.validation:
            for text in shard.texts():
                yield "validation", text
        for shard in self.train:
            for text in shard.texts():
                is_held_out = not self.validation and python_docs.is_validation(text, self.validation_share)
                yield "validation" if is_held_out else "train", text

    def documents(self, split: TrainOrValidation) -> Iterator[str]:
        """The texts of ``train`` or ``validation``."""
        if self.validation:
            for shard in self.validation if split == "validation" else self.train:
                yield from shard.texts()
        else:
            yield from (text for label, text in self.split_documents() if label == split)


def open_corpus(
    source: str = PYTHON_DOCS,
    text_column: str = "text",
    validation_share: float = python_docs.VALIDATION_SHARE,
    streaming: bool = False,
) -> Corpus:
    """Open a corpus of any size; little more is read than the names of its files.

    Args:
        source: ``pydocs``; a file or folder of parquet, jsonl or txt, compressed or not (gz, bz2, xz,
            zst), or what ``save_to_disk`` of ``datasets`` wrote; or a hub dataset's name, ``owner/name`` or
            ``owner/name:configuration``. Of a folder, files whose names, or folders', hold the word
            validation, valid, val, dev, eval or evaluation are held out; those with the word test, hidden
            files, and files about the data (README, LICENSE, ``dataset_info.json``) are left out; without
            held-out files, a share of the documents is held out, by the hash of their text.
        text_column: column of parquet, arrow and jsonl that holds the text.
        validation_share: between 0 and 1.
        streaming: read a hub dataset as it arrives, and cache it, instead of downloading it first.

    Raises:
        InputError: for a missing source, an unknown format, an empty or broken file, or a missing column.
    """
    if not 0 < validation_share < 1:
        raise InputError(f"--validation_share must be between 0 and 1, not {validation_share}")
    path = _python_docs() if source == PYTHON_DOCS else Path(source).expanduser()
    if path.exists():
        if streaming:
            raise InputError(f"--streaming is of hub datasets, and {source} is here already: leave it out")
        train, validation = _file_shards(path, text_column)
    elif is_data_path(source):
        raise InputError(f"no corpus at {source}: the path does not exist")
    else:
        train, validation = _hub_shards(source, text_column, streaming)
    if not train:
        raise InputError(f"corpus {source} has no text to train on, only held-out files")
    return Corpus(source, train, validation, validation_share)


def first_texts(source: str, count: int, text_column: str = "text") -> list[str]:
    """Read the first texts of a file, or of a folder's files in turn, and no more.

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
    step = -(-len(files) // OPEN_FILES)  # each group of files lies evenly among all

    def interleave(group: Sequence[Path]) -> Iterator[str | None]:
        readers = [read_texts(file, text_column, by_line=True) for file in group]
        yield from chain.from_iterable(zip_longest(*readers))

    texts = chain.from_iterable(interleave(files[start::step]) for start in range(step))
    return list(islice((text for text in texts if text is not None), count))


def _python_docs() -> Path:
    packages = python_docs.installed_packages()
    key = key_of([packages, python_docs.CLEANING])

    def build(folder: Path) -> None:
        documents = python_docs.python_docs(list(packages), usable_cores())
        for split, texts in zip(("train", "validation"), documents, strict=True):
            pd.DataFrame({"text": texts}).to_parquet(folder / f"{split}.parquet")

    return build_once(cache_directory() / f"pydocs-{key}", build)


def _files(path: Path) -> list[Path]:
    files = data_files(path, TEXTS) if path.is_dir() else [path]
    if not files or suffix_of(files[0]) not in TEXTS:
        raise InputError(f"{path} holds no parquet, jsonl or txt file (compressed or not)")
    return files


def _file_shards(path: Path, column: str) -> tuple[tuple[Shard, ...], tuple[Shard, ...]]:
    """Shards of train and of validation."""
    shards: dict[TrainOrValidation, list[Shard]] = {"train": [], "validation": []}
    tests = 0
    for file in _files(path):
        split = split_of(file, path) if path.is_dir() else None
        if split == "test":
            tests += 1
        else:
            shards[split or "train"].append(_file_shard(file, column))
    if tests:
        logging.getLogger("raft").warning("%d files of %s are left out as tests, by their names", tests, path)
    return tuple(shards["train"]), tuple(shards["validation"])


def _file_shard(file: Path, column: str) -> Shard:
    check_texts(file, column)
    return Shard(
        partial(read_texts, file, column), lambda: key_of([file_digest(file), format_of(file), column])
    )


def _hub_shards(source: str, column: str, streaming: bool) -> tuple[tuple[Shard, ...], tuple[Shard, ...]]:
    shards = open_hub(source, column, streaming)
    if not shards:
        raise InputError(f"corpus {source} is empty")
    train = "train" if "train" in shards else next(iter(shards))
    validation = find_split("validation", [name for name in shards if name != train])
    return (shards[train],), () if validation is None else (shards[validation],)
