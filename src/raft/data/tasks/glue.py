"""The nine GLUE tasks, from a folder in the official layout or from the hub.

Quotation marks in the files are text, so lines are split at tabs alone. GLUE hides the labels of its test
sets: the development set is scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets

from raft.data.hub import load_splits
from raft.data.tasks.records import (
    Columns,
    Examples,
    LabelFormat,
    Record,
    file_records,
    hub_records,
    make_examples,
)
from raft.data.tasks.task import Metric, Sentences, Task
from raft.errors import InputError

HUB_NAME = "nyu-mll/glue"
NLI_LABELS = ("entailment", "neutral", "contradiction")
TWO_WAY_LABELS = ("entailment", "not_entailment")


@dataclass(frozen=True)
class GlueTask:
    """Files, columns and labels of one task.

    Attributes:
        folder: of its files; also its name in tables.
        metric: of the development set.
        labels: names of the classes in the order of their numbers, as on the hub; None for scores.
        written: the classes as written in files and submissions, where not by name.
        columns: of ``train.tsv`` and ``dev.tsv``.
        hidden: columns of ``test.tsv``, where they differ.
        hub: columns of sentences on the hub, where they differ.
        suffixes: of the names of development and test sets, each with the name of its submission file.
        low, high: bounds of scores.
        skips_short: whether rows with too few columns are left out, as by the official loaders: QQP has some,
            torn by line breaks.
    """

    folder: str
    metric: Metric
    labels: tuple[str, ...] | None
    written: tuple[str, ...] | None
    columns: Columns
    hidden: Columns | None = None
    hub: Columns | None = None
    suffixes: Mapping[str, str] = field(default_factory=dict)
    low: float = -math.inf
    high: float = math.inf
    skips_short: bool = False

    @property
    def file_labels(self) -> LabelFormat:
        """How files write the labels."""
        return LabelFormat(self.written or self.labels, self.low, self.high)

    @property
    def test_sets(self) -> Mapping[str, str]:
        """``suffixes``, or the one set of a task without any."""
        return self.suffixes or {"": self.folder}


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
        suffixes={"_matched": "MNLI-m", "_mismatched": "MNLI-mm"},
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


def load_glue(
    directory: str | Path | None, name: str, hidden: bool = False, option: str = "--data_dir"
) -> Task:
    """Read one task. Its development set serves as test set and for choosing checkpoints.

    MNLI has two: the matched one is the test set, the other is a further test.

    Args:
        directory: folder that holds the tasks' folders (or is the task's own); None for the hub.
        name: one of ``GLUE``.
        hidden: also read the test sets without labels, for submissions.
        option: that names the folder, for messages.

    Raises:
        InputError: for a missing file, or a row that does not fit, with its line number.
    """
    layout = GLUE[name]
    source = (
        _Hub(name, option) if directory is None else _Folder(layout, Path(directory).expanduser(), option)
    )
    train, rows = source.examples("train")
    development = {suffix: source.examples(f"dev{suffix}")[0] for suffix in layout.test_sets}
    first = next(iter(layout.test_sets))
    return Task(
        layout.folder,
        layout.metric,
        train,
        development[first],
        layout.labels,
        validation=development[first],
        further_tests={
            layout.test_sets[suffix]: examples for suffix, examples in development.items() if suffix != first
        },
        hidden={
            file: source.sentences(f"test{suffix}") for suffix, file in layout.test_sets.items() if hidden
        },
        train_rows=rows,
    )


class _Folder:
    """A task's folder."""

    def __init__(self, layout: GlueTask, directory: Path, option: str) -> None:
        self.layout, self.option = layout, option
        inside = directory / layout.folder
        self.folder = directory if not inside.exists() and (directory / "train.tsv").is_file() else inside

    def examples(self, name: str) -> Examples:
        path = self._file(name)
        records = file_records(path, self.layout.columns, self.layout.skips_short)
        return _labelled(str(path), records, self.layout.file_labels)

    def sentences(self, name: str) -> list[Sentences]:
        columns = replace(self.layout.hidden or self.layout.columns, label=None)
        return _unlabelled(str(self._file(name)), file_records(self._file(name), columns))

    def _file(self, name: str) -> Path:
        path = self.folder / f"{name}.tsv"
        if not path.is_file():
            needed = f"{self.layout.folder}/train.tsv and dev{next(iter(self.layout.test_sets))}.tsv"
            raise InputError(f"no GLUE file {path}; {self.option} must hold {needed}")
        return path


class _Hub:
    """A task's splits on the hub."""

    def __init__(self, name: str, option: str) -> None:
        self.layout = layout = GLUE[name]
        self.source = f"{HUB_NAME}:{name}"
        self.splits = load_splits(self.source, option)
        self.columns = replace(layout.hub or layout.columns, label="label")

    def examples(self, name: str) -> Examples:
        split = name.replace("dev", "validation")
        records = hub_records(self.source, split, self._split(split), self.columns)
        labels = LabelFormat(self.layout.labels, self.layout.low, self.layout.high)
        return _labelled(f"{self.source}, {split}", records, labels)

    def sentences(self, name: str) -> list[Sentences]:
        columns = replace(self.columns, label=None)
        records = hub_records(self.source, name, self._split(name), columns)
        return _unlabelled(f"{self.source}, {name}", records)

    def _split(self, name: str) -> datasets.Dataset:
        if name not in self.splits:
            raise InputError(f"{self.source} has no split {name!r}, only {', '.join(self.splits)}")
        return self.splits[name]


def _labelled(where: str, records: Iterable[Record | None], labels: LabelFormat) -> Examples:
    examples, rows = make_examples(records, labels)
    if not examples:
        raise InputError(f"{where} holds no examples with a label")
    return examples, rows


def _unlabelled(where: str, records: Iterable[Record | None]) -> list[Sentences]:
    sentences = [record.sentences for record in records if record is not None]
    if not sentences:
        raise InputError(f"{where} holds no sentences")
    return sentences
