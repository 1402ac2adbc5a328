"""Datasets of the hub, without a network: ``load_dataset`` gives datasets that are made here."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raft.data import hub
from raft.data.text import hub_texts, token_store
from raft.data.text.corpora import open_corpus
from raft.data.text.hub_texts import CachedStream, open_hub
from raft.data.text.token_store import tokenize_corpus
from raft.data.text.tokens import train_tokenizer
from raft.errors import InputError

TEXTS = [f"The quick brown fox number {i} jumps over the lazy dogs of street {i * 7}." for i in range(700)]
HELD_OUT = [f"A held-out sentence of number {i}." for i in range(90)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(hub, "_revision", lambda name: "0123abcd")
    return tmp_path / "cache"


class Origin:
    """A server of texts, whose connection breaks where it is told to."""

    def __init__(self, texts: list[str] = TEXTS) -> None:
        self.texts = texts
        self.breaks: list[tuple[int, BaseException]] = []
        self.asked = 0

    def rows(self) -> Iterator[dict[str, str]]:
        self.asked += 1
        for number, text in enumerate(self.texts):
            if self.breaks and self.breaks[0][0] == number:
                raise self.breaks.pop(0)[1]
            yield {"text": text}

    def stream(self) -> datasets.IterableDataset:
        return datasets.IterableDataset.from_generator(lambda: self.rows())


def from_memory(folder: Path) -> datasets.IterableDataset:
    return datasets.Dataset.from_dict({"text": TEXTS}).to_iterable_dataset(num_shards=3)


def from_parquet(folder: Path) -> datasets.IterableDataset:
    files = [folder / "a.parquet", folder / "b.parquet"]
    pq.write_table(pa.table({"text": TEXTS[:450]}), files[0], row_group_size=130)
    pq.write_table(pa.table({"text": TEXTS[450:]}), files[1], row_group_size=77)
    return datasets.load_dataset("parquet", data_files=list(map(str, files)), split="train", streaming=True)


def from_json(folder: Path) -> datasets.IterableDataset:
    file = folder / "a.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return datasets.load_dataset("json", data_files=str(file), split="train", streaming=True)


def from_generator(folder: Path) -> datasets.IterableDataset:
    return Origin().stream()


def from_map(folder: Path) -> datasets.IterableDataset:
    return Origin().stream().map(lambda row: {"text": row["text"]})


STREAMS = [from_memory, from_parquet, from_json, from_generator, from_map]
every_stream = pytest.mark.parametrize("make", STREAMS, ids=lambda make: make.__name__.removeprefix("from_"))


def hold(monkeypatch: pytest.MonkeyPatch, **splits: Any) -> list[tuple[Any, ...]]:
    """Let ``load_dataset`` return these splits; gives a list of what it was called with."""
    calls: list[tuple[Any, ...]] = []

    def load_dataset(*arguments: Any, **named: Any) -> dict[str, Any]:
        calls.append((*arguments, named))
        return splits

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def read_some(texts: Iterator[str], count: int) -> list[str]:
    """So many texts; no more are read, as by a corpus of which enough is known."""
    actual = list(islice(texts, count))
    assert isinstance(texts, Generator)
    texts.close()
    return actual


def table(texts: list[Any], column: str = "text") -> datasets.Dataset:
    return datasets.Dataset.from_dict({"id": list(range(len(texts))), column: texts})


def cached(folder: Path) -> list[str]:
    """The texts that a stream's folder holds, as one list."""
    files = sorted(folder.glob("*.parquet"))
    return [text for file in files for text in pq.read_table(file)["text"].to_pylist()]


def test_a_dataset_and_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = hold(monkeypatch, train=table(TEXTS), test=table(["no"]), validation=table(HELD_OUT))
    corpus = open_corpus("owner/name:small")
    assert calls == [("owner/name", "small", {})]
    assert list(corpus.documents("train")) == TEXTS
    assert list(corpus.documents("validation")) == HELD_OUT
    open_corpus("owner/name")
    assert calls[1] == ("owner/name", None, {})


