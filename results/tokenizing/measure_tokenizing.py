"""Time and memory of tokenizing a large corpus and reading it in a training's order.

A corpus of any size is made of one parquet file, whose documents' halves are joined anew in each round, so
that none comes twice. It is written as parquet, jsonl and txt, compressed and not, and measured by another
process:

    python results/tokenizing/measure_tokenizing.py write wikipedia/train.parquet CORPUS --gigabytes 5
    python results/tokenizing/measure_tokenizing.py measure CORPUS --processes 2 --out results.json
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from raft.data.text.corpora import Corpus, open_corpus
from raft.data.text.masking import MaskedSequences
from raft.data.text.order import RandomOrder
from raft.data.text.readers import Shard
from raft.data.text.token_store import corpus_tokenizer, tokenize_corpus
from raft.experiments.machine import machine

SHARD_BYTES = 250_000_000
SMALLEST_CORPUS_SHARDS = 7
FORMATS = ("parquet", "jsonl", "jsonl.gz", "jsonl.zst", "txt", "txt.gz", "txt.zst")
READ_SEQUENCES = 20_000
READ_SAMPLES = 20
MEBIBYTE = 2**20


def documents(source: Path) -> Iterator[str]:
    """Documents without end, in a new order in each round: the file's own, then halves of two of them."""
    texts = pq.read_table(source, columns=["text"])["text"].to_pylist()
    yield from (texts[i] for i in RandomOrder(len(texts), 0)(np.arange(len(texts))))
    for number in count(1):
        for one, other in pairwise(RandomOrder(len(texts), number)(np.arange(len(texts)))):
            yield _half(texts[one], 0) + _half(texts[other], 1)


