"""All GLUE tasks: the official files, folders made here in their layout, and the hub's data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from raft.data.tasks.glue import GLUE, load_glue
from raft.data.tasks.task import Example, Sentences
from raft.errors import InputError

COUNTS = {
    "cola": (8551, 1043),
    "sst2": (6920, 872),
    "mrpc": (3668, 408),
    "stsb": (5749, 1500),
    "rte": (2490, 277),
}

MNLI_START = "index\tpromptID\tpairID\tgenre" + "".join(
    f"\tsentence{n}_{kind}" for kind in ("binary_parse", "parse") for n in (1, 2)
)
HEADERS = {
    "cola": (None, "index\tsentence"),
    "sst2": ("sentence\tlabel", "index\tsentence"),
    "mrpc": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "index\t#1 ID\t#2 ID\t#1 String\t#2 String"),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "id\tquestion1\tquestion2"),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
    ),
    "mnli": (
        f"{MNLI_START}\tsentence1\tsentence2\tlabel1\tgold_label",
        f"{MNLI_START}\tsentence1\tsentence2",
    ),
    "qnli": ("index\tquestion\tsentence\tlabel", "index\tquestion\tsentence"),
    "rte": ("index\tsentence1\tsentence2\tlabel", "index\tsentence1\tsentence2"),
    "wnli": ("index\tsentence1\tsentence2\tlabel", "index\tsentence1\tsentence2"),
}
"""The first lines of the official files, with labels and without."""

ROWS = {
    "cola": (
        'gj04\t1\t\tHe "came.\nx\t0\t*\tCame he.',
        [Example('He "came.', None, 1), Example("Came he.", None, 0)],
    ),
    "sst2": ("good film \t1\nbad\t0", [Example("good film ", None, 1), Example("bad", None, 0)]),
    "mrpc": ('1\t7\t8\tA\tB "b\n0\t1\t2\tC\tD', [Example("A", 'B "b', 1), Example("C", "D", 0)]),
    "qqp": ("0\t1\t2\tA?\tB?\t0\n1\t3\t4\tC?\tD?\t1", [Example("A?", "B?", 0), Example("C?", "D?", 1)]),
    "stsb": (
        "0\tg\tf\ty\t1\ts\ts\tA\tB\t5.000\n1\tg\tf\ty\t1\ts\ts\tC\tD\t0.25",
        [Example("A", "B", 5.0), Example("C", "D", 0.25)],
    ),
    "mnli": (
        "0\t1\t1n\tg\tp\tp\tp\tp\tA\tB\tneutral\tneutral\n1\t1\t1n\tg\tp\tp\tp\tp\tC\tD\tneutral\tcontradiction",
        [Example("A", "B", 1), Example("C", "D", 2)],
    ),
    "qnli": (
        "0\tA?\tB\tentailment\n1\tC?\tD\tnot_entailment",
        [Example("A?", "B", 0), Example("C?", "D", 1)],
    ),
    "rte": ("0\tA\tB\tentailment\n1\tC\tD\tnot_entailment", [Example("A", "B", 0), Example("C", "D", 1)]),
    "wnli": ("0\tA\tB\t1\n1\tC\tD\t0", [Example("A", "B", 1), Example("C", "D", 0)]),
}
"""Two rows of every task, and what they say."""

HUB_COLUMNS = {
    "cola": ("sentence",),
    "sst2": ("sentence",),
    "mrpc": ("sentence1", "sentence2"),
    "qqp": ("question1", "question2"),
    "stsb": ("sentence1", "sentence2"),
    "mnli": ("premise", "hypothesis"),
    "qnli": ("question", "sentence"),
    "rte": ("sentence1", "sentence2"),
    "wnli": ("sentence1", "sentence2"),
}


HUB_LABELS = {
    "cola": ["unacceptable", "acceptable"],
    "sst2": ["negative", "positive"],
    "mrpc": ["not_equivalent", "equivalent"],
    "qqp": ["not_duplicate", "duplicate"],
    "mnli": ["entailment", "neutral", "contradiction"],
    "qnli": ["entailment", "not_entailment"],
    "rte": ["entailment", "not_entailment"],
    "wnli": ["not_entailment", "entailment"],
}


def write(folder: Path, name: str, rows: str | None = None) -> Path:
    """A task's training and development sets."""
    layout, header = GLUE[name], HEADERS[name][0]
    lines = "\n".join(line for line in (header, ROWS[name][0] if rows is None else rows) if line) + "\n"
    (folder / layout.folder).mkdir()
    for part in ("train", *(f"dev{part}" for part in layout.test_sets)):
        (folder / layout.folder / f"{part}.tsv").write_text(lines, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("name", "counts"), COUNTS.items())
