"""Sequences of a few texts, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from raft.data.text.encoding import encode
from raft.data.text.tokens import MLM, Packer, encoder, end_token_id, token_dtype


def pack(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerFast, length: int, objective: str = MLM
) -> NDArray[Any]:
    """All sequences of the documents, each of which has its end token; ``[sequences, length]``."""
    dtype = token_dtype(tokenizer)
    ids = encode(encoder(tokenizer), list(documents), end_token_id(tokenizer, objective), dtype)
    return Packer(tokenizer, length, objective).add(ids)
