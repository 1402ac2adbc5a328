"""Tasks made of any data set: files of each kind, folders, the hub."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raft.data.tasks.sampling import sample_split
from raft.data.tasks.table_dataset import load_table
from raft.data.tasks.task import Example, Sentences
from raft.errors import InputError

Rows = list[dict[str, Any]]


def tsv(path: Path, rows: Rows) -> None:
    lines = ["\t".join(rows[0]), *("\t".join(str(v) for v in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def csv(path: Path, rows: Rows) -> None:
    quoted = ['"' + str(v).replace('"', '""') + '"' for row in rows for v in row.values()]
    width = len(rows[0])
    lines = [",".join(rows[0]), *(",".join(quoted[i : i + width]) for i in range(0, len(quoted), width))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


every_kind = pytest.mark.parametrize("write", [tsv, csv, jsonl, parquet], ids=lambda w: w.__name__)
Write = Callable[[Path, Rows], None]


def rows(count: int, start: int = 0) -> Rows:
    kinds = ("sport", "art", "war")
    return [
        {"id": i, "head": f'He said "{i}', "body": f"NA, {i}", "kind": kinds[i % 3], "stars": i % 5 + 0.5}
        for i in range(start, start + count)
    ]


def expected(actual: Rows) -> list[Example]:
    order = ["art", "sport", "war"]
    return [Example(row["head"], row["body"], order.index(row["kind"])) for row in actual]


@every_kind
def test_a_folder_of_three_parts(write: Write, tmp_path: Path) -> None:
    parts = {"train": rows(30), "dev": rows(6, 30), "test": rows(9, 36)}
    for name, part in parts.items():
        write(tmp_path / f"{name}.{write.__name__}", part)
    (tmp_path / "README.md").touch()
    task = load_table(str(tmp_path), "head", "body", "kind")
    assert task.name == tmp_path.name
    assert (task.labels, task.metric) == (("art", "sport", "war"), "accuracy")
    assert task.train == expected(parts["train"])
    assert task.validation == expected(parts["dev"])
    assert task.test == expected(parts["test"])


@every_kind
def test_a_regression(write: Write, tmp_path: Path) -> None:
    path = tmp_path / f"reviews.{write.__name__}"
    write(path, rows(20))
    task = load_table(str(path), "body", label="stars", regression=True)
    assert (task.name, task.labels, task.metric) == ("reviews", None, "pearson_and_spearman")
    assert task.train_rows is not None
    assert task.train == [Example(f"NA, {i}", None, i % 5 + 0.5) for i in task.train_rows]


@every_kind
def test_one_file_is_split_once_for_all(write: Write, tmp_path: Path) -> None:
    path = tmp_path / f"news.{write.__name__}"
    write(path, rows(50))
    task = load_table(str(path), "head", "body", "kind")
    everything = expected(rows(50))
    assert len(task.test) == 10
    assert task.train_rows == sorted(set(range(50)) - {everything.index(e) for e in task.test})
    assert task.train == [everything[i] for i in task.train_rows]
    assert load_table(str(path), "head", "body", "kind") == task
    drawn = sample_split(task, 1, 20)
    assert drawn.train == [everything[i] for i in drawn.train_rows]


@every_kind
def test_a_test_set_without_labels_is_hidden(write: Write, tmp_path: Path) -> None:
    write(tmp_path / f"train.{write.__name__}", rows(12))
    write(tmp_path / f"validation.{write.__name__}", rows(6))
    write(tmp_path / f"test.{write.__name__}", [{"head": "A", "body": "B"}])
    task = load_table(str(tmp_path), "head", "body", "kind")
    assert task.test == task.validation == expected(rows(6))
    assert task.hidden == {"test": [Sentences("A", "B")]}


@every_kind
def test_numbers_are_classes_in_their_order(write: Write, tmp_path: Path) -> None:
    path = tmp_path / f"train.{write.__name__}"
    write(path, [{"text": "a", "label": i % 12 - 2} for i in range(24)])
    task = load_table(str(path))
    assert task.labels == tuple(str(i - 2) for i in range(12))
    assert load_table(str(path), metric="matthews").metric == "matthews"


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    parquet(tmp_path / "train-00000-of-00002.parquet", rows(10))
    parquet(tmp_path / "train-00001-of-00002.parquet", rows(5, 10))
    parquet(tmp_path / "test-00000-of-00001.parquet", rows(4))
    assert load_table(str(tmp_path), "head", "body", "kind").train == expected(rows(15))


def test_line_breaks_within_quotation_marks_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"one\ntwo, ""three""",x\n\nb,y\nc,x\nd,x\ne,y\n')
    task = load_table(str(path))
    assert Example('one\ntwo, "three"', None, 0) in [*task.train, *task.test]