def test_without_held_out_texts_a_share_of_the_documents_is(monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, everything=table(TEXTS), test=table(["no"]))
    corpus = open_corpus("name", validation_share=0.3)
    train, validation = list(corpus.documents("train")), list(corpus.documents("validation"))
    assert sorted(train + validation) == sorted(TEXTS)
    assert not set(train) & set(validation)
    assert 150 < len(validation) < 270


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_rows_without_text_are_left_out(streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    part = table(["one", "", None, " \n", "two"])
    hold(monkeypatch, train=part.to_iterable_dataset() if streaming else part)
    for _ in range(2):
        assert list(open_hub("a/b", "text", streaming)["train"].texts()) == ["one", "two"]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("body", "a/b: no column 'body', only id, text"),
        ("id", "column 'id' of a/b holds int, not text"),
    ],
)
def test_wrong_columns_are_named(
    column: str, message: str, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = table(TEXTS)
    hold(monkeypatch, train=part.to_iterable_dataset() if streaming else part)
    with pytest.raises(InputError) as caught:
        list(open_hub("a/b", column, streaming)["train"].texts())
    assert str(caught.value) == message


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_an_unknown_name_is_told_in_one_line(streaming: bool) -> None:
    with pytest.raises(
        InputError, match="nobody/nothing is neither a local path nor a hub dataset"
    ) as caught:
        open_corpus("nobody/nothing", streaming=streaming)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_long_errors_of_loading_become_one_line(streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("the server is away\nand this is why\n")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=r"that can be loaded: the server is away$"):
        open_corpus("a/b", streaming=streaming)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_the_fingerprint_tells_content_and_column_apart(
    streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = datasets.Dataset.from_dict({"text": TEXTS, "body": TEXTS})

    def fingerprint(source: str = "a/b", column: str = "text") -> str:
        hold(monkeypatch, train=part.to_iterable_dataset() if streaming else part)
        return open_corpus(source, column, streaming=streaming).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(column="body") != first
    part = part.select(range(600))
    monkeypatch.setattr(hub, "_revision", lambda name: "4567ef01")
    assert fingerprint() != first


def test_a_stream_is_asked_for_at_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = hold(monkeypatch, train=Origin().stream())
    open_hub("owner/name:small", "text", streaming=True)
    assert calls == [("owner/name", "small", {"streaming": True, "revision": "0123abcd"})]


@every_stream
def test_a_stream_is_read_from_its_origin_once(
    make: Callable[[Path], datasets.IterableDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_texts, "SHARD_CHARACTERS", 10_000)
    stream = make(tmp_path)
    folder = tmp_path / "stream"
    assert list(CachedStream("a/b", stream, "text", folder).texts()) == TEXTS
    assert cached(folder) == TEXTS
    assert len(list(folder.glob("*.parquet"))) > 3
    gone = Origin([])
    assert list(CachedStream("a/b", gone.stream(), "text", folder).texts()) == TEXTS
    assert gone.asked == 0


@every_stream
@pytest.mark.parametrize("stops", [(1,), (7, 100), (250, 251), (699,), (700,)], ids=str)
def test_who_stops_early_goes_on_from_there(
    stops: tuple[int, ...], make: Callable[[Path], datasets.IterableDataset], tmp_path: Path
) -> None:
    stream = CachedStream("a/b", make(tmp_path), "text", tmp_path / "stream")
    for stop in stops:
        assert read_some(stream.texts(), stop) == TEXTS[:stop]
        assert cached(stream.folder) == TEXTS[:stop]
    assert list(stream.texts()) == TEXTS
    assert cached(stream.folder) == TEXTS


@pytest.mark.parametrize("places", [(0,), (1,), (100, 101), (99, 350, 699), (5, 5, 5)], ids=str)
def test_a_broken_stream_goes_on_where_it_stopped(places: tuple[int, ...], tmp_path: Path) -> None:
    origin = Origin()
    origin.breaks = [(place, OSError("reset by peer\nsome detail")) for place in places]
    stream = CachedStream("a/b", origin.stream(), "text", tmp_path / "stream")
    for place in places:
        actual: list[str] = []
        with pytest.raises(ConnectionError) as caught:
            actual.extend(iter(stream.texts()))
        known = cached(stream.folder)
        assert known == TEXTS[: len(known)]
        assert len(known) == place
        assert str(caught.value) == (
            f"the stream a/b broke after {len(known):,} texts: reset by peer; start again, and it goes on "
            "from there"
        )
    assert list(stream.texts()) == TEXTS
    assert cached(stream.folder) == TEXTS
    assert origin.breaks == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
def test_an_interrupted_stream_keeps_what_arrived(error: type[BaseException], tmp_path: Path) -> None:
    origin = Origin()
    origin.breaks = [(350, error())]
    stream = CachedStream("a/b", origin.stream(), "text", tmp_path / "stream")
    with pytest.raises(error):
        list(stream.texts())
    assert cached(stream.folder) == TEXTS[: len(cached(stream.folder))]
    assert len(cached(stream.folder)) == 350
    assert list(stream.texts()) == TEXTS
    assert cached(stream.folder) == TEXTS


def test_a_file_that_was_not_noted_is_written_again(tmp_path: Path) -> None:
    stream = CachedStream("a/b", from_memory(tmp_path), "text", tmp_path / "stream")
    read_some(stream.texts(), 1)
    (stream.folder / "00001.parquet").write_bytes(b"half a file of a process that was killed")
    assert list(stream.texts()) == TEXTS
    assert cached(stream.folder) == TEXTS


@every_stream
def test_two_readers_in_turn_get_all_and_write_it_once(
    make: Callable[[Path], datasets.IterableDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_texts, "SHARD_CHARACTERS", 10_000)
    stream = CachedStream("a/b", make(tmp_path), "text", tmp_path / "stream")
    pairs = list(zip(stream.texts(), stream.texts(), strict=True))
    assert pairs == [(text, text) for text in TEXTS]
    assert cached(stream.folder) == TEXTS


@every_stream
def test_who_is_overtaken_writes_what_the_other_has_not(
    make: Callable[[Path], datasets.IterableDataset], tmp_path: Path
) -> None:
    stream = CachedStream("a/b", make(tmp_path), "text", tmp_path / "stream")
    slow, fast = stream.texts(), stream.texts()
    assert list(islice(slow, 110)) == TEXTS[:110]
    assert read_some(fast, 330) == TEXTS[:330]
    assert cached(stream.folder) == TEXTS[:330]
    assert read_some(slow, 400) == TEXTS[110:510]
    assert cached(stream.folder) == TEXTS[:510]
    assert list(stream.texts()) == TEXTS
    assert cached(stream.folder) == TEXTS
    assert json.loads((stream.folder / "progress.json").read_text())["complete"]


def test_readers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_texts, "SHARD_CHARACTERS", 3000)
    stream = CachedStream("a/b", from_parquet(tmp_path), "text", tmp_path / "stream")
    with ThreadPoolExecutor(4) as threads:
        actual = list(threads.map(lambda _: list(stream.texts()), range(4)))
    assert actual == [TEXTS] * 4
    assert cached(stream.folder) == TEXTS


def test_tokens_of_a_broken_stream_are_those_of_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_store, "BATCH_CHARACTERS", 1500)
    tokenizer = train_tokenizer(TEXTS, 150)
    hold(monkeypatch, train=table(TEXTS))
    whole = tokenize_corpus(open_corpus("a/b"), tokenizer, 16)
    origin = Origin()
    origin.breaks = [(200, OSError("reset")), (500, OSError("reset"))]
    hold(monkeypatch, train=origin.stream())
    for _ in range(2):
        with pytest.raises(ConnectionError, match="goes on from there"):
            tokenize_corpus(open_corpus("a/b", streaming=True), tokenizer, 16)
    streamed = tokenize_corpus(open_corpus("a/b", streaming=True), tokenizer, 16)
    assert streamed.folder != whole.folder
    assert streamed.train.tolist() == whole.train.tolist()
    assert streamed.validation.tolist() == whole.validation.tolist()


def test_a_limited_corpus_reads_no_more_of_a_stream(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "BATCH_CHARACTERS", 1500)
    tokenizer = train_tokenizer(TEXTS, 150)
    hold(monkeypatch, train=Origin().stream())
    corpus = open_corpus("a/b", validation_share=0.3, streaming=True)
    store = tokenize_corpus(corpus, tokenizer, 16, max_documents=50)
    assert store.documents["train"] == 50
    (folder,) = (own_cache / "streams").iterdir()
    known = cached(folder)
    assert known == TEXTS[: len(known)]
    assert 50 < len(known) < 350


def test_a_cache_below_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "file" / "cache"))
    hold(monkeypatch, train=Origin().stream())
    with pytest.raises(InputError, match=r"the cache .*file/cache/streams/.* cannot be written to") as caught:
        list(open_hub("a/b", "text", streaming=True)["train"].texts())
    assert "\n" not in str(caught.value)
