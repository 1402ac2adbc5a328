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

from raft.data.files import data_files, is_data_path, stem_of
from raft.data.hub import load_splits
from raft.data.splits import SPLIT_WORDS, Split, find_split, split_of
from raft.data.tasks.records import (
    TABLES,
    Columns,
    LabelFormat,
    Record,
    check_sentences,
    class_key,
    class_name,
    column_names,
    feature_classes,
    file_classes,
    file_records,
    hub_records,
    make_examples,
)
from raft.data.tasks.sampling import SPLIT_SEED, draw_stratified
from raft.data.tasks.task import Example, Metric, Sentences, Task
from raft.errors import InputError

TEST_SHARE = 0.2
MOST_CLASSES = 20
"""With more classes, and one for every second example, the labels are taken for scores."""

Records = list[Record | None]
SplitRecords = dict[Split, Records]


def load_table(
    source: str,
    text: str = "text",
    second_text: str | None = None,
    label: str = "label",
    regression: bool = False,
    metric: Metric | None = None,
) -> Task:
    """Make a task of a data set's columns.

    Its test set is scored; the validation set where the test labels are hidden, as in the hub's GLUE; or a
    fixed fifth of the training set, of each class its share, where that is all there is.

    Args:
        source: a csv, tsv (whose quotation marks are text), jsonl, parquet or arrow file, compressed or not;
            a folder of such, whose names, or folders', hold the words ``train``, ``validation`` (``dev``) and
            ``test``, as a dataset's on the hub and what ``save_to_disk`` of ``datasets`` wrote; or a hub
            dataset's name, ``owner/name`` or ``owner/name:configuration``. Where no name has such a word, all
            is the training set.
        text: column of the sentence, or the first of two.
        second_text: column of the second sentence.
        label: column of the class or score. The classes are those that the data set names, in the order of
            their numbers, or that the training set has, sorted. Equal numbers are one class, and so are
            ``True`` and ``true``; rows without a label are left out, and −1 beside classes from 0 on is none.
        regression: whether to predict scores.
        metric: otherwise accuracy, or Pearson's and Spearman's correlation for a regression.

    Raises:
        InputError: for what cannot be found or read, a missing column, a row that does not fit, or classes
            that make no task.
    """
    columns = Columns(text, second_text, label)
    path = Path(source).expanduser()
    if path.exists():
        files = _split_files(path)
        records = {split: _read_split(split, paths, columns) for split, paths in files.items()}
        named = (file_classes(file, label) for file in chain.from_iterable(files.values()))
        name = stem_of(path) if path.is_file() else path.resolve().name
    elif is_data_path(source):
        raise InputError(f"no data set at {source}: the path does not exist")
    else:
        splits = load_splits(source)
        records, name = _read_hub(source, splits, columns), source
        named = (feature_classes(split.features, label) for split in splits.values())
    labels = next(filter(None, named), None)
    if "train" not in records:
        raise InputError(f"{source} has no training set, only {', '.join(records)}")
    for split, rows in records.items():
        if not rows:
            raise InputError(f"{source}: the {split} set holds no rows; fill or remove it")
    if regression:
        records = _without_hidden_scores(records)
    elif not labels:
        records = _without_minus_one(source, records)
    hidden = {
        split: [record for record in rows if record]
        for split, rows in records.items()
        if all(record is None or record.label is None for record in rows)
    }
    if "train" in hidden:
        raise InputError(f"{source} has no labelled training examples")
    classes = None if regression else tuple(labels or _classes(source, records["train"]))
    if classes is not None and len(set(map(class_key, classes))) < max(2, len(classes)):
        raise InputError(f"a task needs two or more different classes, not {', '.join(classes)}")
    if metric == "accuracy_and_f1" and classes is not None and len(classes) == 2:
        logging.getLogger("raft").warning(
            "%s: F1 is of the class %s, the second of %s", source, classes[1], " and ".join(classes)
        )
    examples = {
        split: make_examples(rows, LabelFormat(classes))
        for split, rows in records.items()
        if split not in hidden
    }
    sentences: dict[str, list[Sentences]] = {}
    for split, unlabelled in hidden.items():
        sentences[split] = [record.sentences for record in unlabelled]
        check_sentences(sentences[split], unlabelled[-1].where)

    train, train_rows = examples["train"]
    validation = examples["validation"][0] if "validation" in examples else None
    test = examples["test"][0] if "test" in examples else validation
    if test is None:
        train, train_rows, test = _hold_out_test(source, train, train_rows)
    return Task(
        name,
        metric or ("pearson_and_spearman" if regression else "accuracy"),
        train,
        test,
        classes,
        validation=validation,
        hidden=sentences,
        train_rows=train_rows,
    )