def _half(text: str, which: int) -> str:
    middle = text.find(" ", len(text) // 2)
    return text[middle:] if which else text[:middle]


def write_corpus(source: Path, folder: Path, size: int) -> None:
    """Shards of all formats, until they hold so many bytes of text."""
    folder.mkdir(parents=True)
    texts = documents(source)
    shards = max(-(-size // SHARD_BYTES), SMALLEST_CORPUS_SHARDS)
    for number in range(shards):
        suffix = FORMATS[number % len(FORMATS)]
        path = folder / f"train-{number:05d}.{suffix}"
        shard = _take(texts, size // shards)
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


class ChildMemory(threading.Thread):
    """Tracks the resident memory of this process's children.

    ``getrusage`` cannot: a child's count includes the memory of the parent that it was forked from.

    Attributes:
        largest: bytes of the one that had most.
        together: bytes of all at once.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest = self.together = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        this = psutil.Process()
        while not self._stopped.wait(0.2):
            sizes = []
            for child in this.children(recursive=True):
                try:
                    sizes.append(child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            self.largest = max(self.largest, *sizes, 0)
            self.together = max(self.together, sum(sizes))

    def __enter__(self) -> ChildMemory:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self.join()


class Counted:
    """Counts the bytes of all texts that are read of a corpus.

    Attributes:
        corpus: to be read instead of the one that was given.
        bytes: so far, in UTF-8.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.bytes = 0
        train, validation = (tuple(map(self._counted, s)) for s in (corpus.train, corpus.validation))
        self.corpus = replace(corpus, train=train, validation=validation)

    def _counted(self, shard: Shard) -> Shard:
        def texts() -> Iterator[str]:
            for text in shard.texts():
                self.bytes += len(text.encode())
                yield text

        return Shard(texts, shard.fingerprint)


def resident() -> float:
    """MiB that this process holds now."""
    return float(psutil.Process().memory_info().rss / MEBIBYTE)


def peak() -> float:
    """MiB that this process has held at most, since it began."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All numbers; the tokens are made in a cache that is empty, and removed with it."""
    before = resident()
    begun = time.perf_counter()
    corpus = open_corpus(str(arguments.corpus))
    fingerprint = corpus.fingerprint
    hashing = time.perf_counter() - begun
    begun = time.perf_counter()
    tokenizer = corpus_tokenizer(corpus, arguments.vocab_size)
    training = time.perf_counter() - begun
    print(f"content hashed in {hashing:.0f} s, vocabulary trained in {training:.0f} s", file=sys.stderr)

    counted = Counted(corpus)
    tokens = 0
    reported = begun = time.perf_counter()

    def progress(documents: int, tokens_so_far: int) -> None:
        nonlocal reported, tokens
        tokens = tokens_so_far
        if time.perf_counter() - reported > 60:
            reported = time.perf_counter()
            rate = tokens / (reported - begun)
            print(f"{tokens:,} tokens, {rate:,.0f} a second, {resident():,.0f} MiB", file=sys.stderr)

    # training a vocabulary takes memory that depends on its 20 MB of text, and not on the corpus
    after_vocabulary = peak()
    with ChildMemory() as children:
        store = tokenize_corpus(
            counted.corpus, tokenizer, arguments.length, processes=arguments.processes, progress=progress
        )
    seconds = time.perf_counter() - begun
    tokenizing = {
        "bytes": counted.bytes,
        "documents": sum(store.documents.values()),
        "tokens": tokens,
        "train_sequences": len(store.train),
        "validation_sequences": len(store.validation),
        "bytes_of_tokens": store.train.nbytes + store.validation.nbytes,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds),
        "megabytes_per_second": round(counted.bytes / seconds / 1e6, 2),
        "max_rss_mib": {
            "at the start": round(before),
            "until the vocabulary was trained": round(after_vocabulary),
            "main process": round(peak()),
            "largest child": round(children.largest / MEBIBYTE),
            "all children at once": round(children.together / MEBIBYTE),
        },
    }
    data = MaskedSequences(store.train, tokenizer, seed=1, draws=max(len(store.train), READ_SEQUENCES))
    return {
        "fingerprint": fingerprint,
        "hashing_seconds": round(hashing, 1),
        "vocabulary_seconds": round(training, 1),
        "tokenizing": tokenizing,
        "reading": read(data, arguments.batch_size),
    }


def read(data: MaskedSequences, batch_size: int) -> dict[str, Any]:
    """The first draws of a training, which lie anywhere in the corpus."""
    samples = [resident()]
    begun = time.perf_counter()
    every = READ_SEQUENCES // READ_SAMPLES
    for start in range(0, READ_SEQUENCES, batch_size):
        stop = min(start + batch_size, READ_SEQUENCES)
        data.batch(range(start, stop))
        if stop // every > start // every:
            samples.append(resident())
    return {
        "sequences": READ_SEQUENCES,
        "seconds": round(time.perf_counter() - begun, 2),
        "rss_mib": [round(sample) for sample in samples],
    }


def main() -> None:
    """Write a corpus, or measure one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="make a corpus")
    writing.add_argument("source", type=Path, help="parquet file with a column 'text'")
    writing.add_argument("corpus", type=Path, help="folder that does not exist yet")
    writing.add_argument("--gigabytes", type=float, default=5.0, help="of text, in units of 10^9 bytes")
    measuring = commands.add_parser("measure", help="tokenize and read a corpus")
    measuring.add_argument("corpus", type=Path, help="file or folder")
    measuring.add_argument("--processes", type=int, default=None, help="that tokenize; all cores by default")
    measuring.add_argument("--length", type=int, default=128, help="tokens of a sequence")
    measuring.add_argument("--vocab_size", type=int, default=30_522)
    measuring.add_argument("--batch_size", type=int, default=250, help="sequences that are read at once")
    measuring.add_argument(
        "--label", default=None, help="what the results call the corpus; its path otherwise"
    )
    measuring.add_argument("--out", type=Path, default=None, help="file for the results, beside the terminal")
    arguments = parser.parse_args()
    if arguments.command == "write":
        write_corpus(arguments.source, arguments.corpus, int(arguments.gigabytes * 1e9))
        return
    with tempfile.TemporaryDirectory(dir=arguments.corpus.resolve().parent, prefix="cache-") as cache:
        os.environ["RAFT_CACHE"] = cache
        measured = measure(arguments)
    settings = {
        name: getattr(arguments, name) for name in ("processes", "length", "vocab_size", "batch_size")
    }
    options = " ".join(f"--{name} {value}" for name, value in settings.items() if value is not None)
    label = arguments.label or arguments.corpus
    results = {
        "command": f"python results/tokenizing/measure_tokenizing.py measure {label} {options}",
        "settings": settings,
        "machine": machine(),
        **measured,
    }
    text = json.dumps(results, indent=2) + "\n"
    print(text, end="")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