def test_the_official_files(name: str, counts: tuple[int, int], shared_data: Path) -> None:
    task = load_glue(shared_data / "glue", name)
    assert (len(task.train), len(task.test)) == counts
    assert task.validation is task.test
    assert task.train_rows is None
    labels = {example.label for example in task.train}
    if task.labels is None:
        assert (min(labels), max(labels)) == (0.0, 5.0)
    else:
        assert labels == set(range(len(task.labels)))
    assert task == load_glue(shared_data / "glue" / GLUE[name].folder, name)


@pytest.mark.parametrize("name", GLUE)
def test_every_task_from_a_folder(name: str, tmp_path: Path) -> None:
    task = load_glue(write(tmp_path, name), name)
    assert task.train == ROWS[name][1]
    assert all(test == task.train for test in task.tests.values())
    assert list(task.tests) == (["MNLI", "MNLI-mm"] if name == "mnli" else [GLUE[name].folder])
    assert task.hidden == {}


@pytest.mark.parametrize("name", GLUE)
def test_hidden_test_sets_have_no_labels(name: str, tmp_path: Path) -> None:
    layout, header = GLUE[name], HEADERS[name][1].split("\t")
    write(tmp_path, name)
    for part in layout.test_sets:
        lines = "\t".join(header) + "\n" + "\t".join(f"a {column}" for column in header) + "\n"
        (tmp_path / layout.folder / f"test{part}.tsv").write_text(lines)
    task = load_glue(tmp_path, name, hidden=True)
    first, *second = ("sentence",) if name in ("cola", "sst2") else header[-2:]
    expected = Sentences(f"a {first}", f"a {second[0]}" if second else None)
    assert task.hidden == {file: [expected] for file in layout.test_sets.values()}


def test_a_hidden_test_set_without_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "rte")
    file = tmp_path / "RTE" / "test.tsv"
    file.write_text("index\tsentence1\tsentence2\n")
    with pytest.raises(InputError, match=f"^{file} holds no sentences$"):
        load_glue(tmp_path, "rte", hidden=True)


@pytest.mark.parametrize("name", GLUE)
def test_the_hub_is_read_by_its_own_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, (_, examples) = GLUE[name], ROWS[name]
    names = HUB_LABELS.get(name)
    kind = datasets.ClassLabel(names=names) if names else datasets.Value("float32")
    columns = HUB_COLUMNS[name]
    features = datasets.Features({**{c: datasets.Value("string") for c in columns}, "label": kind})

    def split(labels: list[Any]) -> datasets.Dataset:
        texts = ([e.first for e in examples], [e.second for e in examples])
        return datasets.Dataset.from_dict(
            {**dict(zip(columns, texts, strict=False)), "label": labels}, features=features
        )

    splits = {"train": split([e.label for e in examples])}
    for part in layout.test_sets:
        splits |= {f"validation{part}": splits["train"], f"test{part}": split([-1] * len(examples))}
    asked: list[Any] = []

    def load_dataset(*arguments: Any) -> dict[str, datasets.Dataset]:
        asked.append(arguments)
        return splits

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = load_glue(None, name, hidden=True)
    assert asked == [("nyu-mll/glue", name)]
    assert task.train == examples
    assert all(test == examples for test in task.tests.values())
    sentences = [Sentences(e.first, e.second) for e in examples]
    assert task.hidden == dict.fromkeys(layout.test_sets.values(), sentences)
    del splits["train"]
    with pytest.raises(InputError, match=f"nyu-mll/glue:{name} has no split 'train', only validation"):
        load_glue(None, name)
    first = next(iter(layout.test_sets))
    splits |= {"train": splits[f"validation{first}"], f"test{first}": splits[f"test{first}"].select([])}
    with pytest.raises(InputError, match=f"^nyu-mll/glue:{name}, test{first} holds no sentences$"):
        load_glue(None, name, hidden=True)


