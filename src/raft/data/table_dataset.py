"""Any classification or regression data set, by path or hub name and the names of its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import datasets
import numpy as np

from raft.data.corpora import VALIDATION_NAMES, words_of
from raft.data.hub import load_splits
from raft.data.records import (
    TABLES,
    Columns,
    LabelFormat,
    Record,
    class_name,
    column_names,
    examples_of,
    file_records,
    hub_records,
)
from raft.data.subsets import SPLIT_SEED
from raft.data.tasks import Example, Metric, Task
from raft.errors import InputError

TEST_SHARE = 0.2
MOST_CLASSES = 20
"""Above which a data set that has a class for every second example is taken for a regression."""

PART_NAMES = {"train": ("train", "training"), "validation": VALIDATION_NAMES, "test": ("test",)}

Records = list[Record | None]


def load_table(
    source: str,
    text: str = "text",
    second_text: str | None = None,
    label: str = "label",
    labels: Sequence[str] | None = None,
    regression: bool = False,
    metric: Metric | None = None,
) -> Task:
    """A task made of a data set's columns.

    What is scored is its test set; the validation set where the labels of that are not given, as on the hub's
    GLUE; or, where there is a training set only, a fifth of it that is the same at every time.

    Args:
        source: a csv, tsv (whose quotation marks are text), jsonl or parquet file; a folder of such, whose
            names hold the words ``train``, ``validation`` (``dev``) and ``test``; or a hub dataset's name,
            ``owner/name`` or ``owner/name:configuration``.
        text: column of the sentence, or the first of two.
        second_text: column of the second sentence.
        label: column of the class or score.
        labels: the classes in the order of their numbers; otherwise those that the training set has, sorted.
        regression: whether to predict scores.
        metric: otherwise accuracy, or Pearson's and Spearman's correlation for a regression.

    Raises:
        InputError: for what cannot be found or read, a missing column, a row that does not fit, or classes
            that make no task.
    """
    columns = Columns(text, second_text, label)
    path = Path(source).expanduser()
    if path.exists():
        parts = {part: _read(part, files, columns) for part, files in _files(path).items()}
        name = path.stem if path.is_file() else path.resolve().name
    elif source.startswith((".", "/", "~")) or source.count("/") > 1 or path.suffix in TABLES:
        raise InputError(f"no data set at {source}: the path does not exist")
    else:
        splits = load_splits(source)
        parts, name = _hub_parts(source, splits, columns), source
        labels = labels or _hub_classes(splits, label)
    if "train" not in parts:
        raise InputError(f"{source} has no training set, only {', '.join(parts)}")
    for part, found in parts.items():
        if not found:
            raise InputError(f"{source}: the {part} set holds no rows; fill or remove it")
    hidden = [part for part in parts if all(record is None or record.label is None for record in parts[part])]
    if "train" in hidden:
        raise InputError(f"{source} has no labelled training examples")
    classes = None if regression else tuple(labels or _classes(source, parts["train"]))
    if classes is not None and len(set(classes)) < max(2, len(classes)):
        raise InputError(f"a task needs two or more different classes, not {', '.join(classes)}")
    made = {part: examples_of(parts[part], LabelFormat(classes)) for part in parts if part not in hidden}

    train, rows = made["train"]
    validation = made["validation"][0] if "validation" in made else None
    test = made["test"][0] if "test" in made else validation
    if test is None:
        train, rows, test = _split(source, train, rows)
    return Task(
        name,
        metric or ("pearson_and_spearman" if regression else "accuracy"),
        train,
        test,
        classes,
        validation=validation,
        hidden={part: [record.sentences for record in parts[part] if record] for part in hidden},
        train_rows=rows,
    )


def _files(path: Path) -> dict[str, list[Path]]:
    """The files of each part."""
    if path.is_file():
        return {"train": [path]}
    found: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()):
        words = words_of(file.name)
        part = next((part for part, names in PART_NAMES.items() if words & set(names)), None)
        if part is not None and file.suffix in TABLES:
            found.setdefault(part, []).append(file)
    if not found:
        raise InputError(f"{path} holds no train{TABLES[0]} (or {', '.join(TABLES[1:])}) to read")
    return found


def _read(part: str, files: list[Path], columns: Columns) -> Records:
    if part == "test" and columns.label not in column_names(files[0]):
        columns = replace(columns, label=None)
    return list(chain.from_iterable(file_records(file, columns) for file in files))


def _hub_parts(source: str, splits: Mapping[str, datasets.Dataset], columns: Columns) -> dict[str, Records]:
    parts: dict[str, Records] = {}
    for part, names in PART_NAMES.items():
        name = next((name for name in names if name in splits), None)
        if name is not None:
            without = part == "test" and columns.label not in splits[name].column_names
            wanted = replace(columns, label=None) if without else columns
            parts[part] = list(hub_records(source, name, splits[name], wanted))
    return parts


def _hub_classes(splits: Mapping[str, datasets.Dataset], label: str) -> list[str] | None:
    """The classes in the data set's own order, where it has one."""
    features = (part.features.get(label) for part in splits.values())
    return next((list(f.names) for f in features if isinstance(f, datasets.ClassLabel)), None)


def _classes(source: str, records: Records) -> list[str]:
    """The classes that there are, in the order of their numbers where all are whole numbers."""
    found = [class_name(record.label) for record in records if record and record.label is not None]
    classes = set(found)
    if len(classes) < 2:
        raise InputError(f"{source} has one class only, {found[0]!r}; a task needs two")
    if len(classes) > max(MOST_CLASSES, len(found) // 2):
        raise InputError(
            f"{source} has {len(classes)} different labels in {len(found)} examples; "
            "is it a regression, or is the label in another column?"
        )
    whole = all(re.fullmatch(r"-?\d+", name) for name in classes)
    return sorted(classes, key=int) if whole else sorted(classes)


def _split(
    source: str, examples: list[Example], rows: list[int] | None
) -> tuple[list[Example], list[int], list[Example]]:
    """Training examples with their rows, and test examples."""
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(examples))
    border = int(TEST_SHARE * len(examples))
    if border == 0:
        raise InputError(f"{source} has {len(examples)} examples, too few to hold out a test set")
    test, train = (sorted(part.tolist()) for part in (shuffled[:border], shuffled[border:]))
    return [examples[i] for i in train], [rows[i] if rows else i for i in train], [examples[i] for i in test]
