"""Corpora on disk as tokens: the same in any batches, made once, whole, and again when anything changes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zstandard
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from raft.data import cache
from raft.data.text import token_store
from raft.data.text.corpora import Corpus, open_corpus
from raft.data.text.python_docs import is_validation
from raft.data.text.readers import Shard
from raft.data.text.token_store import TokenStore, corpus_tokenizer, open_store, tokenize_corpus
from raft.data.text.tokens import SPECIAL_TOKENS, token_dtype, train_tokenizer
from raft.errors import InputError

TEXTS = [f"The quick brown fox number {i} jumps over the lazy dogs of street {i * 7}." for i in range(600)]
TOKENIZER = train_tokenizer(TEXTS, 150, max_length=16)
LENGTH = 16

# a child that starts from nothing would import torch, which takes seconds
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_store, "BATCH_CHARACTERS", 1500)  # as if the corpus were large
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards of three formats."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    pd.DataFrame({"text": TEXTS[:200]}).to_parquet(folder / "a.parquet")
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[200:400]))
    (folder / "c.txt.zst").write_bytes(zstandard.compress("\n\n".join(TEXTS[400:]).encode()))
    return folder


def words(count: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are ``w0`` to ``w{count - 1}``, numbered after the special ones."""
    tokens = [*SPECIAL_TOKENS, *(f"w{i}" for i in range(count))]
    fast = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=fast, **names)


def stream(texts: list[str]) -> list[int]:
    return [
        i
        for text in texts
        for i in (*TOKENIZER(text, add_special_tokens=False).input_ids, TOKENIZER.sep_token_id)
    ]


def tokens(store: TokenStore) -> tuple[list[list[int]], list[list[int]]]:
    return store.train.tolist(), store.validation.tolist()


def test_sequences_hold_the_documents_of_their_split_in_order(folder: Path) -> None:
    store = tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH)
    for split, held_out in (("train", False), ("validation", True)):
        texts = [text for text in TEXTS if is_validation(text) == held_out]
        assert store.documents[split] == len(texts)
        sequences = getattr(store, split)
        assert (sequences[:, 0] == TOKENIZER.cls_token_id).all()
        assert (sequences[:, -1] == TOKENIZER.sep_token_id).all()
        whole = stream(texts)
        assert len(sequences) == len(whole) // (LENGTH - 2)
        assert sequences[:, 1:-1].ravel().tolist() == whole[: len(sequences) * (LENGTH - 2)]


@pytest.mark.parametrize("limits", [{}, {"max_documents": 151}], ids=str)
def test_batches_of_any_size_make_the_same_files(
    folder: Path, own_cache: Path, limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = []
    for characters in (1, 1_000, 10**9):
        monkeypatch.setattr(token_store, "BATCH_CHARACTERS", characters)
        store = tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH, **limits)
        contents.append({path.name: path.read_bytes() for path in store.folder.iterdir()})
        shutil.rmtree(own_cache / "tokens")
    assert set(contents[0]) == {"train", "validation", "description.json"}
    assert contents[0] == contents[1] == contents[2]


def test_files_are_mapped_and_cannot_be_changed(folder: Path) -> None:
    store = tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH)
    for split in ("train", "validation"):
        sequences: Any = getattr(store, split)
        assert isinstance(sequences, np.memmap)
        assert Path(sequences.filename or "") == store.folder / split
        assert not sequences.flags.writeable
        assert (store.folder / split).stat().st_size == sequences.nbytes


@pytest.mark.parametrize(
    ("size", "dtype"), [(2**16 - 1, "<u2"), (2**16, "<u2"), (2**16 + 1, "<i4"), (70_000, "<i4")]
)
def test_tokens_take_two_bytes_where_the_vocabulary_allows(size: int, dtype: str, tmp_path: Path) -> None:
    tokenizer = words(size - len(SPECIAL_TOKENS))
    assert token_dtype(tokenizer) == np.dtype(dtype)
    last = size - 1 - len(SPECIAL_TOKENS)
    (tmp_path / "a.txt").write_text("\n\n".join(f"w{i} w{last} w{last - i}" for i in range(400)))
    store = tokenize_corpus(open_corpus(str(tmp_path / "a.txt")), tokenizer, 8)
    assert {store.train.dtype, store.validation.dtype} == {np.dtype(dtype)}
    assert store.train[0].tolist()[:5] == [2, 5, size - 1, size - 1, 3]
    assert store.train.max() == size - 1


