"""From text to tokens: a WordPiece vocabulary, and documents packed into sequences of one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from raft.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TOKENIZER_CHARACTERS = 20_000_000
"""Text that a vocabulary is trained on; more changes it little."""

BATCH = 256


def train_tokenizer(
    documents: Sequence[str], vocab_size: int, max_length: int = 512
) -> PreTrainedTokenizerFast:
    """Train a lower-cased WordPiece tokenizer, BERT's special tokens included, on the first 20 MB of the
    text.

    Args:
        documents: texts.
        vocab_size: number of tokens; a small corpus may give fewer.
        max_length: ``model_max_length`` of the tokenizer.

    Raises:
        InputError: for a vocabulary that has no room beside the special tokens.
    """
    if vocab_size < 100:
        raise InputError(f"the vocabulary must have at least 100 tokens, not {vocab_size}")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        limit_alphabet=min(1000, vocab_size // 4),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first_characters(documents, TOKENIZER_CHARACTERS), trainer)
    # the trainer numbers the special tokens first, in their order
    cls, sep = ((token, SPECIAL_TOKENS.index(token)) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _first_characters(documents: Sequence[str], limit: int) -> Iterator[str]:
    read = 0
    for document in documents:
        yield document
        read += len(document)
        if read > limit:
            return


def pack(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerFast, length: int, most: int | None = None
) -> NDArray[np.int32]:
    """Concatenate documents, each ended by ``[SEP]``, and cut them into ``[CLS] … [SEP]``.

    Args:
        documents: texts, in the order in which they are packed.
        tokenizer: as made by ``train_tokenizer``.
        length: tokens of a sequence, the two special ones included.
        most: stop after so many sequences.

    Returns:
        ``[sequences, length]``; the unfilled rest at the end is dropped.
    """
    body = length - 2
    pieces: list[NDArray[np.int32]] = []
    held = 0
    iterator = iter(documents)
    while texts := [text for text in islice(iterator, BATCH) if text]:
        for encoding in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False):
            piece = np.array([*encoding.ids, tokenizer.sep_token_id], dtype=np.int32)
            pieces.append(piece)
            held += len(piece)
        if most is not None and held >= most * body:
            break
    stream = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)
    count = len(stream) // body if most is None else min(len(stream) // body, most)
    packed = np.empty((count, length), dtype=np.int32)
    packed[:, 0], packed[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    packed[:, 1:-1] = stream[: count * body].reshape(count, body)
    return packed
