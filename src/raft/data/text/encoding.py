"""Tokenization of texts in worker processes.

The workers run this file by its path, not as a module of raft: a process that imports raft, and so torch,
takes 420 MB and five seconds; one that imports ``tokenizers`` alone takes 60 MB and a fraction of a second.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tokenizers import Tokenizer

Label = TypeVar("Label")
Groups = Sequence[Sequence[str]]
Tokens = NDArray[Any]

PIECE = 1_000_000
"""Characters that are tokenized at once: the tokenizer needs some hundred bytes for each."""


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encode(tokenizer: Tokenizer, texts: Sequence[str], end: int, dtype: DTypeLike) -> Tokens:
    """The token ids of texts, each text's followed by ``end``, in one array of ``dtype``.

    Args:
        tokenizer: neither truncates nor pads.
        texts: any; long ones are encoded in pieces, cut at spaces.
        end: id of the token that ends a text.
        dtype: wide enough for the vocabulary.
    """
    pieces = [list(_pieces(text)) for text in texts]
    encodings = iter(tokenizer.encode_batch_fast(list(chain(*pieces)), add_special_tokens=False))
    ids: list[int] = []
    for parts in pieces:
        for encoding in islice(encodings, len(parts)):
            ids += encoding.ids
        ids.append(end)
    return np.array(ids, dtype=dtype)


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > PIECE:
        space = text.rfind(" ", start + 1, start + PIECE)
        stop = space if space > 0 else start + PIECE
        yield text[start:stop]
        start = stop
    yield text[start:]


def encode_in_order(
    batches: Iterable[tuple[Label, Groups]],
    tokenizer: Tokenizer,
    end: int,
    dtype: DTypeLike,
    processes: int,
) -> Generator[tuple[Label, list[Tokens]], None, None]:
    """``encode`` each batch's groups of texts, in the order of the batches, in several processes.

    Few batches are encoded in this process: workers would take longer to start than to finish.

    Args:
        batches: groups of texts, each batch with a label that is passed through; read as needed.
        tokenizer: neither truncates nor pads.
        end: id of the token that ends a text.
        dtype: of the tokens.
        processes: number of workers, at least 1; with 1, this process does the work.

    Raises:
        ChildProcessError: where a process ends before its work does.
    """
    batches = iter(batches)
    first = list(islice(batches, 2 * processes))
    batches = chain(first, batches)
    if processes == 1 or len(first) < 2 * processes:
        for label, groups in batches:
            yield label, [encode(tokenizer, texts, end, dtype) for texts in groups]
        return
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    workers: list[subprocess.Popen[bytes]] = []
    # one thread waits for each worker
    threads = ThreadPoolExecutor(processes)
    try:
        for _ in range(processes):
            workers.append(_start(tokenizer, end, dtype))
            idle.put(workers[-1])
        pending: deque[tuple[Label, Future[list[Tokens]]]] = deque()
        for label, groups in batches:
            pending.append((label, threads.submit(_request, idle, groups)))
            if len(pending) > 3 * processes:
                done, future = pending.popleft()
                yield done, future.result()
        for done, future in pending:
            yield done, future.result()
    finally:
        for worker in workers:
            worker.kill()
        threads.shutdown(cancel_futures=True)
        for worker in workers:
            worker.communicate()


def _start(tokenizer: Tokenizer, end: int, dtype: DTypeLike) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONSAFEPATH": "1",  # do not import from this file's folder
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }
    worker = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    try:
        _send(worker.stdin, (tokenizer.to_str(), end, np.dtype(dtype).str))
    except OSError as error:
        raise _exit_error(worker) from error
    return worker


def _request(idle: SimpleQueue[subprocess.Popen[bytes]], groups: Groups) -> list[Tokens]:
    worker = idle.get()
    try:
        _send(worker.stdin, groups)
        tokens: list[Tokens] = pickle.load(worker.stdout)  # type: ignore[arg-type]
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise _exit_error(worker) from error
    finally:
        idle.put(worker)
    return tokens


def _exit_error(worker: subprocess.Popen[bytes]) -> ChildProcessError:
    with suppress(subprocess.TimeoutExpired):
        worker.wait(timeout=5)  # its pipes close before it has a status
    return ChildProcessError(
        f"a tokenizing process ended with status {worker.returncode}; if memory ran out, use fewer processes"
    )


def _send(stream: Any, message: Any) -> None:
    pickle.dump(message, stream, protocol=pickle.HIGHEST_PROTOCOL)
    stream.flush()


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    serialized, end, dtype = pickle.load(requests)
    tokenizer = Tokenizer.from_str(serialized)
    while True:
        try:
            groups = pickle.load(requests)
        except EOFError:
            return
        _send(answers, [encode(tokenizer, texts, end, dtype) for texts in groups])


if __name__ == "__main__":
    _serve()
