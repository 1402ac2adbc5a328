"""Questions and their contexts as tokens: a context that is too long is cut into windows that overlap.

The question comes first in each window, ``[CLS] question [SEP] part of the context [SEP]`` in BERT, and is
never cut. Windows are padded on the right, whatever the tokenizer prefers, so that a token has the same place
in a window, in a batch and in the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from raft.data.squad.questions import Question
from raft.data.text.tokens import encoder
from raft.errors import InputError

QUESTIONS_HELD = 512
"""Questions that are tokenized at once: their encodings take far more memory than what is kept of them."""

LEAST_ROOM = 8
"""Tokens of its context that a window has at least."""


@dataclass(frozen=True)
class Windows(Dataset[dict[str, Any]]):
    """Windows of all questions, W of them with T tokens in all, one after the other and without padding.

    An item holds ``input_ids``, ``attention_mask``, ``token_type_ids`` where the model reads them,
    ``start_positions`` and ``end_positions``; ``collate`` makes a batch of items.

    Attributes:
        tokens: int32 ``[T]``.
        token_types: uint8 ``[T]``, None where the model reads none.
        borders: int64 ``[W + 1]``; window w has the tokens from ``borders[w]`` up to ``borders[w + 1]``.
        question: int32 ``[W]``, place of its question among the questions, in rising order.
        context: int32 ``[W, 2]``, where in the window its part of the context begins, and ends (exclusive).
        null: int32 ``[W]``, the position that stands for no answer: ``[CLS]``, wherever it is in a window.
        labels: int32 ``[W, 2]``, first and last token (inclusive) of the question's first answer; ``null``
            where the window does not hold all of it, or there is none.
        offsets: int32 ``[T, 2]``, characters of the context that a token stands for; those of other tokens
            have no meaning. None where they are not kept.
        pad_token: that fills batches.
        pad_token_type: that fills batches.
    """

    tokens: NDArray[np.int32]
    token_types: NDArray[np.uint8] | None
    borders: NDArray[np.int64]
    question: NDArray[np.int32]
    context: NDArray[np.int32]
    null: NDArray[np.int32]
    labels: NDArray[np.int32]
    offsets: NDArray[np.int32] | None
    pad_token: int
    pad_token_type: int

    def __len__(self) -> int:
        return len(self.question)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each window, int64 ``[W]``."""
        return np.diff(self.borders)

    def without_offsets(self) -> Windows:
        """The same to train on: answers cannot be read from it, and it takes half of the memory."""
        return replace(self, offsets=None)

    def __getitem__(self, window: int) -> dict[str, Any]:
        if not 0 <= window < len(self):
            raise IndexError(f"window {window} of {len(self)}")
        span = slice(self.borders[window], self.borders[window + 1])
        item: dict[str, Any] = {"input_ids": self.tokens[span].tolist()}
        item["attention_mask"] = [1] * len(item["input_ids"])
        if self.token_types is not None:
            item["token_type_ids"] = self.token_types[span].tolist()
        start, end = self.labels[window].tolist()
        return {**item, "start_positions": start, "end_positions": end}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """A batch of items, filled on the right to the longest one.

        Returns:
            int64 tensors, ``[B, L]`` of tokens and what goes with them, ``[B]`` of positions.
        """
        longest = max(len(item["input_ids"]) for item in items)
        fill = {"input_ids": self.pad_token, "token_type_ids": self.pad_token_type}
        batch = {}
        for name in items[0]:
            values = [item[name] for item in items]
            if isinstance(values[0], list):
                values = [row + [fill.get(name, 0)] * (longest - len(row)) for row in values]
            batch[name] = torch.tensor(values)
        return batch


