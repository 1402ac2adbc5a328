"""Log-probabilities of texts under a language model.

Inputs are never padded: those of one length make a batch. So scores do not depend on padding, no model needs
a padding token, and the order of work changes them only by the noise of float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from raft.data.text.sequences import IGNORED
from raft.data.text.unigram import UnigramModel
from raft.errors import InputError
from raft.evaluation.language_model import LanguageModel
from raft.networks.calibration import evaluating
from raft.training.losses import find_head, masked_lm_loss

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Scores:
    """Of ``N`` texts.

    Attributes:
        sums: ``[N]``, log-probabilities of the scored tokens, added in float64, in nats.
        tokens: ``[N]``, how many.
        is_greedy: ``[N]``, whether each scored token is the model's first choice; only of causal models.
    """

    sums: NDArray[np.float64]
    tokens: NDArray[np.int64]
    is_greedy: NDArray[np.bool_] | None = None


def score_sentences(
    language_model: LanguageModel,
    sentences: Sequence[str],
    batch_tokens: int = BATCH_TOKENS,
    whole_words: bool = False,
) -> Scores:
    """Score whole sentences.

    Causal: the log-probability of all tokens, the first one given BOS (or EOS, where there is none; without
    either it is not scored). Masked: the pseudo-log-likelihood (Salazar et al. 2020), each token masked in
    its turn; special tokens are neither masked nor scored.

    Args:
        language_model: that scores.
        sentences: each is scored once, however often it is given.
        batch_tokens: of a forward pass.
        whole_words: mask the rest of the token's word with it (Kauf and Ivanova 2023, PLL-word-l2r).

    Raises:
        InputError: for a sentence longer than the model's positions, or of no tokens; for a score that is not
            finite; for whole words of a causal model, or of a tokenizer that does not know them.
    """
    texts = list(dict.fromkeys(sentences))
    check_lengths(language_model, texts)
    if language_model.is_masked:
        scores = _score_masked(language_model, texts, batch_tokens, whole_words)
    else:
        if whole_words:
            raise InputError(f"--whole_words is of masked models, and {language_model.name} is causal")
        tokens = _encode_from_start(language_model, texts)
        scores = score_tokens(language_model, tokens, [1] * len(tokens), batch_tokens)
    _check_scores(language_model, scores, texts)
    places = {text: number for number, text in enumerate(texts)}
    rows = [places[sentence] for sentence in sentences]
    return Scores(scores.sums[rows], scores.tokens[rows])


def score_tokens(
    language_model: LanguageModel,
    inputs: Sequence[Sequence[int]],
    starts: Sequence[int],
    batch_tokens: int = BATCH_TOKENS,
) -> Scores:
    """Score the tokens of each input from a place on, given all before them; causal models.

    Args:
        language_model: that scores.
        inputs: token ids, at most as many as the model has positions.
        starts: the first scored token of each input, at least 1.
        batch_tokens: of a forward pass.
    """
    sums = np.zeros(len(inputs))
    is_greedy = np.ones(len(inputs), dtype=bool)
    lengths = np.array([len(tokens) for tokens in inputs])
    model = language_model.model
    with evaluating(model):
        for rows in _batches(lengths, batch_tokens):
            if lengths[rows[0]] < 2:
                continue  # no token stands after another
            ids = torch.tensor([inputs[row] for row in rows], device=model.device)
            targets = ids[:, 1:]
            logits = model(input_ids=ids).logits[:, :-1].float()
            losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            places = torch.arange(1, ids.shape[1], device=model.device)
            is_scored = places >= torch.tensor([starts[row] for row in rows], device=model.device)[:, None]
            is_first = logits.argmax(-1) == targets
            is_greedy[rows] = (is_first | ~is_scored).all(1).cpu().numpy()
            sums[rows] = -(losses.double().view_as(targets) * is_scored).sum(1).cpu().numpy()
    return Scores(sums, np.maximum(lengths - np.array(starts, dtype=np.int64), 0), is_greedy)


def score_unigrams(
    unigram: UnigramModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]
) -> Scores:
    """Score sentences by the frequencies of their tokens, special ones left out."""
    encoded = tokenizer(list(sentences), add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids)  # the unknown token is one, which no model predicts
    counted = [[token for token in ids if token not in special] for ids in encoded]
    # exactly rounded, so that the same tokens in another order are a tie
    sums = [math.fsum(unigram.log_probabilities[ids]) for ids in counted]
    return Scores(np.array(sums), np.array([max(1, len(ids)) for ids in counted]))


def _encode_from_start(language_model: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    return [language_model.start + ids for ids in encode(language_model, texts)]


def encode(language_model: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts, without special ones."""
    ids: list[list[int]] = language_model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def _score_masked(
    language_model: LanguageModel, texts: list[str], batch_tokens: int, whole_words: bool
) -> Scores:
    model, tokenizer = language_model.model, language_model.tokenizer
    encoded = tokenizer(texts, return_special_tokens_mask=True, return_attention_mask=False)
    inputs: list[list[int]] = encoded["input_ids"]
    if whole_words and not encoded.is_fast:
        raise InputError(
            f"--whole_words needs a tokenizer in its fast form, which {language_model.name} lacks"
        )
    texts_of_rows, firsts, ends = [], [], []
    for number, is_special in enumerate(encoded["special_tokens_mask"]):
        scored = [place for place, special in enumerate(is_special) if not special]
        texts_of_rows += [number] * len(scored)
        firsts += scored
        words = encoded.word_ids(number) if whole_words else None
        ends += [place + 1 for place in scored] if words is None else _word_ends(words, scored)
    row_texts, first, end = (np.array(values, dtype=np.int64) for values in (texts_of_rows, firsts, ends))
    lengths = np.array([len(tokens) for tokens in inputs])
    losses = np.zeros(len(row_texts))
    head = find_head(model, torch.tensor([max(inputs, key=len)]))
    with evaluating(model):
        for rows in _batches(lengths[row_texts], batch_tokens):
            ids = torch.tensor([inputs[number] for number in row_texts[rows]])
            columns, low, high = torch.arange(ids.shape[1]), first[rows][:, None], end[rows][:, None]
            is_masked = (columns >= torch.from_numpy(low)) & (columns < torch.from_numpy(high))
            predicted = torch.arange(len(rows)) * ids.shape[1] + torch.from_numpy(first[rows])
            labels = torch.full_like(ids, IGNORED).flatten()
            labels[predicted] = ids.flatten()[predicted]
            batch: list[Tensor] = [
                ids.masked_fill(is_masked, tokenizer.mask_token_id),
                labels.view_as(ids),
                predicted,
            ]
            batch = [tensor.to(model.device) for tensor in batch]
            losses[rows] = masked_lm_loss(model, *batch, head=head).double().cpu().numpy()
    count = len(texts)
    return Scores(
        -np.bincount(row_texts, weights=losses, minlength=count).astype(np.float64),
        np.bincount(row_texts, minlength=count).astype(np.int64),
    )


