"""Token ids of texts, on all cores: the tokenizer has threads of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tokenizers import Tokenizer

PIECE = 1_000_000
"""Characters that are tokenized at once: the tokenizer needs some hundred bytes for each."""


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
