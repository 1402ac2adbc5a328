"""What is costly to make is made once, and never half."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raft.data import cache
from raft.data.cache import build_once, cache_directory, file_digest, key_of
from raft.errors import InputError
from raft.files import write_text

EMPTY_FILE_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1

# a child that starts from nothing would import torch, which takes seconds
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("RAFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "raft"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "raft"
    monkeypatch.setenv("RAFT_CACHE", "~/tokens")
    assert cache_directory() == tmp_path / "home" / "tokens"


def test_a_key_does_not_depend_on_the_order_of_names() -> None:
    assert key_of({"a": 1, "b": [2, None]}) == key_of({"b": [2, None], "a": 1})
    assert len({key_of(value) for value in (1, "1", [1], None, 1.5, {"a": 1}, [[1]], [1, 1])}) == 8


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        (folder / "a").write_text("built")

    def never(folder: Path) -> None:
        raise AssertionError("built again")

    wanted = tmp_path / "some" / "where"
    assert build_once(wanted, build) == wanted
    assert build_once(wanted, never) == wanted
    assert (wanted / "a").read_text() == "built"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
def test_a_build_that_fails_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise error

    wanted = tmp_path / "cache" / "wanted"
    with pytest.raises(error):
        build_once(wanted, fail)
    assert [path for path in wanted.parent.iterdir() if path.suffix != ".lock"] == []
    build_once(wanted, lambda folder: (folder / "b").touch())
    assert [path.name for path in wanted.iterdir()] == ["b"]


def test_a_killed_build_is_never_seen_and_is_built_again(tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"

    def hang(folder: Path) -> None:
        (folder / "half").touch()
        time.sleep(60)

    child = FORK.Process(target=build_once, args=(wanted, hang))
    child.start()
    wait_for(lambda: any(tmp_path.rglob("half")))
    assert not wanted.exists()
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    assert not wanted.exists()
    build_once(wanted, lambda folder: (folder / "whole").touch())
    assert [path.name for path in wanted.iterdir()] == ["whole"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wanted", "wanted.lock"]


def test_of_processes_that_ask_at_once_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    wanted, log = tmp_path / "cache" / "wanted", tmp_path / "log"

    def build(folder: Path) -> None:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.3)
        (folder / "a").write_text("whole")

    def ask() -> None:
        assert (build_once(wanted, build) / "a").read_text() == "whole"

    children = [FORK.Process(target=ask) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert log.read_text() == "built\n"


def test_threads_of_one_process_wait_for_each_other_too(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.1)

    with ThreadPoolExecutor(4) as threads:
        actual = list(threads.map(lambda _: build_once(tmp_path / "wanted", build), range(4)))
    assert actual == [tmp_path / "wanted"] * 4
    assert len(built) == 1


def test_a_cache_that_cannot_be_written_to_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    message = r"the cache .*file/cache.* cannot be written to \(Not a directory\); set RAFT_CACHE to a folder"
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=message):
        build_once(cache_directory() / "tokens", lambda folder: None)
    with pytest.raises(InputError, match=r"cannot write to .*file/cache: Not a directory"):  # any folder's
        write_text(cache_directory() / "a", "text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"cache cannot be written to \(permission denied\)"):
        build_once(tmp_path / "cache" / "wanted", lambda folder: None)


def test_what_was_built_can_be_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build_once(tmp_path / "cache" / "wanted", lambda folder: None)
    monkeypatch.setattr(cache, "make_folder", lambda folder: pytest.fail("something was to be written"))
    assert build_once(built, lambda folder: None) == built


def test_files_are_written_whole_by_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.json"
    texts = [str(i) * 5000 for i in range(10)]

    def write_and_read(number: int) -> bool:
        write_text(path, texts[number % 10])
        return path.read_text() in texts

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write_and_read, range(400)))
    assert list(path.parent.iterdir()) == [path]


def age(path: Path, seconds: float) -> None:
    changed = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(changed, changed))


def test_digests_are_those_of_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHUNK", 2)
    (tmp_path / "empty").touch()
    (tmp_path / "abc").write_text("abc")
    assert file_digest(tmp_path / "empty") == EMPTY_FILE_SHA256
    assert file_digest(tmp_path / "abc") == ABC_SHA256


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc")
    age(path, 60)
    assert file_digest(path) == ABC_SHA256
    status = path.stat()
    path.write_text("abd")
    os.utime(
        path, ns=(status.st_atime_ns, status.st_mtime_ns)
    )  # nothing tells of this change but the content
    assert file_digest(path) == ABC_SHA256
    age(path, 30)
    assert file_digest(path) != ABC_SHA256


def test_a_file_that_has_just_changed_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abd")
    status = path.stat()
    first = file_digest(path)
    path.write_text("abc")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # within one tick of a coarse clock
    assert first != file_digest(path) == ABC_SHA256


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"stamp": '], ids=repr)
def test_damaged_memory_of_a_digest_is_made_anew(content: str, tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc")
    age(path, 60)
    file_digest(path)
    (memory,) = (own_cache / "digests").iterdir()
    memory.write_text(content)
    assert file_digest(path) == ABC_SHA256
    assert ABC_SHA256 in memory.read_text()