def _split_files(path: Path) -> dict[Split, list[Path]]:
    """The files of each split; those in subfolders only where the folder itself has none of any split."""
    if path.is_file():
        return {"train": [path]}
    files = data_files(path, TABLES)
    named = [(file, split) for file in files if (split := split_of(file, path)) is not None]
    named = [(file, split) for file, split in named if file.parent == path] or named
    places = {file.parent for file, _ in named}
    if left := [file.name for file in files if file.parent in places and split_of(file, path) is None]:
        logging.getLogger("raft").warning(
            "%s: %s left out: the names hold none of the words train, validation and test",
            path,
            left[0] if len(left) == 1 else f"{left[0]} and {len(left) - 1} more",
        )
    splits: dict[Split, list[Path]] = {}
    for file, split in named or [(file, "train") for file in files]:
        splits.setdefault(split, []).append(file)
    if not splits:
        raise InputError(f"{path} holds no train{TABLES[0]} (or {', '.join(TABLES[1:])}) to read")
    for split, paths in splits.items():
        folders = sorted({str(file.parent.relative_to(path)) for file in paths})
        if len(folders) > 1:
            raise InputError(f"{path} holds a {split} set in each of {', '.join(folders)}; name one of them")
    return splits


def _read_split(split: Split, files: list[Path], columns: Columns) -> Records:
    if split == "test" and columns.label not in column_names(files[0], columns):
        columns = replace(columns, label=None)
    return list(chain.from_iterable(file_records(file, columns) for file in files))


def _read_hub(source: str, splits: Mapping[str, datasets.Dataset], columns: Columns) -> SplitRecords:
    records: SplitRecords = {}
    for split in SPLIT_WORDS:
        if (name := find_split(split, splits)) is not None:
            is_hidden = split == "test" and columns.label not in splits[name].column_names
            wanted = replace(columns, label=None) if is_hidden else columns
            records[split] = list(hub_records(source, name, splits[name], wanted))
    return records


def _without_minus_one(source: str, records: SplitRecords) -> SplitRecords:
    """Remove labels of −1 next to classes from 0 on: the hub marks missing labels so."""
    labels = [record.label for rows in records.values() for record in rows if record]
    keys = {class_key(class_name(label)) for label in labels if label is not None}
    others = keys - {"-1"}
    if not ("-1" in keys and "0" in others and len(others) > 1 and all(map(str.isdecimal, others))):
        return records
    logging.getLogger("raft").warning(
        "%s: -1 stands beside classes from 0 on, and is taken for no label, as on the hub; if it is a class, "
        "write names instead of numbers", source,
    )  # fmt: skip
    return {split: [record and _unlabelled(record) for record in rows] for split, rows in records.items()}


def _without_hidden_scores(records: SplitRecords) -> SplitRecords:
    """Remove the scores of a split that are all −1, as none of the training set is: the hub hides them so."""

    def are_hidden(rows: Records) -> bool:
        return all(record is None or _unlabelled(record).label is None for record in rows)

    if any(record and record != _unlabelled(record) for record in records["train"]):
        return records
    return {
        split: [record and _unlabelled(record) for record in rows] if are_hidden(rows) else rows
        for split, rows in records.items()
    }


def _unlabelled(record: Record) -> Record:
    """The record, without its label where that is −1."""
    is_none = record.label is not None and class_key(class_name(record.label)) == "-1"
    return replace(record, label=None) if is_none else record


def _classes(source: str, records: Records) -> list[str]:
    """The classes in their shortest form, sorted; by their numbers where all are whole."""
    names = [class_name(record.label) for record in records if record and record.label is not None]
    classes: dict[str, str] = {}
    for name in names:
        classes[class_key(name)] = min(classes.get(class_key(name), name), name, key=len)
    if len(classes) < 2:
        raise InputError(f"{source} has one class only, {names[0]!r}; a task needs two")
    if len(classes) > max(MOST_CLASSES, len(names) // 2):
        raise InputError(
            f"{source} has {len(classes)} different labels in {len(names)} examples; "
            "is it a regression, or is the label in another column?"
        )
    _warn_of_similar(source, list(classes.values()))
    are_whole = all(re.fullmatch(r"-?[0-9]+", key) for key in classes)
    return [classes[key] for key in (sorted(classes, key=int) if are_whole else sorted(classes))]


def _warn_of_similar(source: str, classes: Sequence[str]) -> None:
    """Warn of classes that differ by their case alone: they are often one."""
    similar: dict[str, list[str]] = {}
    for name in classes:
        similar.setdefault(name.casefold(), []).append(name)
    for names in similar.values():
        if len(names) > 1:
            logging.getLogger("raft").warning(
                "%s: the classes %s differ by their case alone, and are kept apart", source, ", ".join(names)
            )


def _hold_out_test(
    source: str, examples: list[Example], rows: list[int] | None
) -> tuple[list[Example], list[int], list[Example]]:
    """Training examples with their rows, and test examples."""
    count, everything = int(TEST_SHARE * len(examples)), np.arange(len(examples))
    if count == 0:
        raise InputError(f"{source} has {len(examples)} examples, too few to hold out a test set")
    test = draw_stratified(examples, everything, count, np.random.default_rng(SPLIT_SEED))
    test.sort()
    train = np.setdiff1d(everything, test).tolist()
    return [examples[i] for i in train], [rows[i] if rows else i for i in train], [examples[i] for i in test]
