"""LAMBADA (Paperno et al. 2016): the last word of a passage, given all before it; causal models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raft.data.hub import load_splits, read_columns
from raft.data.text.readers import ROWS, read_texts
from raft.errors import InputError
from raft.evaluation.intervals import Estimate, estimate_mean_over, estimate_ratio, estimate_share
from raft.evaluation.language_model import LanguageModel
from raft.evaluation.scoring import BATCH_TOKENS, encode, score_tokens

HUB = "EleutherAI/lambada_openai"


@dataclass(frozen=True)
class LastWords:
    """Of each passage.

    Attributes:
        is_right: ``[N]``, 1 where every token of the word is the model's first choice.
        losses: ``[N]``, the word's negative log-probability, in nats.
        cut: passages whose beginning did not fit in the model's positions.
    """

    is_right: NDArray[np.float64]
    losses: NDArray[np.float64]
    cut: int


@dataclass(frozen=True)
class LastWordsResult:
    """Of one model.

    Attributes:
        items: passages.
        cut: those whose beginning did not fit in the model's positions.
        accuracy: share of last words that are the model's first choice, token by token.
        perplexity: exponential of the mean negative log-probability of a last word.
    """

    items: int
    cut: int
    accuracy: Estimate
    perplexity: Estimate


@dataclass(frozen=True)
class LastWordsComparison:
    """One model less another, on the same passages; losses are in nats a word."""

    accuracy: Estimate
    loss: Estimate


def read_passages(source: str | None, items: int | None = None, column: str = "text") -> list[str]:
    """Passages of a jsonl or txt file (one a line), or the hub's.

    Raises:
        InputError: for a file that cannot be read, or a passage of fewer than two words.
    """
    if source is None:
        splits = load_splits(f"{HUB}:en", "--data_dir")
        rows = read_columns(HUB, splits["test"], [column], ROWS)
        passages = [str(text) for (texts,) in rows for text in texts][:items]
    else:
        path = Path(source).expanduser()
        if not path.is_file() or {".csv", ".tsv"} & set(path.suffixes):
            raise InputError(f"--data_dir {source}: lambada is one file, jsonl or txt with a passage a line")
        passages = list(read_texts(path, column, by_line=True))[:items]
    for number, passage in enumerate(passages, start=1):
        if len(passage.split()) < 2:
            raise InputError(
                f"{source or HUB}, passage {number}: {passage[:60]!r} has no word before its last"
            )
    return [passage.rstrip() for passage in passages]


def score_last_words(
    language_model: LanguageModel, passages: Sequence[str], batch_tokens: int = BATCH_TOKENS
) -> LastWords:
    """Score the last word of each passage with the space before it.

    Raises:
        InputError: for a masked language model.
    """
    if language_model.is_masked:
        raise InputError(f"lambada is of causal models, and {language_model.name} is a masked one")
    before = encode(language_model, [passage.rsplit(maxsplit=1)[0] for passage in passages])
    whole = encode(language_model, passages)
    inputs, starts, cut = [], [], 0
    for passage, context, tokens in zip(passages, before, whole, strict=True):
        words = tokens[len(context) :]
        if not words or not context:
            raise InputError(
                f"the tokenizer of {language_model.name} has no token for an end of {passage[-60:]!r}"
            )
        given = [*language_model.start, *tokens]
        limit = language_model.positions or len(given)
        if len(words) >= limit:
            raise InputError(
                f"{language_model.name} takes {limit} tokens, fewer than the last word of {passage[-60:]!r}"
            )
        cut += len(given) > limit
        inputs.append(given[-limit:])
        starts.append(len(inputs[-1]) - len(words))
    scores = score_tokens(language_model, inputs, starts, batch_tokens)
    if not np.isfinite(scores.sums).all():
        raise InputError(f"{language_model.name} gives a score that is not finite")
    assert scores.is_greedy is not None
    return LastWords(scores.is_greedy.astype(float), -scores.sums, cut)


def summarize_last_words(words: LastWords) -> LastWordsResult:
    """Accuracy with Wilson's interval, perplexity with a bootstrap over passages."""
    loss = estimate_ratio(words.losses, np.ones(len(words.losses)))
    return LastWordsResult(len(words.losses), words.cut, estimate_share(words.is_right), loss.map(np.exp))


def compare_last_words(model: LastWords, other: LastWords) -> LastWordsComparison:
    """A model less another, paired by passage."""
    return LastWordsComparison(
        estimate_mean_over([model.is_right - other.is_right]),
        estimate_ratio(model.losses - other.losses, np.ones(len(model.losses))),
    )