def test_no_document_is_in_both_splits_and_each_stays_in_its_own(tmp_path: Path) -> None:
    tokenizer = words(1200)

    def write(name: str, documents: range) -> None:
        texts = [" ".join([f"w{i}"] * (1 + i % 9)) for i in documents]
        (tmp_path / "corpus" / name).write_text("\n\n".join(texts))

    def numbers(sequences: Any) -> set[int]:
        ordinary = sequences[sequences >= len(SPECIAL_TOKENS)]
        return set((ordinary - len(SPECIAL_TOKENS)).tolist())

    (tmp_path / "corpus").mkdir()
    write("b.txt", range(600))
    corpus = open_corpus(str(tmp_path / "corpus"), validation_share=0.3)
    before = tokenize_corpus(corpus, tokenizer, 4)
    write("a.txt", range(600, 900))
    write("c.txt", range(900, 1200))
    corpus = open_corpus(str(tmp_path / "corpus"), validation_share=0.3)
    after = tokenize_corpus(corpus, tokenizer, 4)
    assert numbers(before.train) | numbers(before.validation) == set(range(600))
    assert not numbers(before.train) & numbers(before.validation)
    assert numbers(after.train) | numbers(after.validation) == set(range(1200))
    assert not numbers(after.train) & numbers(after.validation)
    assert numbers(before.train) < numbers(after.train)
    assert numbers(before.validation) < numbers(after.validation)
    assert 0.25 < len(numbers(after.validation)) / 1200 < 0.35


def test_files_named_validation_are_held_out_whole(folder: Path) -> None:
    (folder / "b.jsonl").rename(folder / "validation-00000-of-00001.jsonl")
    store = tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH)
    assert store.documents == {"train": 400, "validation": 200}
    assert store.validation[:, 1:-1].ravel().tolist() == stream(TEXTS[200:400])[: 14 * len(store.validation)]


def test_what_a_file_is_for_is_part_of_the_content(tmp_path: Path) -> None:
    texts = tmp_path / "corpus"
    texts.mkdir()
    (texts / "dev.txt").write_text("\n\n".join(TEXTS[:100]))
    (texts / "train.txt").write_text("\n\n".join(TEXTS[100:]))
    before = tokenize_corpus(open_corpus(str(texts)), TOKENIZER, LENGTH)
    (texts / "dev.txt").rename(texts / "a.txt")
    (texts / "train.txt").rename(texts / "dev.txt")
    after = tokenize_corpus(open_corpus(str(texts)), TOKENIZER, LENGTH)
    assert before.documents == {"train": 500, "validation": 100}
    assert after.documents == {"train": 100, "validation": 500}
    assert np.array_equal(before.train, after.validation)


