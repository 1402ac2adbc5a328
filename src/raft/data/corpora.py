"""Text corpora from three sources through one door: installed packages' docstrings, local files, the hub."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import datasets
import pandas as pd

from raft.data import python_docs
from raft.errors import InputError

FORMATS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
VALIDATION_NAMES = ("validation", "valid", "val", "dev")


@dataclass(frozen=True)
class Corpus:
    """Documents to train on and documents that were held out.

    Attributes:
        name: as given by the user.
        train: texts.
        validation: texts of other documents.
    """

    name: str
    train: Sequence[str]
    validation: Sequence[str]


def cache_directory() -> Path:
    """``$RAFT_CACHE``, or ``raft`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "raft"
    return Path(os.environ.get("RAFT_CACHE", default)).expanduser()


def load_corpus(source: str = "pydocs", text_column: str = "text") -> Corpus:
    """Load a corpus, held-out documents included, in an order of documents that is always the same.

    Args:
        source: ``pydocs``; a file or folder of parquet, jsonl or txt, compressed or not; or a hub dataset's
            name, ``owner/name`` or ``owner/name:configuration``. Files and splits named validation (or dev)
            are held out; without any, every twentieth document is, by the hash of its text.
        text_column: column of parquet and jsonl that holds the text.

    Raises:
        InputError: for a missing or empty source, an unknown format, or a missing column.
    """
    if source == "pydocs":
        train, validation = _load_python_docs()
        return _checked(Corpus(source, train, validation))
    path = Path(source).expanduser()
    if path.exists():
        return _checked(_split(source, _load_files(path, text_column), text_column))
    if (
        source.startswith((".", "/", "~"))
        or source.count("/") > 1
        or _format(path)
        or path.suffix in COMPRESSED
    ):
        raise InputError(f"no corpus at {source}: the path does not exist")
    return _checked(_split(source, _load_hub(source, text_column), text_column))


def first_texts(source: str, count: int, text_column: str = "text") -> list[str]:
    """The first texts of a file, or of a folder's files in turn; no more is read than that.

    Args:
        source: a file or folder of txt (one text a line), jsonl or parquet, compressed or not.
        count: how many, or as many as there are.
        text_column: column of parquet and jsonl that holds the text.

    Raises:
        InputError: for a missing source or one without a text, an unknown format, or a missing column.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"no texts at {source}: the path does not exist")
    parts = [_stream(file, text_column) for file in _files(path)]
    in_turn = chain.from_iterable(zip_longest(*parts))
    texts = list(islice((text for text in in_turn if text is not None), count))
    if not texts:
        raise InputError(f"{source} holds no text")
    return texts


def _stream(file: Path, text_column: str) -> Iterator[str]:
    kind = _format(file)
    if file.stat().st_size == 0:
        return
    try:
        column = "text" if kind == "text" else text_column
        for row in datasets.load_dataset(kind, data_files=str(file), split="train", streaming=True):
            if column not in row:
                raise InputError(f"{file} has no column {column!r}, only {', '.join(row)}")
            if not isinstance(row[column], (str, type(None))):
                raise InputError(f"column {column!r} of {file} holds {type(row[column]).__name__}, not text")
            if row[column] and row[column].strip():
                yield row[column]
    except InputError:
        raise
    except Exception as error:  # every reader raises its own
        raise _unreadable(file, kind, error) from error


def _checked(corpus: Corpus) -> Corpus:
    for texts, purpose in ((corpus.train, "train"), (corpus.validation, "validate")):
        if len(texts) == 0:
            raise InputError(f"corpus {corpus.name} has no text to {purpose} on; use more documents")
    return corpus


def _load_python_docs() -> tuple[list[str], list[str]]:
    packages = python_docs.installed_packages()
    key = hashlib.sha256(json.dumps([packages, python_docs.CLEANING]).encode()).hexdigest()[:16]
    cached = cache_directory() / f"pydocs-{key}.parquet"
    if not cached.exists():
        train, validation = python_docs.python_docs(list(packages))
        splits = ["train"] * len(train) + ["validation"] * len(validation)
        cached.parent.mkdir(parents=True, exist_ok=True)
        unfinished = cached.with_suffix(f".{os.getpid()}.tmp")
        pd.DataFrame({"text": train + validation, "split": splits}).to_parquet(unfinished)
        unfinished.replace(cached)
    table = pd.read_parquet(cached)
    return tuple(table.text[table.split == split].tolist() for split in ("train", "validation"))  # type: ignore


def _format(path: Path) -> str | None:
    suffixes = [suffix for suffix in path.suffixes if suffix not in COMPRESSED]
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _files(path: Path) -> list[Path]:
    files = sorted(p for p in path.rglob("*") if p.is_file() and _format(p)) if path.is_dir() else [path]
    if not files or not _format(files[0]):
        raise InputError(f"{path} holds no parquet, jsonl or txt file (compressed or not)")
    return files


def _load_files(path: Path, text_column: str) -> dict[str, datasets.Dataset]:
    files = _files(path)
    splits: dict[str, list[Path]] = {"train": [], "validation": []}
    for file in files:
        names = {
            file.name.lower().split(".")[0].split("-")[0],
            file.parent.name.lower() if path != file else "",
        }
        splits["validation" if path.is_dir() and names & set(VALIDATION_NAMES) else "train"].append(file)
    loaded = {}
    for split, members in splits.items():
        parts = [_load_file(file, text_column) for file in members]
        parts = [part for part in parts if len(part)]
        if parts:
            loaded[split] = datasets.concatenate_datasets(parts)
    return loaded


def _load_file(file: Path, text_column: str) -> datasets.Dataset:
    kind = _format(file)
    if file.stat().st_size == 0:
        return datasets.Dataset.from_dict({text_column: []})
    options: dict[str, Any] = {"sample_by": "paragraph"} if kind == "text" else {}
    try:
        part = datasets.load_dataset(kind, data_files=str(file), split="train", **options)
    except Exception as error:  # every reader raises its own
        raise _unreadable(file, kind, error) from error
    if kind == "text" and text_column != "text":
        part = part.rename_column("text", text_column)
    return _texts(part, str(file), text_column)


def _unreadable(file: Path, kind: str | None, error: Exception) -> InputError:
    return InputError(f"cannot read {file} as {kind}: {str(error.__cause__ or error).splitlines()[0]}")


def _texts(part: datasets.Dataset, name: str, text_column: str) -> datasets.Dataset:
    """The documents that hold text, as plain strings: formats differ in how they store them."""
    if text_column not in part.column_names:
        raise InputError(f"{name} has no column {text_column!r}, only {', '.join(part.column_names)}")
    kind = part.features[text_column]
    if getattr(kind, "dtype", None) not in ("string", "large_string"):
        raise InputError(f"column {text_column!r} of {name} holds {kind}, not text")
    part = part.select_columns([text_column]).cast(datasets.Features({text_column: datasets.Value("string")}))
    return part.filter(lambda text: bool(text and text.strip()), input_columns=[text_column])


def _load_hub(source: str, text_column: str) -> dict[str, datasets.Dataset]:
    name, _, configuration = source.partition(":")
    try:
        loaded = datasets.load_dataset(name, configuration or None)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{source} is neither a local path nor a hub dataset that can be loaded: {reason}"
        ) from error
    return {split: _texts(part, source, text_column) for split, part in loaded.items()}


def _split(name: str, splits: dict[str, datasets.Dataset], text_column: str) -> Corpus:
    if not splits:
        raise InputError(f"corpus {name} is empty")
    train = next(iter(splits.values())) if "train" not in splits else splits["train"]
    held_out = next(
        (splits[key] for key in VALIDATION_NAMES if key in splits and splits[key] is not train), None
    )
    if held_out is None:
        texts = train[text_column]
        marks = [python_docs.is_validation(text) for text in texts]
        held_out = train.select([i for i, mark in enumerate(marks) if mark])
        train = train.select([i for i, mark in enumerate(marks) if not mark])
    # files are often sorted, and short runs read a part of the corpus only
    return Corpus(name, train.shuffle(seed=0)[text_column], held_out[text_column])
