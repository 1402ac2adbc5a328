"""Datasets of the Hugging Face hub, downloaded or streamed; an error of loading them is one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
from huggingface_hub import HfApi

from raft.data.files import check_columns
from raft.errors import InputError, first_line


def load_splits(source: str, option: str = "") -> dict[str, datasets.Dataset]:
    """The splits of a hub dataset, by name: downloaded whole, or from the cache of ``datasets``.

    Args:
        source: ``owner/name`` or ``owner/name:configuration``.
        option: that takes a folder of its files, for the message.

    Raises:
        InputError: where there is no such dataset.
    """
    name, _, configuration = source.partition(":")
    with _loading(source, option):
        loaded = datasets.load_dataset(name, configuration or None)
    return {str(name): split for name, split in loaded.items()}


def list_configurations(name: str, option: str = "") -> list[str]:
    """The configurations of a hub dataset, in its order.

    Raises:
        InputError: where there is no such dataset.
    """
    with _loading(name, option):
        return list(datasets.get_dataset_config_names(name))


def stream_splits(source: str) -> tuple[str, dict[str, datasets.IterableDataset]]:
    """The commit that a hub dataset is at now, and its splits as streams; as ``load_splits`` otherwise."""
    name, _, configuration = source.partition(":")
    with _loading(source):
        revision = _revision(name)
        streams = datasets.load_dataset(name, configuration or None, streaming=True, revision=revision)
    return revision, {str(name): stream for name, stream in streams.items()}


def read_columns(
    where: str, split: datasets.Dataset, columns: Sequence[str], rows: int
) -> Iterator[list[list[Any]]]:
    """The values of some columns of a split, one list a column, for so many rows at a time.

    Raises:
        InputError: for a missing column.
    """
    check_columns(where, columns, split.column_names)
    for batch in split.select_columns(list(columns)).with_format("arrow").iter(rows):
        yield [batch.column(name).to_pylist() for name in columns]


@contextmanager
def _loading(source: str, option: str = "") -> Iterator[None]:
    try:
        yield
    except Exception as error:  # every layer below raises its own
        if option:
            message = f"{source} cannot be loaded from the hub: {first_line(error)}; {option} takes its files"
        else:
            message = (
                f"{source} is neither a local path nor a hub dataset that can be loaded: {first_line(error)}"
            )
        raise InputError(message) from error


def _revision(name: str) -> str:
    return str(HfApi().dataset_info(name).sha)