def test_max_documents_are_the_first_of_the_training_split(folder: Path) -> None:
    store = tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH, max_documents=301)
    train = [text for text in TEXTS if not is_validation(text)][:301]
    assert store.documents["train"] == 301
    assert store.train[:, 1:-1].ravel().tolist() == stream(train)[: 14 * len(store.train)]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that were tokenized into."""
    folders: list[Path] = []
    build_once = cache.build_once

    def noted(folder: Path, build: Callable[[Path], None]) -> Path:
        def build_and_note(unfinished: Path) -> None:
            folders.append(folder)
            build(unfinished)

        return build_once(folder, build_and_note)

    monkeypatch.setattr(token_store, "build_once", noted)
    return folders


def test_the_same_is_not_built_again(folder: Path, tmp_path: Path, built: list[Path]) -> None:
    first = tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH)
    TOKENIZER.save_pretrained(tmp_path / "tokenizer")
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path / "tokenizer")
    folder.rename(tmp_path / "elsewhere")
    corpus = open_corpus(str(tmp_path / "elsewhere"))
    second = tokenize_corpus(corpus, again, LENGTH)
    assert second.folder == first.folder
    assert built == [first.folder]
    assert tokens(first) == tokens(second)


def change_a_byte(folder: Path) -> None:
    path = folder / "b.jsonl"
    content = path.read_text()
    assert "fox number 300" in content
    path.write_text(content.replace("fox number 300", "fox number 900"))


def change_the_split(folder: Path) -> None:
    (folder / "c.txt.zst").rename(folder / "dev.txt.zst")


def swap_files(folder: Path) -> None:
    (folder / "a.parquet").rename(folder / "d.parquet")


OTHER_TOKENIZER = train_tokenizer(TEXTS, 140, max_length=16)


@pytest.mark.parametrize(
    ("change", "opening", "tokenizer", "settings"),
    [
        pytest.param(change_a_byte, {}, TOKENIZER, {}, id="a byte"),
        pytest.param(change_the_split, {}, TOKENIZER, {}, id="what a file is for"),
        pytest.param(swap_files, {}, TOKENIZER, {}, id="order of the files"),
        pytest.param(None, {"validation_share": 0.2}, TOKENIZER, {}, id="validation_share"),
        pytest.param(None, {}, OTHER_TOKENIZER, {}, id="tokenizer"),
        pytest.param(None, {}, TOKENIZER, {"length": 17}, id="length"),
        pytest.param(None, {}, TOKENIZER, {"max_documents": 200}, id="max_documents"),
    ],
)
def test_what_changes_is_built_anew(
    change: Callable[[Path], None] | None,
    opening: dict[str, Any],
    tokenizer: PreTrainedTokenizerFast,
    settings: dict[str, Any],
    folder: Path,
    built: list[Path],
) -> None:
    first = tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH)
    if change is not None:
        change(folder)
    second = tokenize_corpus(open_corpus(str(folder), **opening), tokenizer, **{"length": LENGTH, **settings})
    assert built == [first.folder, second.folder]
    assert tokens(first) != tokens(second)


def test_another_normalizer_is_another_tokenizer(folder: Path, built: list[Path]) -> None:
    cased = train_tokenizer(TEXTS, 150, max_length=16)
    cased.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    stores = [
        tokenize_corpus(open_corpus(str(folder)), tokenizer, LENGTH) for tokenizer in (TOKENIZER, cased)
    ]
    assert len(built) == 2
    assert tokens(stores[0]) != tokens(stores[1])


def left(own_cache: Path) -> list[str]:
    return [path.name for path in (own_cache / "tokens").iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt], ids=lambda kind: kind.__name__)
def test_an_interrupted_build_leaves_nothing_and_is_made_again(
    error: type[BaseException], folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_store, "BATCH_CHARACTERS", 10_000)

    def interrupt(documents: int, tokens: int) -> None:
        assert tokens > 0
        if documents > 300:
            raise error("in the middle")

    corpus = open_corpus(str(folder))
    with pytest.raises(error, match="in the middle"):
        tokenize_corpus(corpus, TOKENIZER, LENGTH, progress=interrupt)
    assert left(own_cache) == []
    store = tokenize_corpus(corpus, TOKENIZER, LENGTH)
    assert sum(store.documents.values()) == len(TEXTS)


def test_a_killed_build_is_made_again(folder: Path, own_cache: Path) -> None:
    corpus = open_corpus(str(folder))

    def build_for_ever() -> None:
        tokenize_corpus(corpus, TOKENIZER, LENGTH, progress=lambda *_: time.sleep(60))

    child = FORK.Process(target=build_for_ever)
    child.start()
    end = time.monotonic() + 30
    while not list(own_cache.glob("tokens/*.unfinished/train")):
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    store = tokenize_corpus(corpus, TOKENIZER, LENGTH)
    assert sum(store.documents.values()) == len(TEXTS)
    assert left(own_cache) == [store.folder.name]


def test_processes_that_ask_at_once_build_once(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    corpus = open_corpus(str(folder))

    def logged(shard: Shard) -> Shard:
        def texts() -> Iterator[str]:
            with log.open("a") as file:
                file.write("read\n")
            time.sleep(0.1)
            yield from shard.texts()

        return Shard(texts, shard.fingerprint)

    train, validation = (tuple(map(logged, shards)) for shards in (corpus.train, corpus.validation))
    corpus = Corpus(corpus.name, train, validation)

    def ask() -> None:
        store = tokenize_corpus(corpus, TOKENIZER, LENGTH)
        assert sum(store.documents.values()) == len(TEXTS)

    children = [FORK.Process(target=ask) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert log.read_text() == "read\n" * len(train + validation)


def test_a_broken_shard_is_named_and_nothing_is_left(folder: Path, own_cache: Path) -> None:
    path = folder / "c.txt.zst"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"^cannot read .*c\.txt\.zst as text: .*") as caught:
        tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH)
    assert "\n" not in str(caught.value)
    assert left(own_cache) == []


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (2, "length must be at least 3, not 2"),
        (
            100_000,
            r"has \d+ tokens for train, which do not fill one sequence of 100000; use more documents",
        ),
        (3000, r"has \d+ tokens for validation, which do not fill one sequence of 3000"),
    ],
    ids=["length", "short train", "short validation"],
)
def test_lengths_that_cannot_work_are_refused(length: int, message: str, folder: Path) -> None:
    with pytest.raises(InputError, match=message):
        tokenize_corpus(open_corpus(str(folder)), TOKENIZER, length)


def test_a_cache_below_a_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAFT_CACHE", str(folder / "b.jsonl" / "cache"))
    with pytest.raises(InputError, match=r"the cache .*b\.jsonl/cache/tokens cannot be written to") as caught:
        tokenize_corpus(open_corpus(str(folder)), TOKENIZER, LENGTH)
    assert "\n" not in str(caught.value)


def truncate(folder: Path) -> None:
    os.truncate(folder / "train", 100)


def lengthen(folder: Path) -> None:
    with (folder / "train").open("ab") as file:
        file.write(b"more")


def describe(content: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "description.json").write_text(content)

    return damage


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "longer": lengthen,
    "emptied": lambda folder: os.truncate(folder / "validation", 0),
    "missing": lambda folder: (folder / "validation").unlink(),
    "no description": lambda folder: (folder / "description.json").unlink(),
    "half a description": lambda folder: os.truncate(folder / "description.json", 50),
    "description of nothing": describe("{}"),
    "description of another kind": describe("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tokens_are_named_in_one_line(damage: str, folder: Path) -> None:
    corpus = open_corpus(str(folder))
    store = tokenize_corpus(corpus, TOKENIZER, LENGTH)
    DAMAGE[damage](store.folder)
    for open_again in (
        lambda: open_store(store.folder),
        lambda: tokenize_corpus(corpus, TOKENIZER, LENGTH),
    ):
        with pytest.raises(InputError) as caught:
            open_again()
        assert str(caught.value).startswith(f"the tokens in {store.folder} are damaged (")
        assert str(caught.value).endswith("); remove the folder")
        assert "\n" not in str(caught.value)


def test_a_vocabulary_is_trained_once_on_the_training_documents(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = open_corpus(str(folder))
    train = [text for text in TEXTS if not is_validation(text)]
    first = corpus_tokenizer(corpus, 150, 64)
    assert first.get_vocab() == train_tokenizer(train, 150).get_vocab()
    assert first.model_max_length == 64
    change_a_byte(folder)
    changed = open_corpus(str(folder))
    others = [corpus_tokenizer(corpus, 151, 64), corpus_tokenizer(corpus, 150, 65)]
    with monkeypatch.context() as patched:
        patched.setattr(token_store, "train_tokenizer", lambda *_: pytest.fail("trained again"))
        again = corpus_tokenizer(corpus, 150, 64)
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            corpus_tokenizer(changed, 150, 64)
    assert again.backend_tokenizer.to_str() == first.backend_tokenizer.to_str()
    assert len(others[0]) != len(first)
    assert others[1].model_max_length == 65
