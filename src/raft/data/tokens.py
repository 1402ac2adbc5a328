"""From text to tokens: a WordPiece vocabulary, and documents packed into sequences of one length."""

from __future__ import annotations

from collections import Counter
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
    tokenizer = _untrained(models.WordPiece(unk_token="[UNK]"))
    documents = list(_first_characters(documents, TOKENIZER_CHARACTERS))
    alphabet = _alphabet(documents, tokenizer.normalizer, min(1000, vocab_size // 4))
    # without these in the vocabulary beforehand, in this order, the trainer numbers the continuations anew
    # in each run, and breaks ties between merges by those numbers
    continuations = [f"##{character}" for character in alphabet]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *continuations],
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    # anew, as the continuations are ordinary tokens
    tokenizer = _untrained(models.WordPiece(vocabulary, unk_token="[UNK]"))
    cls, sep = ((token, vocabulary[token]) for token in ("[CLS]", "[SEP]"))
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


def _untrained(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _alphabet(documents: Sequence[str], normalizer: normalizers.Normalizer, most: int) -> list[str]:
    """The most frequent characters of normalized text, in an order that does not depend on the run."""
    counts = Counter[str]()
    for document in documents:
        codes, found = np.unique(np.array([document]).view(np.uint32), return_counts=True)
        counts.update(dict(zip(map(chr, codes.tolist()), found.tolist(), strict=True)))
    normalized = Counter[str]()
    for character, count in counts.items():
        for part in normalizer.normalize_str(character):
            normalized[part] += count
    letters = (character for character in normalized if not character.isspace())
    return sorted(letters, key=lambda character: (-normalized[character], character))[:most]


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
    while texts := list(islice(iterator, BATCH)):
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
