"""Texts become the same tokens in any number of processes, and one that dies is told of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft.data.text import encoding
from raft.data.text.encoding import encode, encode_in_order
from raft.data.text.tokens import encoder, train_tokenizer

TEXTS = [f"The quick brown fox number {i} jumps over the lazy dogs of street {i * 7}." for i in range(240)]
TOKENIZER = train_tokenizer(TEXTS, 150, max_length=16)
FAST = encoder(TOKENIZER)
END = TOKENIZER.sep_token_id
BATCHES = [(number, (TEXTS[5 * number : 5 * number + 5], TEXTS[:number])) for number in range(30)]


def expected(texts: list[str]) -> list[int]:
    return [i for text in texts for i in (*TOKENIZER(text, add_special_tokens=False).input_ids, END)]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that a test starts; all have ended when it has."""
    started: list[subprocess.Popen[bytes]] = []
    start = encoding._start

    def noted(*arguments: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(encoding, "_start", noted)
    yield started
    assert None not in [worker.returncode for worker in started]


@pytest.mark.parametrize("dtype", ["<u2", "<i4"])
def test_each_text_ends_with_the_end_token(dtype: str) -> None:
    actual = encode(FAST, TEXTS, END, dtype)
    assert actual.dtype == np.dtype(dtype)
    assert actual.tolist() == expected(TEXTS)
    assert encode(FAST, [], END, dtype).tolist() == []
    assert encode(FAST, ["", " "], END, dtype).tolist() == [END, END]


def test_texts_longer_than_the_tokenizer_allows_are_not_cut() -> None:
    """TOKENIZER has a model_max_length of 16, and saved tokenizers often truncate."""
    saved = train_tokenizer(TEXTS, 150)
    saved.backend_tokenizer.enable_truncation(16)
    saved.backend_tokenizer.enable_padding(length=16)
    text = " ".join(TEXTS)
    assert encode(encoder(saved), [text], END, "<u2").tolist() == expected([text])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=80), max_size=6),
    st.integers(1, 30),
)
def test_pieces_of_a_long_text_are_the_text(texts: list[str], piece: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoding, "PIECE", piece)
        for text in texts:
            pieces = list(encoding._pieces(text))
            assert "".join(pieces) == text
            assert all(0 < len(part) <= piece for part in pieces) or text == ""


def test_a_long_text_is_cut_at_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "PIECE", 100)
    text = " ".join(TEXTS)
    assert encode(FAST, [text, TEXTS[0]], END, "<u2").tolist() == expected([text, TEXTS[0]])


@pytest.mark.parametrize("processes", [1, 3])
def test_batches_come_back_in_order_with_their_labels(
    processes: int, workers: list[subprocess.Popen[bytes]]
) -> None:
    actual = list(encode_in_order(iter(BATCHES), FAST, END, "<u2", processes))
    assert len(workers) == (processes if processes > 1 else 0)
    assert [label for label, _ in actual] == [label for label, _ in BATCHES]
    for (_, groups), (_, tokens) in zip(BATCHES, actual, strict=True):
        assert [part.tolist() for part in tokens] == [expected(texts) for texts in groups]
        assert {part.dtype for part in tokens} == {np.dtype("<u2")}


def test_few_batches_start_no_process(workers: list[subprocess.Popen[bytes]]) -> None:
    actual = list(encode_in_order(BATCHES[:5], FAST, END, "<u2", 3))
    assert [part.tolist() for _, (part, _) in actual] == [expected(texts) for _, (texts, _) in BATCHES[:5]]
    assert workers == []


def test_batches_are_read_as_they_are_needed(workers: list[subprocess.Popen[bytes]]) -> None:
    read: list[int] = []

    def batches() -> Iterator[tuple[int, tuple[list[str]]]]:
        for number in range(1000):
            read.append(number)
            yield number, (TEXTS[:2],)

    encoded = encode_in_order(batches(), FAST, END, "<u2", 2)
    for _ in range(3):
        next(encoded)
    assert len(read) < 20
    encoded.close()
    assert len(workers) == 2


@pytest.mark.parametrize("after", [0, 20], ids=["at once", "at work"])
def test_a_process_that_dies_ends_the_work(after: int, workers: list[subprocess.Popen[bytes]]) -> None:
    def batches() -> Iterator[tuple[int, tuple[list[str]]]]:
        for number in range(200):
            if workers and number >= max(after, 6):
                workers[1].kill()
            yield number, (TEXTS[:2],)

    with pytest.raises(ChildProcessError) as caught:
        list(encode_in_order(batches(), FAST, END, "<u2", 3))
    message = "a tokenizing process ended with status -9; if memory ran out, use fewer processes"
    assert str(caught.value) == message


def test_a_process_that_cannot_start_is_told_of(
    monkeypatch: pytest.MonkeyPatch, workers: list[subprocess.Popen[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoding, "__file__", "/nowhere/encoding.py")
    with pytest.raises(ChildProcessError, match="ended with status 2"):
        list(encode_in_order(BATCHES, FAST, END, "<u2", 3))
    assert "/nowhere/encoding.py" in capfd.readouterr().err


def test_an_error_of_the_reader_ends_the_processes(workers: list[subprocess.Popen[bytes]]) -> None:
    def batches() -> Iterator[tuple[int, tuple[list[str]]]]:
        yield from ((number, (TEXTS[:2],)) for number in range(50))
        raise ValueError("a broken file")

    with pytest.raises(ValueError, match="a broken file"):
        list(encode_in_order(batches(), FAST, END, "<u2", 3))
    assert len(workers) == 3


def test_processes_do_not_import_torch() -> None:
    code = f"import sys, runpy; runpy.run_path({encoding.__file__!r}, run_name='x'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "tokenizers" in loaded.split()
    assert not {"torch", "transformers", "raft"} & set(loaded.split())
