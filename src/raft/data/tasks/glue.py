"""The nine GLUE tasks, from a folder in the official layout or from the hub.

The files have quotation marks that are part of the text, so lines are split at tabs and nothing else. GLUE
hides the labels of its test sets: what is scored is the development set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets

from raft.data.hub import load_splits
from raft.data.tasks.records import Columns, LabelFormat, examples_of, file_records, hub_records
from raft.data.tasks.task import Example, Metric, Sentences, Task
from raft.errors import InputError

HUB_NAME = "nyu-mll/glue"
NLI_LABELS = ("entailment", "neutral", "contradiction")
TWO_WAY_LABELS = ("entailment", "not_entailment")


@dataclass(frozen=True)
class GlueTask:
    """What is particular to a task.

    Attributes:
        folder: of its files; also its name in tables.
        metric: of the development set.
        labels: names of the classes in the order of their numbers, as on the hub; None for scores.
        written: the classes as files have them and the official server takes them, where not by name.
        columns: of ``train.tsv`` and ``dev.tsv``.
        hidden: columns of ``test.tsv``, where they are others than these.
        hub: columns of sentences on the hub, where they are others than in the files.
        parts: the ends of the names of development and test sets, each with the name of the file to send.
        low, high: scores that there can be.
        skips_short: whether rows with too few columns are left out, as the official loaders do: QQP has
            some, torn by line breaks.
    """

    folder: str
    metric: Metric
    labels: tuple[str, ...] | None
    written: tuple[str, ...] | None
    columns: Columns
    hidden: Columns | None = None
    hub: Columns | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    low: float = -math.inf
    high: float = math.inf
    skips_short: bool = False

    @property
    def file_labels(self) -> LabelFormat:
        """Labels in files."""
        return LabelFormat(self.written or self.labels, self.low, self.high)

    @property
    def sets(self) -> Mapping[str, str]:
        """``parts``, for all tasks."""
        return self.parts or {"": self.folder}


BINARY = ("0", "1")
PAIR = Columns("sentence1", "sentence2")

GLUE = {
    "cola": GlueTask(
        folder="CoLA",
        metric="matthews",
        labels=("unacceptable", "acceptable"),
        written=BINARY,
        columns=Columns(3, None, 1),
        hidden=Columns("sentence"),
        hub=Columns("sentence"),
    ),
    "sst2": GlueTask(
        folder="SST-2",
        metric="accuracy",
        labels=("negative", "positive"),
        written=BINARY,
        columns=Columns("sentence"),
    ),
    "mrpc": GlueTask(
        folder="MRPC",
        metric="accuracy_and_f1",
        labels=("not_equivalent", "equivalent"),
        written=BINARY,
        columns=Columns("#1 String", "#2 String", "Quality"),
        hub=PAIR,
    ),
    "qqp": GlueTask(
        folder="QQP",
        metric="accuracy_and_f1",
        labels=("not_duplicate", "duplicate"),
        written=BINARY,
        columns=Columns("question1", "question2", "is_duplicate"),
        skips_short=True,
    ),
    "stsb": GlueTask(
        folder="STS-B",
        metric="pearson_and_spearman",
        labels=None,
        written=None,
        columns=Columns("sentence1", "sentence2", "score"),
        low=0.0,
        high=5.0,
    ),
    "mnli": GlueTask(
        folder="MNLI",
        metric="accuracy",
        labels=NLI_LABELS,
        written=None,
        columns=Columns("sentence1", "sentence2", "gold_label"),
        hub=Columns("premise", "hypothesis"),
        parts={"_matched": "MNLI-m", "_mismatched": "MNLI-mm"},
    ),
    "qnli": GlueTask(
        folder="QNLI",
        metric="accuracy",
        labels=TWO_WAY_LABELS,
        written=None,
        columns=Columns("question", "sentence"),
    ),
    "rte": GlueTask(folder="RTE", metric="accuracy", labels=TWO_WAY_LABELS, written=None, columns=PAIR),
    "wnli": GlueTask(
        folder="WNLI",
        metric="accuracy",
        labels=("not_entailment", "entailment"),
        written=BINARY,
        columns=PAIR,
    ),
}


def glue_task(name: str) -> GlueTask:
    """A task by its name on the hub or of its folder, in any case: ``sst2``, ``SST-2``.

    Raises:
        InputError: for an unknown task.
    """
    found = GLUE.get(name.lower().replace("-", ""))
    if found is None:
        raise InputError(f"unknown GLUE task {name!r}; known are {', '.join(GLUE)}")
    return found


def load_glue(
    directory: str | Path | None, name: str, hidden: bool = False, option: str = "--glue_dir"
) -> Task:
    """Read one task. Its development set is the test set and also what checkpoints are chosen by.

    MNLI has two: the matched one is the test set, the other is scored beside it.

    Args:
        directory: folder that holds the tasks' folders (or is the task's own); None for the hub.
        name: one of ``GLUE``.
        hidden: read the test sets too, which have no labels, to send predictions.
        option: that names the folder, for messages.

    Raises:
        InputError: for an unknown task, a missing file, or a row that does not fit, with its line number.
    """
    layout = glue_task(name)
    source = _Hub(layout) if directory is None else _Folder(layout, Path(directory).expanduser(), option)
    train, rows = source.examples("train")
    development = {part: source.examples(f"dev{part}")[0] for part in layout.sets}
    first = next(iter(layout.sets))
    return Task(
        layout.folder,
        layout.metric,
        train,
        development[first],
        layout.labels,
        validation=development[first],
        further_tests={layout.sets[part]: found for part, found in development.items() if part != first},
        hidden={file: source.sentences(f"test{part}") for part, file in layout.sets.items() if hidden},
        train_rows=rows,
    )


class _Folder:
    """A task's folder."""

    def __init__(self, layout: GlueTask, directory: Path, option: str) -> None:
        self.layout, self.option = layout, option
        inside = directory / layout.folder
        self.folder = directory if not inside.exists() and (directory / "train.tsv").is_file() else inside

    def examples(self, part: str) -> tuple[list[Example], list[int] | None]:
        path = self._file(part)
        records = file_records(path, self.layout.columns, self.layout.skips_short)
        found = examples_of(records, self.layout.file_labels)
        if not found[0]:
            raise InputError(f"{path} holds no examples with a label")
        return found

    def sentences(self, part: str) -> list[Sentences]:
        columns = replace(self.layout.hidden or self.layout.columns, label=None)
        return [record.sentences for record in file_records(self._file(part), columns) if record is not None]

    def _file(self, part: str) -> Path:
        path = self.folder / f"{part}.tsv"
        if not path.is_file():
            needed = f"{self.layout.folder}/train.tsv and dev{next(iter(self.layout.sets))}.tsv"
            raise InputError(f"no GLUE file {path}; {self.option} must hold {needed}")
        return path


class _Hub:
    """A task's splits on the hub."""

    def __init__(self, layout: GlueTask) -> None:
        self.layout = layout
        self.source = f"{HUB_NAME}:{next(name for name, known in GLUE.items() if known is layout)}"
        self.splits = load_splits(self.source)
        self.columns = replace(layout.hub or layout.columns, label="label")

    def examples(self, part: str) -> tuple[list[Example], list[int] | None]:
        split = part.replace("dev", "validation")
        records = hub_records(self.source, split, self._split(split), self.columns)
        found = examples_of(records, LabelFormat(self.layout.labels, self.layout.low, self.layout.high))
        if not found[0]:
            raise InputError(f"{self.source}, {split} holds no examples with a label")
        return found

    def sentences(self, part: str) -> list[Sentences]:
        columns = replace(self.columns, label=None)
        return [row.sentences for row in hub_records(self.source, part, self._split(part), columns)]

    def _split(self, name: str) -> datasets.Dataset:
        if name not in self.splits:
            raise InputError(f"{self.source} has no split {name!r}, only {', '.join(self.splits)}")
        return self.splits[name]
