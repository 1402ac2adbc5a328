"""Files of every format are read to their end, and broken ones are named in one line."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from raft.data import json_rows
from raft.data.files import format_of
from raft.data.text import readers
from raft.data.text.corpora import open_corpus
from raft.data.text.readers import check_texts, read_texts
from raft.errors import InputError

TEXTS = [f"Größe {i}: the {i}th text,\tof {i * i} characters “or so”." for i in range(300)]

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
SUFFIXES = [
    ".parquet",
    *(f"{kind}{compression}" for kind in (".jsonl", ".json", ".txt", ".md") for compression in COMPRESS),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "cache"))


def serialized(kind: str, texts: list[str]) -> bytes:
    if kind == "json":
        return "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)).encode()
    return "\n\n".join(texts).encode()


def write(path: Path, texts: list[str]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=70)
        return path
    compress = COMPRESS[path.suffix if path.suffix in COMPRESS else ""]
    path.write_bytes(compress(serialized(format_of(path) or "", texts)))
    return path


def read(path: Path, column: str = "text") -> list[str]:
    return list(read_texts(path, column))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_gives_its_texts_in_order(suffix: str, tmp_path: Path) -> None:
    assert read(write(tmp_path / f"part-1.of.2{suffix}", TEXTS)) == TEXTS


def test_a_folder_mixes_all_formats(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    for number, suffix in enumerate(SUFFIXES):
        below = folder / f"{number:02d}"
        below.mkdir(parents=True)
        write(below / f"shard{suffix}", [f"{text} {suffix}" for text in TEXTS[:20]])
    (folder / "notes.csv").write_text("not,a,text")
    actual = [text for _, text in open_corpus(str(folder)).split_documents()]
    assert actual == [f"{text} {suffix}" for suffix in SUFFIXES for text in TEXTS[:20]]


@pytest.mark.parametrize("compression", [c for c in COMPRESS if c])
def test_streams_that_were_put_together_are_read_to_the_last(compression: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.txt{compression}"
    halves = (TEXTS[:150], TEXTS[150:])
    path.write_bytes(b"".join(COMPRESS[compression](serialized("text", half) + b"\n\n") for half in halves))
    assert read(path) == TEXTS


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_parquet_columns_of_any_kind_of_string(kind: pa.DataType, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array(TEXTS).cast(kind)}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == TEXTS


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["unix", "windows"])
def test_paragraphs_and_lines_of_plain_text(ends: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(ends.join(["\ufeffone", "two", "", " \t", "", "three", "four", ""]).encode())
    assert read(path) == ["one\ntwo", "three\nfour"]
    assert list(read_texts(path, "text", by_line=True)) == ["one", "two", "three", "four"]


def test_text_without_blank_lines_is_cut_at_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST_PARAGRAPH", 100)
    lines = [f"Line {i} of a file that has no blank line." for i in range(50)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    actual = read(tmp_path / "a.txt")
    assert "\n".join(actual).split("\n") == lines
    assert 100 <= max(map(len, actual)) < 200
    (tmp_path / "b.txt").write_text("x" * 950)
    assert list(map(len, read(tmp_path / "b.txt"))) == [100] * 9 + [50]


def test_rows_without_text_are_left_out(tmp_path: Path) -> None:
    rows = [{"text": "one"}, {"text": None}, {"text": ""}, {"text": " \n"}, {"other": "no"}, {"text": "two"}]
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    assert read(tmp_path / "a.jsonl") == ["one", "two"]
    pq.write_table(pa.table({"text": ["one", None, "", " \n", "two"]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ["one", "two"]


def test_a_json_array_of_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"text": text} for text in TEXTS], indent=1))
    assert read(tmp_path / "a.json") == TEXTS
    monkeypatch.setattr(json_rows, "LONGEST_WHOLE", 1000)
    with pytest.raises(
        InputError, match=r"a\.json does not hold one object a line, and is larger than 1,000 bytes"
    ):
        read(tmp_path / "a.json")
    parsed: list[str] = []
    monkeypatch.setattr(json_rows, "_is_row", lambda decoder, line, columns: parsed.append(line))
    (tmp_path / "a.json").write_text(json.dumps([{"text": text} for text in TEXTS] * 9))  # on one line
    with pytest.raises(InputError, match=r"has a line of more than 1,000 bytes"):
        read(tmp_path / "a.json")
    assert not parsed


def test_half_of_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "cut \\ud83d off"}\n{"text": "whole \\ud83d\\ude00"}\n')
    assert read(tmp_path / "a.jsonl") == ["cut \ufffd off", "whole \U0001f600"]


def cut_off(name: str, share: float = 0.5) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write(folder / name, TEXTS)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        return path

    return make


def holding(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(COMPRESS.get(path.suffix, COMPRESS[""])(content))
        return path

    return make


def table(**columns: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pq.write_table(pa.table(columns), folder / "bad.parquet")
        return folder / "bad.parquet"

    return make


def overwritten_parquet(folder: Path) -> Path:
    """The footer is whole, the pages before it are not."""
    path = write(folder / "bad.parquet", TEXTS)
    content = bytearray(path.read_bytes())
    content[200:6000] = b"\xff" * 5800
    path.write_bytes(content)
    return path


def parquet_of_wide_integers(folder: Path) -> Path:
    """A schema with integers of 127 bits, for which arrow has an error of its own."""
    path = write(folder / "bad.parquet", TEXTS)
    schema = pq.read_metadata(path).metadata[b"ARROW:schema"]
    head, bits, tail = base64.b64decode(schema).rpartition(bytes([64, 0, 0, 0]))
    assert bits
    changed = base64.b64encode(head + bytes([127, 0, 0, 0]) + tail)
    path.write_bytes(path.read_bytes().replace(schema, changed))
    return path


def packed_parquet(folder: Path) -> Path:
    path = write(folder / "bad.parquet", TEXTS)
    return holding("bad.parquet.gz", path.read_bytes())(folder)


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    **{
        f"truncated {kind}{compression}": (cut_off(f"bad{kind}{compression}"), "cannot read {} as ")
        for kind in (".jsonl", ".txt")
        for compression in COMPRESS
        if compression
    },
    "zst without its last byte": (cut_off("bad.txt.zst", 0.9999), "cannot read {} as text"),
    "truncated jsonl": (cut_off("bad.jsonl"), "{}, line 153: not JSON (Unterminated string"),
    "truncated parquet": (cut_off("bad.parquet"), "cannot read {} as parquet"),
    "overwritten parquet": (overwritten_parquet, "cannot read {} as parquet"),
    "parquet of wide integers": (parquet_of_wide_integers, "cannot read {} as parquet: Integers with more"),
    "packed parquet": (packed_parquet, "{} is a compressed parquet file"),
    "not gzip": (lambda folder: write(folder / "bad.txt", TEXTS).rename(folder / "bad.txt.gz"),
                 "cannot read {} as text"),
    "not zstd": (lambda folder: write(folder / "bad.txt", TEXTS).rename(folder / "bad.txt.zst"),
                 "cannot read {} as text"),
    "empty txt": (holding("bad.txt", b""), "{} is empty"),
    "empty jsonl": (holding("bad.jsonl", b""), "{} is empty"),
    "empty parquet": (holding("bad.parquet", b""), "{} is empty"),
    "parquet without rows": (table(text=pa.array([], pa.string())), "{} holds no text"),
    "parquet of nulls": (table(text=[None, None]), "{} holds no text"),
    **{
        f"blank txt{compression}": (holding(f"bad.txt{compression}", b"\n \n\t\n"), "{} holds no text")
        for compression in COMPRESS
    },
    "blank jsonl": (holding("bad.jsonl", b"\n\n"), "{} holds no text"),
    "jsonl of empty texts": (holding("bad.jsonl", b'{"text": " "}\n'), "{} holds no text"),
    "jsonl without the column": (holding("bad.jsonl", b'{"body": "x"}'),
                                 "{}, line 1: no column 'text', only body"),
    "parquet without the column": (table(body=["x"], id=[1]), "{}: no column 'text', only body, id"),
    "jsonl of ints": (holding("bad.jsonl", b'{"text": 3}'), "{}, line 1: column 'text' holds int, not text"),
    "jsonl of lists": (holding("bad.jsonl", b'{"text": ["x"]}'),
                       "{}, line 1: column 'text' holds list, not one value; write one object a line"),
    "parquet of ints": (table(text=[1, 2]), "column 'text' of {} holds int64, not text"),
    "parquet of lists": (table(text=[["a"], ["b"]]), "column 'text' of {} holds list<"),
    "array of ints": (holding("bad.json", b"[1, 2]"), "{}, object 1: a int where an object was expected"),
    "array among lines": (holding("bad.jsonl", b'{"text": "x"}\n["y"]\n'),
                          "{}, line 2: a list where an object was expected"),
    "broken array": (holding("bad.json", b'[{"text": "x"},\n'), "{}, line 2: not JSON ("),
    "deep array": (holding("bad.json", b"[" * 100_000), "{}, line 1: not JSON (maximum recursion"),
    "second line is no json": (holding("bad.jsonl", b'{"text": "x"}\nnonsense'), "{}, line 2: not JSON ("),
    "invalid utf-8 in txt": (holding("bad.txt", b"fine\n\n\xff\xfe"), "cannot read {} as text: 'utf-8'"),
    "invalid utf-8 in jsonl": (holding("bad.jsonl", b'{"text": "\xff"}'), "{}, line 1: not UTF-8 text"),
    "invalid utf-8 in parquet": (
        table(text=pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())),
        "cannot read {} as parquet: 'utf-8' codec",
    ),
    "utf-16": (holding("bad.txt", "wide text".encode("utf-16")), "cannot read {} as text: 'utf-8'"),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_file_is_named_in_one_line(broken: str, tmp_path: Path) -> None:
    make, message = BROKEN[broken]
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        read(path)
    assert message.format(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(cut_off("bad.parquet"), "cannot read {} as parquet", id="truncated parquet"),
        pytest.param(holding("bad.txt", b""), "{} is empty", id="empty shard"),
        pytest.param(table(body=["x"]), "{}: no column 'text', only body", id="missing column"),
    ],
)  # fmt: skip
def test_what_the_eye_can_see_is_said_before_anything_is_read(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.txt", TEXTS)
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        open_corpus(str(tmp_path))
    assert message.format(path) in str(caught.value)


def test_a_good_file_is_not_refused(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        check_texts(write(tmp_path / f"a{suffix}", TEXTS), "text")
