"""Perplexity of a corpus under a causal model, with a sliding window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from raft.data.text.corpora import open_corpus
from raft.errors import InputError
from raft.evaluation.intervals import Estimate, estimate_ratio
from raft.evaluation.language_model import LanguageModel
from raft.evaluation.scoring import BATCH_TOKENS, encode, score_tokens

LONGEST_WINDOW = 2048
"""Tokens of a window where a model has positions for more, or no limit."""
DOCUMENTS = 256
"""Documents that are scored at once."""
SPLITS = ("all", "validation")


@dataclass(frozen=True)
class DocumentLosses:
    """Of each document.

    Attributes:
        nats: ``[N]``, negative log-probability of its tokens.
        tokens: ``[N]``, how many were predicted.
        utf8_bytes: ``[N]``.
        window: tokens of a window.
    """

    nats: NDArray[np.float64]
    tokens: NDArray[np.float64]
    utf8_bytes: NDArray[np.float64]
    window: int


@dataclass(frozen=True)
class PerplexityResult:
    """Of one model; intervals are of a bootstrap over documents.

    Attributes:
        documents: how many.
        tokens: that were predicted.
        utf8_bytes: of the documents.
        window: the most tokens that were read at once.
        loss: in nats a token.
        perplexity: its exponential; comparable only between models of one tokenizer.
        bits_per_byte: comparable between all.
    """

    documents: int
    tokens: int
    utf8_bytes: int
    window: int
    loss: Estimate
    perplexity: Estimate
    bits_per_byte: Estimate


@dataclass(frozen=True)
class PerplexityComparison:
    """One model less another, on the same documents."""

    bits_per_byte: Estimate


def read_documents(
    source: str, split: str = "all", items: int | None = None, column: str = "text"
) -> list[str]:
    """Documents of a corpus, as ``raft.data.text.corpora.open_corpus`` reads it.

    Args:
        source: a file, a folder, a hub name or ``pydocs``.
        split: ``validation``, what ``raft pretrain`` holds out of the corpus, or ``all``.
        items: so many of them, the first ones; None for all.
        column: that holds the text.

    Raises:
        InputError: for an unknown split, and where there is no document.
    """
    if split not in SPLITS:
        raise InputError(f"--split must be one of {', '.join(SPLITS)}, not {split!r}")
    corpus = open_corpus(source, column)
    texts = (
        (text for _, text in corpus.split_documents()) if split == "all" else corpus.documents("validation")
    )
    documents = list(islice(texts, items))
    if not documents:
        raise InputError(f"corpus {source} has no documents in --split {split}")
    return documents


def score_documents(
    language_model: LanguageModel,
    documents: Iterable[str],
    batch_tokens: int = BATCH_TOKENS,
    max_length: int | None = None,
) -> DocumentLosses:
    """Predict each token of each document once, from at least half a window of those before it.

    The first token is predicted from BOS (or EOS; without either it is not predicted).

    Args:
        language_model: that predicts.
        documents: texts; nothing of one is seen in another.
        batch_tokens: of a forward pass.
        max_length: of a window; None for the model's positions, at most ``LONGEST_WINDOW``.

    Raises:
        InputError: for a masked language model, a window longer than the positions, or a loss that is not
            finite.
    """
    if language_model.is_masked:
        raise InputError(
            f"{language_model.name} is a masked language model, which gives texts no probability; compare "
            "pseudo-log-likelihoods with --task blimp or zorro, or the validation losses of raft pretrain"
        )
    limit = language_model.positions
    if max_length is not None and limit is not None and max_length > limit:
        raise InputError(
            f"--max_length {max_length} is more than the {limit} positions of {language_model.name}"
        )
    window = max_length or min(limit or LONGEST_WINDOW, LONGEST_WINDOW)
    sums, counts, sizes = [], [], []
    iterator = iter(documents)
    while texts := list(islice(iterator, DOCUMENTS)):
        windows, starts, owners = [], [], []
        for number, tokens in enumerate(encode(language_model, texts)):
            for piece, first in sliding_windows(language_model.start + tokens, window):
                windows.append(piece)
                starts.append(first)
                owners.append(number)
        scores = score_tokens(language_model, windows, starts, batch_tokens)
        sums.append(-np.bincount(owners, weights=scores.sums, minlength=len(texts)))
        counts.append(np.bincount(owners, weights=scores.tokens, minlength=len(texts)))
        sizes.append(np.array([len(text.encode()) for text in texts], dtype=float))
    losses = DocumentLosses(np.concatenate(sums), np.concatenate(counts), np.concatenate(sizes), window)
    if not np.isfinite(losses.nats).all() or not losses.tokens.any():
        raise InputError(f"{language_model.name} gives no finite loss to these documents")
    return losses


def sliding_windows(tokens: list[int], window: int) -> Iterator[tuple[list[int], int]]:
    """Windows of a document, each with the first token that was not predicted before.

    Args:
        tokens: of the document; the first is not predicted.
        window: tokens of a window; each but the first moves by half of it, the last one by less.
    """
    end = min(window, len(tokens))
    yield tokens[:end], 1
    while end < len(tokens):
        next_end = min(end + max(1, window // 2), len(tokens))
        begin = next_end - window
        yield tokens[begin:next_end], end - begin
        end = next_end


def summarize_perplexity(losses: DocumentLosses) -> PerplexityResult:
    """Means over all tokens and bytes."""
    loss = estimate_ratio(losses.nats, losses.tokens)
    return PerplexityResult(
        len(losses.nats),
        int(losses.tokens.sum()),
        int(losses.utf8_bytes.sum()),
        losses.window,
        loss,
        loss.map(np.exp),
        estimate_ratio(losses.nats / np.log(2), losses.utf8_bytes),
    )


def compare_perplexity(model: DocumentLosses, other: DocumentLosses) -> PerplexityComparison:
    """A model less another, paired by document."""
    return PerplexityComparison(estimate_ratio((model.nats - other.nats) / np.log(2), model.utf8_bytes))
