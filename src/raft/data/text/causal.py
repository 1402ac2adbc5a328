"""Causal language modelling: each token is predicted from those before it."""

from __future__ import annotations

import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from raft.data.text.sequences import CHUNK, IGNORED, TokenSequences
from raft.data.text.tokens import end_token_id, id_range


class CausalSequences(TokenSequences):
    """Sequences of which every token but the first is a target.

    Args:
        sequences: ``[N, L]``, see ``TokenSequences``, as are ``tokenizer``, ``seed`` and ``draws``.
        within_documents: let positions begin anew with each document, from which the models of
            ``transformers`` know that no token may see those of the documents before its own.

    Raises:
        InputError: for a tokenizer without a token that ends a document.
    """

    never_predicted = np.zeros(0, dtype=np.int64)

    def __init__(
        self,
        sequences: NDArray[np.integer],
        tokenizer: PreTrainedTokenizerFast,
        seed: int,
        draws: int | None = None,
        within_documents: bool = False,
    ) -> None:
        super().__init__(sequences, tokenizer, seed, draws)
        self.within_documents = within_documents
        self.end_token_id = end_token_id(tokenizer)

    def prepare(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """With ``position_ids`` where attention is within documents."""
        batch = {"input_ids": input_ids, "labels": labels}
        if self.within_documents:
            batch["position_ids"] = positions_in_documents(input_ids, self.end_token_id)
        return batch

    def _inputs_and_labels(
        self, draws: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        labels = tokens.copy()
        labels[:, 0] = IGNORED
        return tokens, labels


def positions_in_documents(input_ids: Tensor, end_token_id: int) -> Tensor:
    """Position of each token in its document, from 0 on; a document goes up to its end token.

    Args:
        input_ids: ``[B, L]``.
        end_token_id: of the token that ends a document.

    Returns:
        int64 ``[B, L]``.
    """
    places = torch.arange(input_ids.shape[1]).expand_as(input_ids)
    begins = torch.zeros_like(input_ids, dtype=torch.bool)
    begins[:, 1:] = input_ids[:, :-1] == end_token_id
    return places - torch.where(begins, places, 0).cummax(dim=1).values


def count_target_bytes(sequences: NDArray[np.integer], tokenizer: PreTrainedTokenizerFast) -> int:
    """UTF-8 bytes of the text that the targets of sequences stand for, ends of documents left out.

    With a tokenizer that changes text (lower case, accents), they are those of the changed text. A token's
    bytes are counted alone, as a sequence may end within a character; so the space that some tokenizers put
    before a document counts.

    Args:
        sequences: ``[N, L]``; the first token of each is no target.
        tokenizer: that made them.
    """
    sizes = np.zeros(id_range(tokenizer), dtype=np.int64)
    is_of_bytes = "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)
    special = set(tokenizer.all_special_ids)
    for token, number in tokenizer.get_vocab().items():
        if number in special:
            continue
        if is_of_bytes:  # a letter of the token stands for a byte
            sizes[number] = len(token)
        elif re.fullmatch("<0x[0-9A-F]{2}>", token):
            sizes[number] = 1
        else:
            sizes[number] = len(token.replace("▁", " ").encode())
    chunks = range(0, len(sequences), CHUNK)
    return sum(int(sizes[sequences[start : start + CHUNK, 1:]].sum()) for start in chunks)
