"""SNLI, from a folder or the hub: natural language inference that GLUE has no part of, for zero-shot tests.

Rows without a gold label (``-``), on which the annotators did not agree, are left out, as is the practice.
Source: Bowman et al. 2015, section 3.
"""

from __future__ import annotations

from pathlib import Path

from raft.data.delimited import read_header
from raft.data.hub import load_splits
from raft.data.tasks.glue import NLI_LABELS
from raft.data.tasks.records import (
    Columns,
    Examples,
    LabelFormat,
    file_records,
    hub_records,
    make_examples,
)
from raft.data.tasks.task import Task
from raft.errors import InputError

HUB_NAME = "stanfordnlp/snli"
FOLDERS = ("", "SNLI", "snli", "snli_1.0")
FILES = ("{}.tsv", "snli_1.0_{}.txt")
COLUMNS = Columns("premise", "hypothesis", "label")
OFFICIAL_COLUMNS = Columns("sentence1", "sentence2", "gold_label")


def load_snli(directory: str | Path | None, option: str = "--data_dir") -> Task:
    """SNLI with its three classes; its test labels are public.

    Args:
        directory: folder that holds ``test.tsv`` (``snli_1.0_test.txt``), or whose folder ``SNLI`` does; the
            same of ``train`` and ``dev``, which may be missing: ``train`` is empty then. None for the hub.
        option: that names the folder, for messages.

    Raises:
        InputError: for a missing file, or a row that does not fit, with its line number.
    """
    if directory is None:
        splits = {
            name: make_examples(hub_records(HUB_NAME, name, split, COLUMNS), LabelFormat(NLI_LABELS))
            for name, split in load_splits(HUB_NAME, option).items()
        }
    else:
        names = {"train": "train", "validation": "dev", "test": "test"}
        files = {split: _find_file(Path(directory).expanduser(), name) for split, name in names.items()}
        splits = {split: _read(path) for split, path in files.items() if path is not None}
    none: Examples = ([], None)
    test = splits.get("test", none)[0]
    if not test:
        raise InputError(f"no SNLI test set in {directory or HUB_NAME}; {option} must hold test.tsv")
    train, rows = splits.get("train", none)
    validation = splits["validation"][0] if "validation" in splits else None
    return Task("SNLI", "accuracy", train, test, NLI_LABELS, validation=validation, train_rows=rows)


def _find_file(directory: Path, name: str) -> Path | None:
    paths = (directory / folder / file.format(name) for folder in FOLDERS for file in FILES)
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> Examples:
    columns = OFFICIAL_COLUMNS if "gold_label" in read_header(path) else COLUMNS
    return make_examples(file_records(path, columns), LabelFormat(NLI_LABELS, undecided="-"))
