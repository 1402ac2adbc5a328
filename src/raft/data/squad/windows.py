"""Questions and their contexts as tokens: a long context is cut into overlapping windows.

The question comes first in each window, ``[CLS] question [SEP] part of the context [SEP]`` in BERT, and is
never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from raft.data.squad.questions import Question
from raft.data.text.tokens import encoder
from raft.errors import InputError

QUESTIONS_AT_ONCE = 512
"""Questions that are tokenized at once: their encodings take far more memory than the windows."""

MIN_CONTEXT = 8
"""Tokens of the context in a window."""


@dataclass(frozen=True)
class Windows(Dataset[dict[str, Any]]):
    """Windows of all questions, W of them with T tokens in all, one after the other and without padding.

    An item holds ``input_ids``, ``token_type_ids`` where the model reads them, ``start_positions`` and
    ``end_positions``.

    Attributes:
        tokens: int32 ``[T]``.
        token_types: uint8 ``[T]``, None where the model reads none.
        borders: int64 ``[W + 1]``; window w has the tokens from ``borders[w]`` up to ``borders[w + 1]``.
        question: int32 ``[W]``, index of its question, in ascending order.
        context: int32 ``[W, 2]``, begin and (exclusive) end of the context in the window.
        null: int32 ``[W]``, the position that stands for no answer: that of ``[CLS]``.
        labels: int32 ``[W, 2]``, first and last token (inclusive) of the question's first answer; ``null``
            where the window does not hold all of it, or there is none.
        offsets: int32 ``[T, 2]``, span of characters of a token of the context; undefined for other tokens.
            None where they are not kept.
    """

    tokens: NDArray[np.int32]
    token_types: NDArray[np.uint8] | None
    borders: NDArray[np.int64]
    question: NDArray[np.int32]
    context: NDArray[np.int32]
    null: NDArray[np.int32]
    labels: NDArray[np.int32]
    offsets: NDArray[np.int32] | None

    def __len__(self) -> int:
        return len(self.question)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each window, int64 ``[W]``."""
        return np.diff(self.borders)

    def without_offsets(self) -> Windows:
        """Windows for training, at half of the memory: answers cannot be extracted with them."""
        return replace(self, offsets=None)

    def __getitem__(self, window: int) -> dict[str, Any]:
        span = slice(self.borders[window], self.borders[window + 1])
        item: dict[str, Any] = {"input_ids": self.tokens[span].tolist()}
        if self.token_types is not None:
            item["token_type_ids"] = self.token_types[span].tolist()
        start, end = self.labels[window].tolist()
        return {**item, "start_positions": start, "end_positions": end}


def make_windows(
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int = 384,
    stride: int = 128,
) -> Windows:
    """Tokenize questions with their contexts.

    Args:
        questions: at least one; each gets at least one window.
        tokenizer: of any model; questions are stripped.
        max_length: tokens of a window, the special ones included, at most what the model takes.
        stride: tokens of the context that a window shares with the next one, or less for a long question, so
            that each window advances by at least a quarter of the room.

    Raises:
        InputError: for a tokenizer without a fast form, a question that leaves no room for its context, and a
            context that has no tokens.

    Source: Devlin et al., "BERT", NAACL 2019, section 4.2, and its ``run_squad.py``.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError("question answering needs a tokenizer that has a fast form")
    fast = encoder(tokenizer)
    reads_types = "token_type_ids" in tokenizer.model_input_names
    tokens: list[NDArray[np.int32]] = []
    types: list[NDArray[np.uint8]] = []
    offsets: list[NDArray[np.int32]] = []
    rows: list[tuple[int, int, int, int, int, int]] = []
    for first in range(0, len(questions), QUESTIONS_AT_ONCE):
        batch = questions[first : first + QUESTIONS_AT_ONCE]
        for number, encodings in enumerate(_encode(batch, fast, max_length, stride), start=first):
            for encoding in encodings:
                tokens.append(np.array(encoding.ids, dtype=np.int32))
                offsets.append(np.array(encoding.offsets, dtype=np.int32))
                if reads_types:
                    types.append(np.array(encoding.type_ids, dtype=np.uint8))
                begin, end = _context(encoding.sequence_ids, questions[number])
                null = _null_position(encoding.ids, tokenizer)
                label = _label(offsets[-1][begin:end], questions[number])
                start, stop = (null, null) if label is None else (begin + label[0], begin + label[1])
                rows.append((number, begin, end, null, start, stop))
    table = np.array(rows, dtype=np.int32)
    return Windows(
        tokens=np.concatenate(tokens),
        token_types=np.concatenate(types) if reads_types else None,
        borders=np.cumsum([0, *map(len, tokens)]),
        question=table[:, 0],
        context=table[:, 1:3],
        null=table[:, 3],
        labels=table[:, 4:6],
        offsets=np.concatenate(offsets),
    )


def _encode(
    questions: Sequence[Question], fast: Tokenizer, max_length: int, stride: int
) -> list[list[Encoding]]:
    """The windows of each question."""
    texts = [question.question.strip() for question in questions]
    fast.no_truncation()
    lengths = [len(encoding) for encoding in fast.encode_batch_fast(texts, add_special_tokens=False)]
    room = max_length - fast.num_special_tokens_to_add(True) - np.array(lengths)
    if room.min() < MIN_CONTEXT:
        longest = int(room.argmin())
        raise InputError(
            f"question {questions[longest].id} has {lengths[longest]} tokens, which leaves no room for its "
            f"context: max_length is {max_length}"
        )
    windows: list[list[Encoding]] = [[] for _ in questions]
    strides = np.minimum(stride, 3 * room // 4)
    for shared in np.unique(strides):
        indices = np.flatnonzero(strides == shared).tolist()
        fast.enable_truncation(max_length, stride=int(shared), strategy="only_second")
        pairs = [(texts[index], questions[index].context) for index in indices]
        for index, encoding in zip(indices, fast.encode_batch(pairs), strict=True):
            windows[index] = [encoding, *encoding.overflowing]
    return windows


def _context(sequence_ids: list[int | None], question: Question) -> tuple[int, int]:
    """Begin and (exclusive) end of the context's tokens."""
    if 1 not in sequence_ids:
        raise InputError(f"question {question.id}: the tokenizer leaves nothing of its context")
    return sequence_ids.index(1), len(sequence_ids) - sequence_ids[::-1].index(1)


def _null_position(ids: list[int], tokenizer: PreTrainedTokenizerFast) -> int:
    """Position of [CLS], or else of the token that begins texts, or else the first."""
    candidates = (tokenizer.cls_token_id, tokenizer.bos_token_id)
    return next((ids.index(token) for token in candidates if token is not None and token in ids), 0)


def _label(offsets: NDArray[np.int32], question: Question) -> tuple[int, int] | None:
    """First and last of the context's tokens in the first answer; None where some are missing.

    Bounds are compared rather than matched: a token can include the space before a word, and several tokens
    can share one character.
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
