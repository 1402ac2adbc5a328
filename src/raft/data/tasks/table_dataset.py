"""Any classification or regression data set, by path or hub name and the names of its columns."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import datasets
import numpy as np

from raft.data.files import PART_NAMES, PartName, bare_name, data_files, is_compressed, part_of, suffix_of
from raft.data.hub import load_splits
from raft.data.tasks.records import (
    TABLES,
    Columns,
    LabelFormat,
    Record,
    check_sentences,
    class_key,
    class_name,
    column_names,
    examples_of,
    feature_classes,
    file_classes,
    file_records,
    hub_records,
)
from raft.data.tasks.subsets import SPLIT_SEED
from raft.data.tasks.task import Example, Metric, Sentences, Task
from raft.errors import InputError

TEST_SHARE = 0.2
MOST_CLASSES = 20
"""Above which a data set that has a class for every second example is taken for a regression."""

Records = list[Record | None]
Parts = dict[PartName, Records]


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
        source: a csv, tsv (whose quotation marks are text), jsonl, parquet or arrow file, compressed or not;
            a folder of such, whose names, or folders', hold the words ``train``, ``validation`` (``dev``) and
            ``test``, as a dataset's on the hub and what ``save_to_disk`` of ``datasets`` wrote; or a hub
            dataset's name, ``owner/name`` or ``owner/name:configuration``. Where no name says what it is for,
            all is the training set.
        text: column of the sentence, or the first of two.
        second_text: column of the second sentence.
        label: column of the class or score.
        labels: the classes in the order of their numbers; otherwise those that the data set names, or that
            the training set has, sorted. Equal numbers are one class, and so are ``True`` and ``true``; rows
            without a label are left out, and −1 beside classes from 0 on is none.
        regression: whether to predict scores.
        metric: otherwise accuracy, or Pearson's and Spearman's correlation for a regression.

    Raises:
        InputError: for what cannot be found or read, a missing column, a row that does not fit, or classes
            that make no task.
    """
    columns = Columns(text, second_text, label)
    path = Path(source).expanduser()
    if path.exists():
        files = _files(path)
        parts = {part: _read(part, found, columns) for part, found in files.items()}
        named = (file_classes(file, label) for found in files.values() for file in found)
        labels = labels or next(filter(None, named), None)
        name = bare_name(path) if path.is_file() else path.resolve().name
    elif (
        source.startswith((".", "/", "~"))
        or source.count("/") > 1
        or suffix_of(path) in TABLES
        or is_compressed(path)
    ):
        raise InputError(f"no data set at {source}: the path does not exist")
    else:
        splits = load_splits(source)
        parts, name = _hub_parts(source, splits, columns), source
        named = (feature_classes(split.features, label) for split in splits.values())
        labels = labels or next(filter(None, named), None)
    if "train" not in parts:
        raise InputError(f"{source} has no training set, only {', '.join(parts)}")
    for part, found in parts.items():
        if not found:
            raise InputError(f"{source}: the {part} set holds no rows; fill or remove it")
    if not regression and not labels:
        parts = _without_minus_one(source, parts)
    hidden = {
        part: [record for record in found if record]
        for part, found in parts.items()
        if all(record is None or record.label is None for record in found)
    }
    if "train" in hidden:
        raise InputError(f"{source} has no labelled training examples")
    classes = None if regression else tuple(labels or _classes(source, parts["train"]))
    if classes is not None and len(set(map(class_key, classes))) < max(2, len(classes)):
        raise InputError(f"a task needs two or more different classes, not {', '.join(classes)}")
    made = {part: examples_of(parts[part], LabelFormat(classes)) for part in parts if part not in hidden}
    sentences: dict[str, list[Sentences]] = {}
    for part, unlabelled in hidden.items():
        sentences[part] = [record.sentences for record in unlabelled]
        check_sentences(sentences[part], unlabelled[-1].where)

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
        hidden=sentences,
        train_rows=rows,
    )


def _files(path: Path) -> dict[PartName, list[Path]]:
    """The files of each part; those that lie deeper only where the folder itself has none of any part."""
    if path.is_file():
        return {"train": [path]}
    files = data_files(path, TABLES)
    named = [(file, part) for file in files if (part := part_of(file, path)) is not None]
    named = [(file, part) for file, part in named if file.parent == path] or named
    found: dict[PartName, list[Path]] = {}
    for file, part in named or [(file, "train") for file in files]:
        found.setdefault(part, []).append(file)
    if not found:
        raise InputError(f"{path} holds no train{TABLES[0]} (or {', '.join(TABLES[1:])}) to read")
    for part, chosen in found.items():
        folders = sorted({str(file.parent.relative_to(path)) for file in chosen})
        if len(folders) > 1:
            raise InputError(f"{path} holds a {part} set in each of {', '.join(folders)}; name one of them")
    return found


def _read(part: PartName, files: list[Path], columns: Columns) -> Records:
    if part == "test" and columns.label not in column_names(files[0], columns):
        columns = replace(columns, label=None)
    return list(chain.from_iterable(file_records(file, columns) for file in files))


def _hub_parts(source: str, splits: Mapping[str, datasets.Dataset], columns: Columns) -> Parts:
    parts: Parts = {}
    for part, names in PART_NAMES.items():
        name = next((name for name in names if name in splits), None)
        if name is not None:
            without = part == "test" and columns.label not in splits[name].column_names
            wanted = replace(columns, label=None) if without else columns
            parts[part] = list(hub_records(source, name, splits[name], wanted))
    return parts


def _without_minus_one(source: str, parts: Parts) -> Parts:
    """On the hub −1 says that there is no label, and files that come from there have it too."""
    labels = [record.label for found in parts.values() for record in found if record]
    keys = {class_key(class_name(label)) for label in labels if label is not None}
    others = keys - {"-1"}
    if not ("-1" in keys and "0" in others and len(others) > 1 and all(map(str.isdecimal, others))):
        return parts
    logging.getLogger("raft").warning(
        "%s: -1 stands beside classes from 0 on, and is taken for no label, as on the hub; if it is a class, "
        "write names instead of numbers", source,
    )  # fmt: skip
    return {part: [record and _unlabelled(record) for record in found] for part, found in parts.items()}


def _unlabelled(record: Record) -> Record:
    """Without its label where that is −1."""
    is_none = record.label is not None and class_key(class_name(record.label)) == "-1"
    return replace(record, label=None) if is_none else record


def _classes(source: str, records: Records) -> list[str]:
    """The classes that there are, in their shortest form; in their numbers' order where all are whole."""
    found = [class_name(record.label) for record in records if record and record.label is not None]
    classes: dict[str, str] = {}
    for name in found:
        classes[class_key(name)] = min(classes.get(class_key(name), name), name, key=len)
    if len(classes) < 2:
        raise InputError(f"{source} has one class only, {found[0]!r}; a task needs two")
    if len(classes) > max(MOST_CLASSES, len(found) // 2):
        raise InputError(
            f"{source} has {len(classes)} different labels in {len(found)} examples; "
            "is it a regression, or is the label in another column?"
        )
    _tell_of_likeness(source, list(classes.values()))
    whole = all(re.fullmatch(r"-?[0-9]+", key) for key in classes)
    return [classes[key] for key in (sorted(classes, key=int) if whole else sorted(classes))]


def _tell_of_likeness(source: str, classes: Sequence[str]) -> None:
    """Classes that differ by their case alone are often one, written by two hands."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(name.casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            logging.getLogger("raft").warning(
                "%s: the classes %s differ by their case alone, and are kept apart", source, ", ".join(names)
            )


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
