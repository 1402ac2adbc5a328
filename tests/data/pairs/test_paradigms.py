"""Official layouts of BLiMP and Zorro, and files that are not in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from raft.data.pairs.blimp import read_blimp
from raft.data.pairs.zorro import read_zorro
from raft.errors import InputError

ROW = {
    "sentence_good": "Cats sleep.",
    "sentence_bad": "Cats sleeps.",
    "field": "morphology",
    "linguistics_term": "agreement",
    "UID": "verbs",
}


def write_rows(file: Path, *rows: Mapping[str, object]) -> None:
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")


def test_blimp_is_read_by_its_own_names(tmp_path: Path) -> None:
    write_rows(tmp_path / "verbs.jsonl", ROW, {**ROW, "sentence_good": "Dogs sleep."})
    write_rows(tmp_path / ".hidden.jsonl", {"no": "pair"})
    (paradigm,) = read_blimp(str(tmp_path))
    assert (paradigm.name, paradigm.phenomenon) == ("verbs", "agreement")
    assert paradigm.pairs == (("Cats sleep.", "Cats sleeps."), ("Dogs sleep.", "Cats sleeps."))
    assert read_blimp(str(tmp_path), items=1)[0].pairs == paradigm.pairs[:1]


def test_the_even_lines_of_zorro_are_right(tmp_path: Path) -> None:
    (tmp_path / "filler-gap-object.txt").write_text("cats sleeps .\ncats sleep .\ndogs runs .\ndogs run .\n")
    (tmp_path / ".DS_Store").write_text("x")
    (paradigm,) = read_zorro(str(tmp_path))
    assert (paradigm.name, paradigm.phenomenon) == ("filler-gap-object", "filler-gap")
    assert paradigm.pairs == (("cats sleep .", "cats sleeps ."), ("dogs run .", "dogs runs ."))
    assert len(read_zorro(str(tmp_path), items=1)[0].pairs) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        ("\ufeff".encode(), "holds no pairs"),
        (b"a b\nc d\ne f\n", "has 3 lines"),
        (b"a b\n\n", "line 2: an empty sentence"),
        ("caf\u00e9 is\ncaf\u00e9 are\n".encode("latin-1"), "cannot read"),
    ],
)
def test_files_that_are_no_zorro_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "case-x.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_zorro(str(tmp_path))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({key: ROW[key] for key in ROW if key != "UID"}, "line 1: no 'UID'"),
        ({**ROW, "sentence_bad": " "}, "an empty sentence"),
        ({**ROW, "sentence_good": "\ud800 x"}, "surrogate"),
        ({**ROW, "sentence_good": 3}, "no text"),
    ],
)
def test_rows_that_are_no_blimp_are_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    write_rows(tmp_path / "verbs.jsonl", row)
    with pytest.raises(InputError, match=message):
        read_blimp(str(tmp_path))


def test_a_paradigm_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}.jsonl", ROW)
        (tmp_path / name).mkdir()
        (tmp_path / name / "case-x.txt").write_text("a b\na c\n")
    with pytest.raises(InputError, match="too; keep one"):
        read_blimp(str(tmp_path))
    with pytest.raises(InputError, match="too; keep one"):
        read_zorro(str(tmp_path))


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    for read in (read_blimp, read_zorro):
        with pytest.raises(InputError, match="does not exist"):
            read(str(tmp_path / "none"))
        with pytest.raises(InputError, match="holds no"):
            read(str(tmp_path))
    with pytest.raises(InputError, match="not on the hub"):
        read_zorro(None)


def test_the_official_files_are_read(shared_data: Path) -> None:
    blimp, zorro = read_blimp(str(shared_data / "blimp")), read_zorro(str(shared_data / "zorro"))
    assert {len(paradigm.pairs) for paradigm in blimp} == {1000}
    assert {len(paradigm.pairs) for paradigm in zorro} == {2000}
    assert {"filler-gap", "island-effects", "irregular"} <= {paradigm.phenomenon for paradigm in zorro}
