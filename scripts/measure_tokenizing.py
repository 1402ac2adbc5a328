"""Tokenize a large corpus, read an epoch of it, and print how fast that is and how much memory it takes.

The corpus is made of the documents of one parquet file, repeated under another first word each time, and
written as parquet, jsonl and txt, compressed and not:

    python scripts/measure_tokenizing.py wikipedia/train.parquet /tmp/corpus --gigabytes 5 --processes 2
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

SHARD_BYTES = 250_000_000
FORMATS = ("parquet", "jsonl", "jsonl.gz", "jsonl.zst", "txt", "txt.gz", "txt.zst")


class PeakMemory(threading.Thread):
    """Watches the resident memory of this process, and of it with all its children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = self.total = self.children = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        this = psutil.Process()
        while not self.stopped.wait(0.2):
            own = this.memory_info().rss
            others = 0
            for child in this.children(recursive=True):
                try:
                    others += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.own, self.total = max(self.own, own), max(self.total, own + others)
            self.children = max(self.children, others)

    def __enter__(self) -> PeakMemory:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.join()

    def __str__(self) -> str:
        own, children, total = (f"{value / 2**20:,.0f}" for value in (self.own, self.children, self.total))
        return f"peak RSS {own} MiB, of its tokenizing processes {children} MiB, together {total} MiB"


def documents(source: Path) -> Iterator[str]:
    """The file's documents without end, under another first word in each round."""
    for number in count():
        with pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20) as parquet:
            for batch in parquet.iter_batches(64, columns=["text"], use_threads=False):
                for text in batch.column(0).to_pylist():
                    yield f"Round{number} {text}" if number else text


def write_corpus(source: Path, folder: Path, size: int) -> None:
    """Shards of all formats, until they hold so many bytes of text."""
    texts = documents(source)
    for number in range(-(-size // SHARD_BYTES)):
        suffix = FORMATS[number % len(FORMATS)]
        path = folder / f"train-{number:05d}.{suffix}"
        shard = _take(texts, min(SHARD_BYTES, size - number * SHARD_BYTES))
        if suffix == "parquet":
            _write_parquet(shard, path)
            continue
        with _open(path) as stream:
            for text in shard:
                stream.write(text + "\n\n" if "txt" in suffix else json.dumps({"text": text}) + "\n")


def _take(texts: Iterator[str], size: int) -> Iterator[str]:
    while size > 0:
        text = next(texts)
        size -= len(text.encode())
        yield text


def _write_parquet(texts: Iterator[str], path: Path) -> None:
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        while rows := [text for _, text in zip(range(1000), texts, strict=False)]:
            writer.write_table(pa.table({"text": rows}, schema))


def _open(path: Path) -> IO[str]:
    stream: Any = path.open("wb")
    if path.suffix == ".gz":
        stream = gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1)
    elif path.suffix == ".zst":
        stream = zstandard.ZstdCompressor().stream_writer(stream)
    return io.TextIOWrapper(stream, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="parquet file with a column 'text'")
    parser.add_argument("folder", type=Path, help="where the corpus and its tokens are written")
    parser.add_argument(
        "--gigabytes", type=float, default=5.0, help="text of the corpus, in units of 10^9 bytes"
    )
    parser.add_argument("--processes", type=int, default=None, help="that tokenize; all cores by default")
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--vocab_size", type=int, default=30_522)
    parser.add_argument("--batch_size", type=int, default=256, help="of the epoch that is read")
    arguments = parser.parse_args()

    os.environ["RAFT_CACHE"] = str(arguments.folder / "cache")
    corpus_folder = arguments.folder / "corpus"
    if not corpus_folder.exists():
        corpus_folder.mkdir(parents=True)
        write_corpus(arguments.source, corpus_folder, int(arguments.gigabytes * 1e9))
    measure(corpus_folder, arguments)


def measure(corpus_folder: Path, arguments: argparse.Namespace) -> None:
    """Print the measurements, a line each."""
    from raft.data.corpora import open_corpus
    from raft.data.masking import MaskedSequences
    from raft.data.token_store import corpus_tokenizer, tokenize_corpus

    say = print
    with PeakMemory() as memory:
        begun = time.perf_counter()
        corpus = open_corpus(str(corpus_folder))
        say(f"content {corpus.fingerprint} hashed in {time.perf_counter() - begun:.0f} s", flush=True)
        begun = time.perf_counter()
        tokenizer = corpus_tokenizer(corpus, arguments.vocab_size)
        say(f"tokenizer of {len(tokenizer):,} in {time.perf_counter() - begun:.0f} s; {memory}", flush=True)

    said = begun = time.perf_counter()
    last = 0

    def progress(read: int, tokens: int) -> None:
        nonlocal said, last
        last = tokens
        if time.perf_counter() - said > 60:
            said = time.perf_counter()
            rate = tokens / (said - begun)
            say(f"  {read:,} documents, {tokens:,} tokens, {rate:,.0f} tokens/s; {memory}", flush=True)

    with PeakMemory() as memory:
        store = tokenize_corpus(
            corpus, tokenizer, arguments.length, processes=arguments.processes, progress=progress
        )
    seconds = time.perf_counter() - begun
    say(
        f"{last:,} tokens in {seconds:.0f} s: {last / seconds:,.0f} tokens/s, "
        f"{arguments.gigabytes * 1000 / seconds:.2f} MB/s; {memory}"
    )
    say(
        f"train {store.train.shape} and validation {store.validation.shape} of {store.train.dtype}, "
        f"{(store.train.nbytes + store.validation.nbytes) / 1e9:.2f} GB on disk",
        flush=True,
    )
    draws = len(store.train)
    data = MaskedSequences(store.train, tokenizer, seed=1, draws=draws)
    begun = time.perf_counter()
    with PeakMemory() as memory:
        for start in range(0, draws, arguments.batch_size):
            data.batch(range(start, min(start + arguments.batch_size, draws)))
    rate = draws / (time.perf_counter() - begun)
    say(f"an epoch of {draws:,} sequences in random order: {rate:,.0f} sequences/s; {memory}")


if __name__ == "__main__":
    main()