def make_windows(
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int = 384,
    stride: int = 128,
) -> Windows:
    """Tokenize questions with their contexts.

    Args:
        questions: any number; each gets at least one window.
        tokenizer: of any model; spaces around a question are not given to it.
        max_length: tokens of a window, the special ones included.
        stride: tokens of the context that a window shares with the next one. A question that leaves little
            room is given less, so that each window goes on by a quarter of the room or more.

    Raises:
        InputError: for a tokenizer without a fast form or a padding token, lengths that do not go together, a
            question that leaves no room for its context, and a context of which the tokenizer leaves nothing.

    Source: Devlin et al., "BERT", NAACL 2019, section 4.2, and its ``run_squad.py``.
    """
    fast = _checked_encoder(tokenizer, max_length, stride)
    reads_types = "token_type_ids" in tokenizer.model_input_names
    tokens, types, offsets = [_none(np.int32)], [_none(np.uint8)], [_none(np.int32).reshape(0, 2)]
    places: list[tuple[int, int, int, int, int, int]] = []
    for first in range(0, len(questions), QUESTIONS_HELD):
        held = questions[first : first + QUESTIONS_HELD]
        for number, encodings in enumerate(_encoded(held, fast, max_length, stride), start=first):
            for encoding in encodings:
                tokens.append(np.array(encoding.ids, dtype=np.int32))
                offsets.append(np.array(encoding.offsets, dtype=np.int32))
                if reads_types:
                    types.append(np.array(encoding.type_ids, dtype=np.uint8))
                begin, end = _context(encoding.sequence_ids, questions[number])
                null = _null_position(encoding.ids, tokenizer)
                label = _label(offsets[-1][begin:end], questions[number])
                start, stop = (null, null) if label is None else (begin + label[0], begin + label[1])
                places.append((number, begin, end, null, start, stop))
    table = np.array(places, dtype=np.int32).reshape(-1, 6)
    return Windows(
        tokens=np.concatenate(tokens),
        token_types=np.concatenate(types) if reads_types else None,
        borders=np.cumsum([len(one) for one in tokens]),
        question=table[:, 0],
        context=table[:, 1:3],
        null=table[:, 3],
        labels=table[:, 4:6],
        offsets=np.concatenate(offsets),
        pad_token=tokenizer.pad_token_id,
        pad_token_type=tokenizer.pad_token_type_id,
    )


def _none(dtype: DTypeLike) -> NDArray[Any]:
    return np.empty(0, dtype=dtype)


def _checked_encoder(tokenizer: PreTrainedTokenizerFast, max_length: int, stride: int) -> Tokenizer:
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError("question answering needs a tokenizer that has a fast form")
    if tokenizer.pad_token_id is None:
        raise InputError("the tokenizer has no padding token; set its pad_token")
    if max_length > tokenizer.model_max_length:
        raise InputError(
            f"max_length is {max_length}, but the tokenizer's model reads {tokenizer.model_max_length} tokens"
        )
    fast = encoder(tokenizer)
    room = max_length - fast.num_special_tokens_to_add(True)
    if not 0 <= stride < room:
        raise InputError(
            f"stride must be at least 0 and well below max_length, but they are {stride} and {max_length}"
        )
    return fast


def _encoded(
    questions: Sequence[Question], fast: Tokenizer, max_length: int, stride: int
) -> list[list[Encoding]]:
    """The windows of each question."""
    asked = [question.question.strip() for question in questions]
    fast.no_truncation()
    lengths = [len(encoding) for encoding in fast.encode_batch_fast(asked, add_special_tokens=False)]
    room = max_length - fast.num_special_tokens_to_add(True) - np.array(lengths)
    if room.min() < LEAST_ROOM:
        place = int(room.argmin())
        raise InputError(
            f"question {questions[place].id} has {lengths[place]} tokens, which leaves no room for its "
            f"context: max_length is {max_length}"
        )
    windows: list[list[Encoding]] = [[] for _ in questions]
    strides = np.minimum(stride, 3 * room // 4)
    for shared in np.unique(strides):
        chosen = np.flatnonzero(strides == shared).tolist()
        fast.enable_truncation(max_length, stride=int(shared), strategy="only_second")
        pairs = [(asked[place], questions[place].context) for place in chosen]
        for place, encoding in zip(chosen, fast.encode_batch(pairs), strict=True):
            windows[place] = [encoding, *encoding.overflowing]
    return windows


def _context(sequence_ids: list[int | None], question: Question) -> tuple[int, int]:
    """Where the context's tokens begin and end (exclusive)."""
    if 1 not in sequence_ids:
        raise InputError(f"question {question.id}: the tokenizer leaves nothing of its context")
    return sequence_ids.index(1), len(sequence_ids) - sequence_ids[::-1].index(1)


def _null_position(ids: list[int], tokenizer: PreTrainedTokenizerFast) -> int:
    """Of [CLS], of the token that begins texts where there is no [CLS], or else the first."""
    known = (tokenizer.cls_token_id, tokenizer.bos_token_id)
    return next((ids.index(token) for token in known if token is not None and token in ids), 0)


def _label(offsets: NDArray[np.int32], question: Question) -> tuple[int, int] | None:
    """First and last token of the first answer, among the context's; None where they are not all there.

    Bounds are compared rather than matched: a token can hold the space before a word, and several tokens can
    be parts of one character.
    """
    if not question.answers:
        return None
    answer = question.answers[0]
    start = answer.start + len(answer.text) - len(answer.text.lstrip())
    stop = answer.start + len(answer.text.rstrip())
    if offsets[0, 0] > start or offsets[-1, 1] < stop:
        return None
    first = int(np.searchsorted(offsets[:, 1], start, side="right"))
    last = int(np.searchsorted(offsets[:, 0], stop, side="left")) - 1
    return (first, last) if first <= last else None
