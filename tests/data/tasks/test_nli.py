"""SNLI from folders in its layouts and from the hub."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from raft.data.tasks.nli import load_snli
from raft.data.tasks.task import Example
from raft.errors import InputError

EXAMPLES = [Example("A", 'B "b', 2), Example("C", "D", 0)]
PLAIN = 'premise\thypothesis\tlabel\nA\tB "b\tcontradiction\nX\tY\t-\nC\tD\tentailment\n'
PARSES = "\t".join(f"sentence{n}_{kind}" for kind in ("binary_parse", "parse") for n in (1, 2))
VOTES = "\t".join(f"label{n}" for n in range(1, 6))


def official(row: str) -> str:
    """A row of ``snli_1.0_train.txt``: label, four parses, two sentences, two names, five votes."""
    label, first, second = row.split("\t")
    return "\t".join(
        [label, "(", "(", "(", "(", first, second, "7.jpg#1", "7.jpg#1r1n", "neutral", *[""] * 4]
    )


OFFICIAL = "\n".join(
    [
        f"gold_label\t{PARSES}\tsentence1\tsentence2\tcaptionID\tpairID\t{VOTES}",
        *map(official, ('contradiction\tA\tB "b', "-\tX\tY", "entailment\tC\tD")),
    ]
)


def test_the_real_files(shared_data: Path) -> None:
    task = load_snli(shared_data / "snli")
    assert (len(task.train), len(task.test), task.validation) == (9842, 9824, None)
    counts = [sum(example.label == label for example in task.test) for label in range(3)]
    assert counts == [3368, 3219, 3237]
    assert task.labels == ("entailment", "neutral", "contradiction")
    assert load_snli(shared_data) == task


@pytest.mark.parametrize(
    ("name", "text"), [("{}.tsv", PLAIN), ("snli_1.0_{}.txt", OFFICIAL), ("SNLI/{}.tsv", OFFICIAL)]
)
def test_rows_without_a_gold_label_are_left_out(name: str, text: str, tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        path = tmp_path / name.format(part)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    task = load_snli(tmp_path)
    assert task.train == task.validation == task.test == EXAMPLES
    assert task.train_rows == [0, 2]


def test_a_test_set_alone_is_enough_to_judge(tmp_path: Path) -> None:
    (tmp_path / "test.tsv").write_text(PLAIN)
    task = load_snli(tmp_path)
    assert (task.train, task.validation, task.test) == ([], None, EXAMPLES)


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["entailment", "neutral", "contradiction"]
    features = datasets.Features(
        premise=datasets.Value("string"),
        hypothesis=datasets.Value("string"),
        label=datasets.ClassLabel(names=names),
    )
    rows = {"premise": ["A", "X", "C"], "hypothesis": ['B "b', "Y", "D"], "label": [2, -1, 0]}
    part = datasets.Dataset.from_dict(rows, features=features)
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_: {"test": part, "validation": part, "train": part}
    )
    task = load_snli(None)
    assert task.train == task.validation == task.test == EXAMPLES
    assert task.train_rows == [0, 2]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no SNLI test set in .*; --data_dir must hold test.tsv"):
        load_snli(tmp_path)
    (tmp_path / "test.tsv").write_text(PLAIN + "A\tB\tmaybe\n")
    with pytest.raises(InputError, match=r"test.tsv, line 5: label 'maybe' is none of entailment, neutral"):
        load_snli(tmp_path)
