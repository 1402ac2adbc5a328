"""GLUE tasks from a folder in the official layout: ``<folder>/<TASK>/train.tsv`` and ``dev.tsv``.

The files have quotation marks that are part of the text, so lines are split at tabs and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raft.data.tasks import Example, Metric, Task
from raft.errors import InputError


@dataclass(frozen=True)
class GlueFormat:
    """Where a task's sentences and label stand; columns are names, or numbers where the file has no
    header."""

    folder: str
    metric: Metric
    first: str | int
    second: str | int | None
    label: str | int
    labels: tuple[str, str] = ("0", "1")


FORMATS = {
    "cola": GlueFormat("CoLA", "matthews", 3, None, 1),
    "mrpc": GlueFormat("MRPC", "accuracy_and_f1", "#1 String", "#2 String", "Quality"),
    "rte": GlueFormat("RTE", "accuracy", "sentence1", "sentence2", "label", ("entailment", "not_entailment")),
}


def load_glue(directory: str | Path, name: str) -> Task:
    """Read one task; the official development set is the test set, as GLUE's own test labels are hidden.

    Args:
        directory: folder that holds the tasks' folders.
        name: one of ``FORMATS``.

    Raises:
        InputError: for an unknown task, a missing file, or a row that does not fit, with its line number.
    """
    if name not in FORMATS:
        raise InputError(f"unknown GLUE task {name!r}; known are {', '.join(FORMATS)}")
    layout = FORMATS[name]
    folder = Path(directory).expanduser() / layout.folder
    train, test = (_read(folder / file, layout) for file in ("train.tsv", "dev.tsv"))
    return Task(layout.folder, layout.metric, train, test)


def _read(path: Path, layout: GlueFormat) -> list[Example]:
    if not path.is_file():
        raise InputError(f"no GLUE file {path}; --glue_dir must hold {layout.folder}/train.tsv and dev.tsv")
    try:
        rows = [line.rstrip("\r").split("\t") for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    if rows and rows[-1] == [""]:
        rows.pop()
    columns = [layout.first, layout.label] + ([] if layout.second is None else [layout.second])
    header = rows[0] if rows and isinstance(layout.first, str) else None
    if header is not None:
        missing = [column for column in columns if column not in header]
        if missing:
            raise InputError(f"{path}, line 1: no column {missing[0]!r} in the header")
    places = {
        column: column if isinstance(column, int) else (header or []).index(column) for column in columns
    }
    width = len(header) if header is not None else max(places.values()) + 1

    examples = []
    for number, row in enumerate(rows, start=1):
        if header is not None and number == 1:
            continue
        if len(row) != width:
            raise InputError(f"{path}, line {number}: {len(row)} columns where {width} are expected")
        label = row[places[layout.label]]
        if label not in layout.labels:
            raise InputError(f"{path}, line {number}: label {label!r} is none of {', '.join(layout.labels)}")
        second = None if layout.second is None else row[places[layout.second]]
        examples.append(Example(row[places[layout.first]], second, layout.labels.index(label)))
    if not examples:
        raise InputError(f"{path} holds no examples")
    return examples
