"""Files that are whole or not there, and read as what they should be."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from raft.errors import InputError, WriteError
from raft.files import (
    atomic_write,
    publish,
    read_json,
    read_yaml,
    save_pretrained,
    staging_folder,
    validate,
    write_text,
)


@dataclass(frozen=True)
class Part:
    name: str
    values: list[tuple[int, float]]


@dataclass(frozen=True)
class Whole:
    parts: dict[str, Part]
    loss: float
    steps: int
    is_best: bool = False
    note: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


WHOLE = Whole({"a": Part("x", [(1, 0.5)])}, 2.0, 3, True, None, {"deep": [1, {"er": None}]})


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def opened_name(descriptor: int) -> str:
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


# ---- writing ----


def test_a_file_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, synced = tmp_path / "below" / "a.txt", []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append((opened_name(descriptor), file.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_text(file, "ä")
    assert file.read_text(encoding="utf-8") == "ä"
    (unfinished, was_there), (folder, is_there) = synced
    assert unfinished.endswith("-a.txt")
    assert not was_there
    assert (folder, is_there) == ("below", True)


def test_all_of_a_folder_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(opened_name(descriptor)))
    with staging_folder(tmp_path / ".new", tmp_path / "new") as unfinished:
        (unfinished / "below").mkdir()
        (unfinished / "below" / "a").touch()
        (unfinished / "b").touch()
        publish(unfinished, tmp_path / "new")
    assert {*synced[:2]} == {"a", "b"}
    assert synced[2:] == ["below", ".new", tmp_path.name]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_what_could_not_be_written_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"a\.txt could not be written: the disk is full$"):
        write_text(tmp_path / "a.txt", "after")
    with (
        pytest.raises(WriteError, match=r"b\.bin could not be written: the disk is full$"),
        atomic_write(tmp_path / "b.bin"),
    ):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_errors_in_a_working_folder_name_its_final_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(WriteError, match=f"{tmp_path}/run/a.txt could not be written: the disk is full"),
        staging_folder(tmp_path / ".run.unfinished", tmp_path / "run") as folder,
    ):
        write_text(folder / "a.txt", "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "file"),
    [
        (SafetensorError("I/O error: No space left on device (os error 28)"), "/model.safetensors"),
        (OSError(errno.ENOSPC, "No space left on device", "vocab.txt"), "/vocab.txt"),
        (OSError(errno.ENOSPC, "No space left on device"), ""),
        (Exception("No space left on device (os error 28)"), ""),  # of tokenizers
    ],
    ids=repr,
)
def test_a_model_that_could_not_be_saved_is_named(error: Exception, file: str, tmp_path: Path) -> None:
    class Model:
        def save_pretrained(self, folder: Path) -> None:
            raise error

    with pytest.raises(WriteError, match=f"{tmp_path}{file} could not be written: the disk is full$"):
        save_pretrained(Model(), tmp_path)


# ---- reading ----


def test_what_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", json.dumps(asdict(WHOLE)))
    assert read_json(tmp_path / "a.json", Whole, "thing") == WHOLE
    assert validate({"parts": {}, "loss": 1, "steps": 2}, Whole) == Whole({}, 1.0, 2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff", "cannot read .*can't decode byte 0xff"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"9" * 5000, "Exceeds the limit"),
        (b"[]", r"it must be an object of keys and values, not \[\]"),
        (b"{}", "it has no 'parts'"),
        ({"parts": []}, r"parts must be an object of keys and values, not \[\]"),
        ({"parts": {"a": {"name": "x"}}}, "parts.a has no 'values'"),
        ({"parts": {"a": {"name": 1, "values": []}}}, "parts.a.name must be a text, not 1"),
        ({"parts": {"a": {"name": "", "values": [[1]]}}}, r"parts.a.values\[0\] must be 2 values, not \[1\]"),
        ({"loss": "x"}, "loss must be a finite number, not 'x'"),
        ({"loss": True}, "loss must be a finite number, not True"),
        ({"loss": float("nan")}, "loss must be a finite number, not nan"),
        ({"loss": 10**400}, "too large"),
        ({"steps": 1.0}, "steps must be a whole number, not 1.0"),
        ({"steps": True}, "steps must be a whole number, not True"),
        ({"steps": 1 << 63}, "steps must be a whole number, not 9223372036854775808"),
        ({"is_best": 1}, "is_best must be true or false, not 1"),
        ({"note": 1}, "note must be a text, not 1"),
        ({"other": 1}, "it has an unknown key 'other'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_damage_is_told_in_one_line(content: Any, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    whole = json.dumps({**asdict(WHOLE), **content}).encode() if isinstance(content, dict) else content
    file.write_bytes(whole)
    with pytest.raises(InputError, match=reason) as caught:
        read_json(file, Whole, "thing")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "- a", "a: [", "a: 2024-99-99", "[" * 10_000, "1: 2"], ids=str)
def test_a_recipe_is_keys_and_values(content: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(InputError, match=r"recipe.yaml holds no recipe: "):
        read_yaml(tmp_path / "recipe.yaml", "recipe")


def test_a_folder_and_a_loop_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "loop.json").symlink_to("loop.json")
    with pytest.raises(InputError, match=r"loop\.json: Too many levels of symbolic links"):
        read_json(tmp_path / "loop.json", Whole, "thing")
    with pytest.raises(InputError, match="Is a directory"):
        read_json(tmp_path, Whole, "thing")


@pytest.mark.parametrize("name", ["/", ".", "folder"])
def test_a_folder_is_no_file_to_write(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="it is a folder"):
        write_text(Path(name), "text")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
