"""Token ids of texts, on all cores: the tokenizer has threads of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tokenizers import Tokenizer

PIECE = 1_000_000
"""Characters of a text that one core tokenizes."""

BATCH = PIECE
"""Characters that are tokenized at once on each core: the tokenizer needs some hundred bytes for each."""


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encode(tokenizer: Tokenizer, texts: Sequence[str], end: int, dtype: DTypeLike) -> NDArray[Any]:
    """The token ids of texts, each text's followed by ``end``, in one array of ``dtype``.

    Args:
        tokenizer: neither truncates nor pads.
        texts: any; long ones are encoded in pieces, cut at spaces.
        end: id of the token that ends a text.
        dtype: wide enough for the vocabulary.
    """
    found: list[NDArray[Any]] = []
    batch: list[tuple[str, bool]] = []

    def encode_batch() -> None:
        encodings = tokenizer.encode_batch_fast([piece for piece, _ in batch], add_special_tokens=False)
        for encoding, (_, is_last) in zip(encodings, batch, strict=True):
            found.append(np.array([*encoding.ids, end] if is_last else encoding.ids, dtype=dtype))
        batch.clear()

    size, most = 0, BATCH * usable_cores()
    for text in texts:
        pieces = list(_pieces(text))
        for number, piece in enumerate(pieces, start=1):
            if batch and size + len(piece) > most:
                encode_batch()
                size = 0
            batch.append((piece, number == len(pieces)))
            size += len(piece)
    encode_batch()
    return np.concatenate([np.empty(0, dtype), *found])


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > PIECE:
        space = text.rfind(" ", start + 1, start + PIECE)
        stop = space if space > 0 else start + PIECE
        yield text[start:stop]
        start = stop
    yield text[start:]
