"""SNLI, from a folder or the hub: natural language inference that GLUE has no part of, for zero-shot tests.

Rows without a gold label (``-``), on which the annotators did not agree, are left out, as is the practice.
Source: Bowman et al. 2015, section 3.
"""

from __future__ import annotations

from pathlib import Path

from raft.data.delimited import read_header
from raft.data.hub import load_splits
from raft.data.tasks.glue import NLI_LABELS
from raft.data.tasks.records import Columns, LabelFormat, examples_of, file_records, hub_records
from raft.data.tasks.task import Example, Task
from raft.errors import InputError

HUB_NAME = "stanfordnlp/snli"
FOLDERS = ("", "SNLI", "snli", "snli_1.0")
FILES = ("{}.tsv", "snli_1.0_{}.txt")
COLUMNS = Columns("premise", "hypothesis", "label")
OFFICIAL_COLUMNS = Columns("sentence1", "sentence2", "gold_label")

Part = tuple[list[Example], list[int] | None]


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
        splits = load_splits(HUB_NAME)
        records = {name: hub_records(HUB_NAME, name, part, COLUMNS) for name, part in splits.items()}
        parts = {name: examples_of(rows, LabelFormat(NLI_LABELS)) for name, rows in records.items()}
        parts = {name.replace("validation", "dev"): part for name, part in parts.items()}
    else:
        found = {name: _file(Path(directory).expanduser(), name) for name in ("train", "dev", "test")}
        parts = {name: _read(path) for name, path in found.items() if path is not None}
    nothing: Part = ([], None)
    test = parts.get("test", nothing)[0]
    if not test:
        raise InputError(f"no SNLI test set in {directory or HUB_NAME}; {option} must hold test.tsv")
    train, rows = parts.get("train", nothing)
    validation = parts["dev"][0] if "dev" in parts else None
    return Task("SNLI", "accuracy", train, test, NLI_LABELS, validation=validation, train_rows=rows)


def _file(directory: Path, part: str) -> Path | None:
    paths = (directory / folder / file.format(part) for folder in FOLDERS for file in FILES)
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> Part:
    columns = OFFICIAL_COLUMNS if "gold_label" in read_header(path) else COLUMNS
    return examples_of(file_records(path, columns), LabelFormat(NLI_LABELS, undecided="-"))