class Hub:
    """Stands in for the hub."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **splits: datasets.Dataset) -> None:
        self.asked: list[Any] = []
        self.splits = splits
        monkeypatch.setattr(datasets, "load_dataset", self.load)

    def load(self, *arguments: Any) -> dict[str, datasets.Dataset]:
        self.asked.append(arguments)
        return self.splits


def split(labels: list[Any], kind: Any = None) -> datasets.Dataset:
    kind = kind or datasets.ClassLabel(names=["world", "business", "art"])
    features = datasets.Features(text=datasets.Value("string"), label=kind)
    return datasets.Dataset.from_dict(
        {"text": [f"t{i}" for i in range(len(labels))], "label": labels}, features
    )


def test_the_hub_has_names_and_order_of_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, train=split([2, 0, -1, 1]), validation=split([1]), test=split([-1, -1]))
    task = load_table("some/news:small")
    assert hub.asked == [("some/news", "small")]
    assert (task.name, task.labels) == ("some/news:small", ("world", "business", "art"))
    assert task.train == [Example("t0", None, 2), Example("t1", None, 0), Example("t3", None, 1)]
    assert task.train_rows == [0, 1, 3]
    assert task.test == task.validation == [Example("t0", None, 1)]
    assert task.hidden == {"test": [Sentences("t0", None), Sentences("t1", None)]}


def test_scores_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(
        monkeypatch,
        train=split([0.5, 1.5], datasets.Value("float32")),
        test=split([2], datasets.Value("int8")),
    )
    task = load_table("some/scores", regression=True)
    assert [e.label for e in (*task.train, *task.test)] == [0.5, 1.5, 2.0]


def test_hidden_scores_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = datasets.Value("float32")
    hidden = split([-1, -1], kind)
    Hub(monkeypatch, train=split([0.5, 1.5], kind), validation=split([-1, 2], kind), test=hidden)
    task = load_table("some/scores", regression=True)
    assert task.validation is not None
    assert [example.label for example in task.validation] == [-1.0, 2.0]
    assert task.test == task.validation
    assert task.hidden == {"test": [Sentences("t0", None), Sentences("t1", None)]}
    # where the training set has a score of -1, it is one
    Hub(monkeypatch, train=split([0.5, -1], kind), test=hidden)
    assert [example.label for example in load_table("some/scores", regression=True).test] == [-1.0, -1.0]


def test_the_hub_without_training_set_or_column(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, test=split([1, 0]))
    with pytest.raises(InputError, match="some/news has no training set, only test"):
        load_table("some/news")
    Hub(monkeypatch, train=split([1, 0]))
    with pytest.raises(InputError, match="some/news, train: no column 'sentence', only text, label"):
        load_table("some/news", "sentence")
    Hub(monkeypatch, train=split([-1, -1]), test=split([0, 1]))
    with pytest.raises(InputError, match="some/news has no labelled training examples"):
        load_table("some/news")
    Hub(monkeypatch, train=split([0, 0], datasets.ClassLabel(names=["world"])))
    with pytest.raises(InputError, match="a task needs two or more different classes, not world"):
        load_table("some/news")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,label\na,x\nb\n", "a.csv, line 3: 1 columns where 2 are expected"),
        ("a.csv", b'text,label\na,x\n"b,y\n', "a.csv, line 3: unexpected end of data; mend it, or write the"),
        ("a.csv", b"text,label\na,x\n\xff,y\n", "a.csv, line 3: not UTF-8 text; convert the file"),
        ("a.tsv", b"text\tclass\na\tx\n", "a.tsv, line 1: no column 'label', only text, class"),
        ("a.tsv", b"\n", "a.tsv, line 1: no column 'text', only "),
        ("a.tsv", b"text\tlabel\n", "a.tsv: the train set holds no rows; fill or remove it"),
        ("a.tsv", b"text\tlabel\na\tx\nb\tx\n", "a.tsv has one class only, 'x'; a task needs two"),
        ("a.tsv", b"text\tlabel\na\tx\nb\ty\n", "a.tsv has 2 examples, too few to hold out a test set"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "a"\n', "a.jsonl, line 2: not JSON "),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "\xff"}\n', "a.jsonl, line 2: not UTF-8 text"),
        (
            "a.jsonl",
            b'{"text": "a", "label": 1}\n[1]\n',
            "a.jsonl, line 2: a list where an object was expected",
        ),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', "line 2: no column 'label', only text"),
        ("a.jsonl", b'{"text": 5, "label": 1}\n', "a.jsonl, line 1: column 'text' holds int, not text"),
        ("a.jsonl", b'{"text": "a", "label": null}\n', "a.jsonl has no labelled training examples"),
        ("a.tsv", b"text\tlabel\na\t\n", "a.tsv has no labelled training examples"),
        ("a.tsv", b"", "a.tsv is empty (0 bytes)"),
        ("a.jsonl", b'{"text": "a", "label": [1]}\n', "line 1: column 'label' holds list, not one value"),
        ("a.parquet", b"text\tlabel\n", "a.parquet as parquet: "),
        ("a.xlsx", b"", "a.xlsx is none of .csv, .tsv, .txt, .jsonl, .json, .parquet, .arrow; convert"),
    ],
)
def test_broken_files_are_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_table(str(tmp_path / name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_makes_no_task_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    tsv(path, [{"text": "a", "label": f"{i}.5"} for i in range(60)])
    with pytest.raises(InputError, match=r"60 different labels in 60 examples; is it a regression, or"):
        load_table(str(path))
    with pytest.raises(InputError, match="a is a regression, which accuracy does not score"):
        load_table(str(path), regression=True, metric="accuracy")
    tsv(path, [{"text": "a", "label": "x"}, {"text": "a", "label": "y"}] * 5)
    with pytest.raises(InputError, match=r"line 2: score 'x' is not a number"):
        load_table(str(path), regression=True)
    with pytest.raises(InputError, match=r"no data set at .*nowhere.tsv: the path does not exist"):
        load_table(str(tmp_path / "nowhere.tsv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no train.csv \(or .tsv, .txt, .jsonl"):
        load_table(str(tmp_path / "empty"))


def test_an_empty_test_set_is_refused(tmp_path: Path) -> None:
    tsv(tmp_path / "train.tsv", rows(9))
    (tmp_path / "test.tsv").write_text("head\tkind\n")
    with pytest.raises(InputError, match="the test set holds no rows; fill or remove it"):
        load_table(str(tmp_path), "head", label="kind")


def test_names_that_only_look_like_numbers_are_names(tmp_path: Path) -> None:
    tsv(tmp_path / "a.tsv", [{"text": "a", "label": ("-", "--5", "10", "9")[i % 4]} for i in range(20)])
    assert load_table(str(tmp_path / "a.tsv")).labels == ("-", "--5", "10", "9")


def test_a_class_that_training_does_not_have_is_refused(tmp_path: Path) -> None:
    tsv(tmp_path / "train.tsv", rows(9))
    tsv(tmp_path / "test.tsv", [{"id": 1, "head": "a", "body": "b", "kind": "food", "stars": 1}])
    with pytest.raises(InputError, match=r"test.tsv, line 2: label 'food' is none of art, sport, war"):
        load_table(str(tmp_path), "head", "body", "kind")


def labelled(*labels: str, count: int = 30) -> str:
    return "text,label\n" + "".join(f"t{i},{labels[i % len(labels)]}\n" for i in range(count))


NO_LABEL = "no label; rows without one are left out, "
MINUS_ONE = "-1 stands beside classes from 0 on, and is taken for no label"
LABELS: dict[str, tuple[str, tuple[str, ...], int, list[str]]] = {
    "-1 beside 0 and 1": (
        labelled("0", "1", "-1"),
        ("0", "1"),
        20,
        [MINUS_ONE, f"line 4: {NO_LABEL}10 in all"],
    ),
    "-1.0 beside 0.0 and 1.0": (labelled("0.0", "1.0", "-1.0"), ("0.0", "1.0"), 20, [MINUS_ONE, NO_LABEL]),
    "-1 and 1": (labelled("1", "-1"), ("-1", "1"), 30, []),
    "-1 and 0": (labelled("0", "-1"), ("-1", "0"), 30, []),
    "-1 beside names": (labelled("0", "-1", "x"), ("-1", "0", "x"), 30, []),
    "spaces": (labelled("pos", " pos", "neg ", "neg"), ("neg", "pos"), 30, []),
    "one empty": (labelled("pos", "neg") + "t,\n", ("neg", "pos"), 30, [f"line 32: {NO_LABEL}1 in all"]),
    "some blank": (labelled("pos", "neg", "  "), ("neg", "pos"), 20, [f"line 4: {NO_LABEL}10 in all"]),
    "1.0 and 1": (labelled("0", "1.0", "1"), ("0", "1"), 30, []),
    "0.5 and 0.50": (labelled("0.5", "0.50", "1.5"), ("0.5", "1.5"), 30, []),
    "True and true": (labelled("True", "true", "FALSE", "false"), ("FALSE", "True"), 30, []),
    "codes": (labelled("01", "1"), ("01", "1"), 30, []),
    "large numbers": (
        labelled("12345678901234567890", "12345678901234567891"),
        ("12345678901234567890", "12345678901234567891"),
        30,
        [],
    ),
    "case": (
        labelled("Pos", "pos", "neg"),
        ("Pos", "neg", "pos"),
        30,
        ["the classes Pos, pos differ by their case"],
    ),
}


@pytest.mark.parametrize("labels", LABELS)
def test_labels_of_other_people_make_no_class_in_silence(
    labels: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content, classes, examples, lines = LABELS[labels]
    (tmp_path / "a.csv").write_text(content)
    task = load_table(str(tmp_path / "a.csv"))
    assert task.labels == classes
    assert len(task.train) + len(task.test) == examples
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(lines), said
    assert all(line in message for line, message in zip(lines, said, strict=True))


def test_labels_are_the_same_classes_across_files(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(labelled("1.0", "0.0"))
    jsonl(tmp_path / "dev.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": " 0"}])
    parquet(tmp_path / "test.parquet", [{"text": "c", "label": 0.0}, {"text": "d", "label": 1.0}])
    task = load_table(str(tmp_path))
    assert task.validation == [Example("a", None, 1), Example("b", None, 0)]
    assert task.test == [Example("c", None, 0), Example("d", None, 1)]


def test_truth_values_are_the_same_classes_across_files(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(labelled("true", "false"))
    jsonl(tmp_path / "test.jsonl", [{"text": "a", "label": True}, {"text": "b", "label": False}])
    assert load_table(str(tmp_path)).test == [Example("a", None, 1), Example("b", None, 0)]


@pytest.mark.parametrize("unlabelled", ["-1", ""])
def test_a_test_set_without_labels_on_its_rows_is_hidden(unlabelled: str, tmp_path: Path) -> None:
    for part, labels in (("train", ("0", "1")), ("dev", ("0", "1")), ("test", (unlabelled,))):
        (tmp_path / f"{part}.csv").write_text(labelled(*labels))
    task = load_table(str(tmp_path))
    assert task.test == task.validation
    assert len(task.hidden["test"]) == 30


def test_scores_may_be_negative_or_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text(labelled("0", "1", "-1", ""))
    task = load_table(str(tmp_path / "a.csv"), regression=True)
    assert {example.label for example in task.train} == {-1.0, 0.0, 1.0}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith("a.csv, line 5: no label; rows without one are left out, 7 in all")


EMPTY = "the text is empty, in this row as in all; name the right column"
REFUSED: dict[str, tuple[str, str, dict[str, str], str]] = {
    "two texts": (
        "a.csv",
        "text,text,label\na,b,0\nc,d,1\n",
        {},
        "line 1: 2 columns are called 'text'; rename",
    ),
    "two labels": (
        "a.tsv",
        "text\tlabel\tlabel\na\t0\t1\n",
        {},
        "line 1: 2 columns are called 'label'; rename",
    ),
    "empty texts": ("a.csv", "text,label\n,0\n  ,1\n", {}, f"a.csv, line 3: {EMPTY}"),
    "empty texts in jsonl": ("a.jsonl", '{"text": "", "label": 0}\n{"text": " ", "label": 1}\n', {}, EMPTY),
    "empty second texts": (
        "a.csv",
        "text,b,label\na,,0\nc,,1\n",
        {"second_text": "b"},
        "the second text is empty",
    ),
    "half a character": (
        "a.jsonl",
        '{"text": "a", "label": 0}\n{"text": "b\\ud800", "label": 1}\n',
        {},
        r"a.jsonl, line 2: column 'text' holds half a character ('b\ud800'); mend or remove it",
    ),
    "half a character in a label": (
        "a.jsonl",
        '{"text": "a", "label": "\\udc00"}\n',
        {},
        "a.jsonl, line 1: column 'label' holds half a character",
    ),
    "quotation mark left open": (
        "a.csv",
        'text,label\n"a,0\n' + "b,1\n" * 50_000,
        {},
        "unexpected end of data",
    ),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_tables_that_cannot_be_meant_are_refused(refused: str, tmp_path: Path) -> None:
    name, content, columns, message = REFUSED[refused]
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        load_table(str(tmp_path / name), **columns)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_texts_of_a_test_set_without_labels_are_refused(tmp_path: Path) -> None:
    for part in ("train", "dev"):
        (tmp_path / f"{part}.csv").write_text(labelled("0", "1"))
    (tmp_path / "test.csv").write_text('text\n""\n" "\n')
    with pytest.raises(InputError, match=f"test.csv, line 3: {EMPTY}"):
        load_table(str(tmp_path))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_long_values_and_nul_bytes_are_text(name: str, tmp_path: Path) -> None:
    text = "word \0" * 50_000
    content = labelled("0", "1").replace("t3,", f"{text},")
    (tmp_path / name).write_text(content if name == "a.csv" else content.replace(",", "\t"))
    task = load_table(str(tmp_path / name))
    assert text in [example.first for example in (*task.train, *task.test)]


def test_columns_that_are_not_asked_for_may_have_one_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,,,label\n" + "a,1,2,x\nb,3,4,y\n" * 5)
    assert len(load_table(str(tmp_path / "a.csv")).train) == 8


def test_the_held_out_fifth_has_each_class_by_its_share(tmp_path: Path) -> None:
    rows = [f"t{i},{label}" for i, label in enumerate("a" * 30 + "b" * 10)]
    (tmp_path / "own.csv").write_text("\n".join(["text,label", *rows]))
    task = load_table(str(tmp_path / "own.csv"))
    assert Counter(example.label for example in task.test) == {0: 6, 1: 2}
    assert sorted(e.first for e in [*task.test, *task.train]) == sorted(f"t{i}" for i in range(40))


def test_f1_says_of_which_class_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mail.csv").write_text(labelled("legit", "fraud"))
    load_table(str(tmp_path / "mail.csv"), metric="accuracy_and_f1")
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith("mail.csv: F1 is of the class legit, the second of fraud and legit")


def test_files_whose_names_say_no_part_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("training", "testing", "evaluation", "more"):
        (tmp_path / f"{name}.csv").write_text(labelled("a", "b", count={"testing": 12}.get(name, 30)))
    task = load_table(str(tmp_path))
    assert (len(task.train), len(task.test)) == (30, 12)
    assert task.validation is not None
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith("more.csv left out: the names hold none of the words train, validation and test")