def test_the_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*arguments: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        InputError, match=r"^nyu-mll/glue:rte cannot be .*: no route; --data_dir takes its files$"
    ):
        load_glue(None, "rte")


def test_torn_rows_of_qqp_are_left_out_as_by_the_official_loaders(tmp_path: Path) -> None:
    rows = "0\t1\t2\tA?\tB?\t0\n1\t3\t4\tWhat is\nthis?\tC?\t1\n2\t5\t6\tD?\tE?\t1"
    task = load_glue(write(tmp_path, "qqp", rows), "qqp")
    assert task.train == [Example("A?", "B?", 0), Example("D?", "E?", 1)]
    assert task.train_rows == [0, 3]


def test_line_ends_and_marks_of_other_systems_are_no_part_of_a_row(tmp_path: Path) -> None:
    write(tmp_path, "rte")
    file = tmp_path / "RTE" / "train.tsv"
    file.write_bytes(
        b"\xef\xbb\xbfindex\tsentence1\tsentence2\tlabel\r\n0\tA\xe2\x80\xa8a\tB\tentailment\r\n\r\n"
    )
    assert load_glue(tmp_path, "rte").train == [Example("A\u2028a", "B", 0)]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (
            "stsb",
            "0\tg\tf\ty\t1\ts\ts\tA\tB\t5.001",
            "train.tsv, line 2: score '5.001' is not between 0 and 5",
        ),
        ("stsb", "0\tg\tf\ty\t1\ts\ts\tA\tB\tnan", "train.tsv, line 2: score 'nan' is not finite"),
        ("stsb", "0\tg\tf\ty\t1\ts\ts\tA\tB\thigh", "train.tsv, line 2: score 'high' is not a number"),
        (
            "mnli",
            "0\t1\t1n\tg\tp\tp\tp\tp\tA\tB\tneutral\t-",
            "label '-' is none of entailment, neutral, contr",
        ),
        ("cola", "gj04\t2\t\tHe came.", "train.tsv, line 1: label '2' is none of 0, 1"),
        ("cola", "gj04\t1\tHe came.", "train.tsv, line 1: 3 columns where 4 are expected"),
        ("qqp", "0\t1\t2\tA?\tB?\t0\t1", "train.tsv, line 2: 7 columns where 6 are expected"),
        ("sst2", "fine\t", "train.tsv holds no examples with a label"),
        ("sst2", "", "train.tsv holds no examples"),
    ],
)
def test_broken_rows_are_named(name: str, rows: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_glue(write(tmp_path, name, rows), name)
    assert "\n" not in str(caught.value)


def test_what_is_not_utf8_is_named(tmp_path: Path) -> None:
    write(tmp_path, "rte")
    file = tmp_path / "RTE" / "dev.tsv"
    file.write_bytes(file.read_bytes() + b"2\tcaf\xe9\tB\tentailment\n")
    with pytest.raises(InputError, match=r"dev.tsv, line 4: not UTF-8 text; convert the file"):
        load_glue(tmp_path, "rte")


def test_missing_columns_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no GLUE file .*MNLI/train.tsv; --data_dir must hold MNLI/train.tsv"
    ):
        load_glue(tmp_path, "mnli", option="--data_dir")
    write(tmp_path, "mnli")
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    with pytest.raises(InputError, match=r"no GLUE file .*dev_mismatched.tsv; .* and dev_matched.tsv"):
        load_glue(tmp_path, "mnli")
    write(tmp_path, "rte")
    with pytest.raises(InputError, match=r"no GLUE file .*RTE/test.tsv"):
        load_glue(tmp_path, "rte", hidden=True)
    (tmp_path / "RTE" / "train.tsv").write_text("index\tpremise\n0\tA\n")
    with pytest.raises(InputError, match=r"line 1: no column 'sentence1', only index, premise"):
        load_glue(tmp_path, "rte")
