"""Which files of a folder are data, what they are for, and how they are read from other people's hands."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from raft.data.files import data_files, format_of, stem_of, suffix_of
from raft.data.splits import split_of
from raft.data.tasks.table_dataset import load_table
from raft.data.tasks.task import Example
from raft.data.text.corpora import first_texts, open_corpus
from raft.errors import InputError

ROWS = [{"text": f"text number {i}", "label": i % 3} for i in range(30)]
CLASSES = ["art", "sport", "war"]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)

Make = Callable[[Path], Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


def fill(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def one(name: str, content: str | bytes) -> Make:
    return lambda folder: fill(folder, {name: content}) / name


def rows_of_datasets(named: bool = False) -> datasets.Dataset:
    actual = datasets.Dataset.from_list(ROWS)
    return actual.cast_column("label", datasets.ClassLabel(names=CLASSES)) if named else actual


def saved(folder: Path) -> Path:
    rows_of_datasets().save_to_disk(folder / "saved", num_shards=2)
    return folder / "saved"


def saved_with_caches(folder: Path) -> Path:
    datasets.load_from_disk(str(saved(folder))).map(lambda row: {"text": row["text"].upper()})
    assert list((folder / "saved").glob("cache-*.arrow"))
    return folder / "saved"


def saved_parts(folder: Path) -> Path:
    rows = rows_of_datasets(named=True)
    parts = datasets.DatasetDict(train=rows, validation=rows.select(range(6)), test=rows.select(range(9)))
    parts.save_to_disk(folder / "saved")
    return folder / "saved"


def one_arrow(folder: Path) -> Path:
    return min(saved(folder).glob("*.arrow")).rename(folder / "rows.arrow")


def arrow_file_format(folder: Path) -> Path:
    pyarrow.feather.write_feather(pa.Table.from_pylist(ROWS), folder / "rows.arrow")
    return folder / "rows.arrow"


def hub_layout(folder: Path) -> Path:
    rows = rows_of_datasets(named=True)
    (folder / "data").mkdir()
    for part, count in (("train", 30), ("validation", 6), ("test", 9)):
        rows.select(range(count)).to_parquet(folder / "data" / f"{part}-00000-of-00001.parquet")
    return fill(folder, {"README.md": "of the data", ".gitattributes": "x", ".cache/huggingface/x.json": "x"})


SOURCES: dict[str, Make] = {
    "save_to_disk": saved,
    "save_to_disk, mapped": saved_with_caches,
    "arrow file format": arrow_file_format,
    "csv.gz": one("rows.csv.gz", gzip.compress(CSV.encode())),
    "TSV.BZ2": one("Rows.TSV.BZ2", bz2.compress(CSV.replace(",", "\t").encode())),
    "CSV": one("ROWS.CSV", CSV),
    "csv with a BOM and CRLF": one("rows.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
    "jsonl with a BOM": one("rows.jsonl", "\ufeff" + LINES),
    "JSONL.GZ": one("ROWS.JSONL.GZ", gzip.compress(LINES.encode())),
    "array": one("rows.json", json.dumps(ROWS)),
    "indented array": one("rows.json", json.dumps(ROWS, indent=2)),
    "data": one("rows.json", json.dumps({"version": "1", "data": ROWS})),
    "indented data": one("rows.json", json.dumps({"version": "1", "data": ROWS}, indent=1)),
    "indented objects": one("rows.json", "\n".join(json.dumps(row, indent=1) for row in ROWS)),
    "folder without names of parts": lambda folder: fill(folder, {"rows.csv": CSV}),
    "folder with train.jsonl.gz": lambda folder: fill(
        folder, {"train.jsonl.gz": gzip.compress(LINES.encode())}
    ),
    "directory named x.jsonl": lambda folder: fill(folder, {"x.jsonl/train.jsonl": LINES}) / "x.jsonl",
    "hidden copies": lambda folder: fill(
        folder, {"train.csv": CSV, "._train.csv": "x", ".ipynb_checkpoints/train-checkpoint.csv": CSV}
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_data_sets_of_other_people_are_read(source: str, folder: Path) -> None:
    task = load_table(str(SOURCES[source](folder)))
    assert task.labels == ("0", "1", "2")
    assert task.train_rows is not None
    assert len(task.train) == 24
    for row, example in zip(task.train_rows, task.train, strict=True):
        assert example == Example(ROWS[row]["text"], None, ROWS[row]["label"])  # type: ignore[arg-type]


TEXT_SOURCES = ("save_to_disk", "save_to_disk, mapped", "arrow file format", "JSONL.GZ", "array", "data",
                "indented array", "indented data", "indented objects", "jsonl with a BOM")  # fmt: skip


@pytest.mark.parametrize("source", TEXT_SOURCES)
def test_corpora_of_other_people_are_read(source: str, folder: Path) -> None:
    path = SOURCES[source](folder)
    texts = [text for _, text in open_corpus(str(path)).split_documents()]
    assert texts == [row["text"] for row in ROWS]
    assert first_texts(str(path), 3)[0] == ROWS[0]["text"]


@pytest.mark.parametrize("make", [saved_parts, hub_layout])
def test_parts_and_names_of_classes_are_those_of_datasets(make: Make, folder: Path) -> None:
    path = make(folder)
    task = load_table(str(path))
    assert task.labels == tuple(CLASSES)
    expected = [Example(str(row["text"]), None, int(row["label"])) for row in ROWS]  # type: ignore[call-overload]
    assert (task.train, task.validation, task.test) == (expected, expected[:6], expected[:9])
    corpus = open_corpus(str(path))
    assert list(corpus.documents("train")) == [row["text"] for row in ROWS]
    assert list(corpus.documents("validation")) == [row["text"] for row in ROWS[:6]]


def test_minus_one_is_no_label_where_a_file_names_its_classes(folder: Path) -> None:
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=CLASSES))
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, -1, 2]}, features)
    rows.to_parquet(folder / "train.parquet")
    rows.to_parquet(folder / "validation.parquet")
    assert load_table(str(folder)).train == [Example("a", None, 1), Example("c", None, 2)]


def test_one_arrow_file_of_several(folder: Path) -> None:
    assert len(load_table(str(one_arrow(folder))).train) == 12


HIDDEN = {
    ".ipynb_checkpoints/a-checkpoint.txt": "one",
    "._train.parquet": "no parquet",
    "__MACOSX/._a.txt": "resource fork",
    ".cache/huggingface/download/x.txt": "downloaded",
    "dataset_infos.json": "{\n}",
    "dataset_info.json": "{\n}",
    "dataset_dict.json": "{}",
    "state.json": "{\n}",
    "README.md": "about",
    "LICENSE.txt": "of use",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_hidden_or_tells_of_the_data_is_left_out(name: str, folder: Path) -> None:
    fill(folder, {"a.txt": "one", "b.txt": "two", name: HIDDEN[name]})
    assert [text for _, text in open_corpus(str(folder)).split_documents()] == ["one", "two"]


def test_a_hidden_folder_can_be_named(folder: Path) -> None:
    fill(folder, {".hidden/a.txt": "one"})
    assert first_texts(str(folder / ".hidden"), 9) == ["one"]


def test_links_are_followed_once(folder: Path, tmp_path: Path) -> None:
    fill(folder, {"a.txt": "one"})
    fill(tmp_path / "elsewhere", {"b.txt": "two"})
    (folder / "again").symlink_to(folder)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "c.txt").symlink_to(tmp_path / "elsewhere" / "b.txt")
    assert data_files(folder, {".txt"}) == [folder / "a.txt", folder / "c.txt", folder / "linked" / "b.txt"]


def test_a_folder_is_read_once_whatever_its_links_are_called(folder: Path) -> None:
    fill(folder / "train", {"a.txt": "one"})
    for name in ("dev", "z"):
        (folder / name).symlink_to(folder / "train")
    assert data_files(folder, {".txt"}) == [folder / "train" / "a.txt"]


def broken_link(folder: Path) -> Path:
    fill(folder, {"train.jsonl": LINES})
    (folder / "train-2.jsonl").symlink_to(folder / "gone.jsonl")
    return folder


REFUSED: dict[str, tuple[Make, str]] = {
    "broken link": (broken_link, "train-2.jsonl is a link to nothing: remove it, or bring back "),
    "empty folder": (lambda folder: folder, "holds no "),
    "zero bytes": (one("train.jsonl.gz", b""), "train.jsonl.gz is empty (0 bytes)"),
    "not gzip": (one("train.jsonl.gz", LINES), "cannot read {}/train.jsonl.gz as json: Not a gzipped file"),
    "cut gzip": (one("train.jsonl.gz", gzip.compress(LINES.encode())[:90]), "as json: Compressed file ended"),
    "no arrow": (one("train.arrow", b"this is no arrow file"), "cannot read {}/train.arrow as arrow: "),
    "arrow.gz": (
        one("train.arrow.gz", gzip.compress(b"x")),
        "is a compressed arrow file, which cannot be read",
    ),
    "parquet.gz": (one("train.parquet.gz", gzip.compress(b"x")), "is a compressed parquet file"),
    "columns": (
        one("a.json", '{"text": {"0": "a"}, "label": {"0": 1}}'),
        "a.json, line 1: column 'text' holds dict, not one value; write one object a line",
    ),
    "two arrays": (
        one("a.json", json.dumps({"train": ROWS, "test": ROWS})),
        "a.json, line 1: no column 'text', only train, test",
    ),
    "indented and broken": (
        one("a.json", '[\n{"text": "a", "label": 0},\n{"text": "b"\n]'),
        "a.json, line 4: not JSON (Expecting ',' delimiter at column 1); write one object",
    ),
    "null": (one("a.json", "null"), "a.json, line 1: a NoneType where an object was expected"),
    "member twice": (
        one("a.jsonl", LINES + '{"text": "a", "text": "b", "label": 1}\n'),
        "a.jsonl, line 31: not JSON (2 members of an object are called 'text')",
    ),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_cannot_be_read_is_named_in_one_line(refused: str, folder: Path) -> None:
    make, message = REFUSED[refused]
    path = make(folder)
    for read in (load_table, lambda source: list(open_corpus(source).split_documents())):
        with pytest.raises(InputError) as caught:
            read(str(path))
        assert message.format(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(folder: Path) -> None:
    columns = [pa.array(["a"]), pa.array(["b"]), pa.array([0])]
    file = folder / "a.parquet"
    pq.write_table(pa.Table.from_arrays(columns, names=["text", "text", "label"]), file)
    for read in (load_table, open_corpus):
        with pytest.raises(InputError, match=r"a.parquet: 2 columns are called 'text'; rename them"):
            read(str(file))


def test_several_data_sets_in_one_folder_are_not_mixed(folder: Path) -> None:
    fill(folder, {"cola/train.csv": CSV, "sst2/train.csv": CSV})
    with pytest.raises(InputError, match="holds a train set in each of cola, sst2; name one of them"):
        load_table(str(folder))
    fill(folder, {"train.csv": CSV})  # what lies in the folder itself comes first
    assert len(load_table(str(folder)).train) == 24


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("dev_sets/train.csv", "train"),
        ("validation/a.csv", "validation"),
        ("test/data-00000-of-00001.arrow", "test"),
        ("testimony.csv", None),
        ("latest/a.csv", None),
    ],
)
def test_the_part_that_a_file_is(name: str, part: str | None, tmp_path: Path) -> None:
    assert split_of(tmp_path / name, tmp_path) == part


def test_names_and_kinds_of_files() -> None:
    file = Path("a/Part-1.of.2.TXT.GZ")
    assert (suffix_of(file), format_of(file), stem_of(file)) == (".txt", "text", "Part-1.of.2")
    assert stem_of(Path("a/mine.csv")) == "mine"
    assert format_of(Path("a/x.zip")) is None