def _word_ends(words: list[int | None], scored: list[int]) -> list[int]:
    """Where the word of each scored token ends."""
    ends = list(range(1, len(words) + 1))
    for place in range(len(words) - 2, -1, -1):
        if words[place] is not None and words[place] == words[place + 1]:
            ends[place] = ends[place + 1]
    return [ends[place] for place in scored]


def _batches(lengths: NDArray[np.int64], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Rows of one length at a time, the longest first: what does not fit in memory fails at once."""
    order = np.argsort(-lengths, kind="stable")
    changes = np.flatnonzero(np.diff(lengths[order])) + 1
    for group in np.split(order, changes):
        size = max(1, batch_tokens // max(1, int(lengths[group[0]]))) if len(group) else 1
        yield from (group[start : start + size] for start in range(0, len(group), size))


def check_lengths(language_model: LanguageModel, texts: Sequence[str]) -> None:
    """Raise ``InputError`` for a sentence longer than the model's positions."""
    limit = language_model.positions
    if language_model.is_masked:
        inputs: list[list[int]] = language_model.tokenizer(list(texts))["input_ids"]
    else:
        inputs = _encode_from_start(language_model, texts)
    longest = max(range(len(inputs)), key=lambda number: len(inputs[number]))
    if limit is not None and len(inputs[longest]) > limit:
        raise InputError(
            f"{language_model.name} takes {limit} tokens, but a sentence has {len(inputs[longest])}: "
            f"{texts[longest][:60]!r}"
        )


def _check_scores(language_model: LanguageModel, scores: Scores, texts: list[str]) -> None:
    """``InputError`` for the first text without a token to score, or whose score is not finite."""
    for is_bad, what in (
        (scores.tokens == 0, "has no token to score in"),
        (~np.isfinite(scores.sums), "gives a score that is not finite to"),
    ):
        if is_bad.any():
            raise InputError(f"{language_model.name} {what} {texts[int(is_bad.argmax())][:60]!r}")
