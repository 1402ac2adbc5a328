"""Answers from logits: the best spans over all windows of a question; files of predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from raft.data.squad.questions import Question
from raft.data.squad.windows import Windows
from raft.errors import InputError, TrainingError
from raft.files import write_text

WINDOWS_HELD = 512
"""Windows whose spans are scored at once."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A span of the context, and the sum of its start and end logits."""

    text: str
    score: float


@dataclass(frozen=True)
class Answers:
    """A model's answers.

    Attributes:
        candidates: by question id, distinct non-empty texts, the best first.
        null_odds: by question id, score of no answer minus that of the best candidate.
    """

    candidates: dict[str, list[Candidate]]
    null_odds: dict[str, float]

    def texts(self, null_threshold: float | None = None) -> dict[str, str]:
        """The answer to each question.

        Args:
            null_threshold: null odds above which the answer is the empty text (SQuAD 2.0); None to always
                answer, as in 1.1.
        """
        limit = np.inf if null_threshold is None else null_threshold
        return {
            id: best[0].text if best and self.null_odds[id] <= limit else ""
            for id, best in self.candidates.items()
        }


def find_answers(
    start_logits: NDArray[np.floating],
    end_logits: NDArray[np.floating],
    windows: Windows,
    questions: Sequence[Question],
    n_best: int = 20,
    longest: int = 30,
) -> Answers:
    """Extract answers from logits.

    Candidates are the spans of at most ``longest`` tokens of the context with the highest sums of start and
    end logits, over all windows of a question; ties go to the first in the text. (BERT's script takes the 20
    best starts and ends alone, and may miss the best span.) The score of no answer is the lowest that a
    window gives to its null position.

    Args:
        start_logits: ``[W, L]`` of any float type, L at least the length of the longest window; padding is
            ignored.
        end_logits: the same.
        windows: of these questions, with offsets.
        questions: that ``windows`` was made of.
        n_best: candidates to keep of each question.
        longest: tokens of an answer.

    Raises:
        ValueError: for shapes that do not fit, or windows without offsets.
        TrainingError: where a logit within a window is not a number.

    Source: Devlin et al., "BERT", NAACL 2019, sections 4.2 and 4.3.
    """
    if windows.offsets is None:
        raise ValueError("these windows were made to train on: they have no offsets")
    width = int(windows.lengths.max(initial=0))
    for logits in (start_logits, end_logits):
        if logits.ndim != 2 or len(logits) != len(windows) or logits.shape[1] < width:
            raise ValueError(
                f"logits of shape {logits.shape} where {len(windows)} windows have up to {width} tokens"
            )
    if n_best < 1 or longest < 1:
        raise InputError(f"n_best and longest must be at least 1, but they are {n_best} and {longest}")
    if not len(windows):
        return Answers({}, {})
    nulls = np.empty(len(windows))
    spans: list[tuple[NDArray[Any], ...]] = []
    for first in range(0, len(windows), WINDOWS_HELD):
        chunk = slice(first, first + WINDOWS_HELD)
        starts, ends = (logits[chunk, :width].astype(np.float32) for logits in (start_logits, end_logits))
        rows = np.arange(len(starts))
        nulls[chunk] = starts[rows, windows.null[chunk]] + ends[rows, windows.null[chunk]]
        scores, firsts, lasts = _best_spans(starts, ends, windows.context[chunk], n_best, longest)
        row, column = np.nonzero(scores > -np.inf)
        window = first + row
        begins = windows.offsets[windows.borders[window] + firsts[row, column], 0]
        stops = windows.offsets[windows.borders[window] + lasts[row, column], 1]
        spans.append((windows.question[window], -scores[row, column], begins, stops))
    if np.isnan(nulls).any():
        raise TrainingError("the model's logits are not numbers")
    lowest = np.full(len(questions), np.inf)
    np.minimum.at(lowest, windows.question, nulls)
    return _collect_answers(spans, lowest, questions, n_best)


def _best_spans(
    starts: NDArray[np.float32],
    ends: NDArray[np.float32],
    context: NDArray[np.int32],
    n_best: int,
    longest: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Scores, first and last tokens of each window's best spans, ``[W, n]``; -inf marks no span.

    The n best spans begin at the n tokens whose best span is best.
    """
    width = starts.shape[1]
    position = np.arange(width)
    inside = (context[:, :1] <= position) & (position < context[:, 1:])
    starts, ends = np.where(inside, starts, -np.inf), np.where(inside, ends, -np.inf)
    if np.isnan(starts).any() or np.isnan(ends).any():
        raise TrainingError("the model's logits are not numbers")
    padding = np.full((len(ends), longest - 1), -np.inf, dtype=np.float32)
    following = sliding_window_view(np.concatenate([ends, padding], axis=1), longest, axis=1)
    firsts = _highest(starts + following.max(axis=2), n_best)
    sums = np.take_along_axis(starts, firsts, axis=1)[:, :, None]
    sums = (sums + np.take_along_axis(following, firsts[:, :, None], axis=1)).reshape(len(starts), -1)
    best = _highest(sums, n_best)
    firsts = np.take_along_axis(firsts, best // longest, axis=1)
    return np.take_along_axis(sums, best, axis=1), firsts, firsts + best % longest


def _highest(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of each row's highest scores, in descending order; ties in order of index."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def _collect_answers(
    spans: Sequence[tuple[NDArray[Any], ...]],
    lowest: NDArray[np.float64],
    questions: Sequence[Question],
    n_best: int,
) -> Answers:
    """Candidates of each question, from spans of all windows: question, negative score, begin, stop."""
    columns = [np.concatenate(column) for column in zip(*spans, strict=True)]
    order = np.lexsort(columns[::-1])
    question_index, score, begin, stop = (column[order] for column in columns)
    ranked = list(zip((-score).tolist(), begin.tolist(), stop.tolist(), strict=True))
    borders = np.searchsorted(question_index, np.arange(len(questions) + 1)).tolist()
    candidates: dict[str, list[Candidate]] = {}
    limit = float(np.finfo(np.float32).max)  # JSON knows no infinity
    best = np.full(len(questions), -limit)
    for number, (question, bounds) in enumerate(zip(questions, pairwise(borders), strict=True)):
        scores: dict[str, float] = {}
        for value, begins, stops in ranked[slice(*bounds)]:
            text = question.context[begins:stops].strip()
            if text and text not in scores:
                scores[text] = value
                if len(scores) == n_best:
                    break
        candidates[question.id] = [Candidate(text, value) for text, value in scores.items()]
        if scores:
            best[number] = candidates[question.id][0].score
    odds = (lowest.clip(-limit, limit) - best.clip(-limit, limit)).tolist()
    return Answers(candidates, dict(zip(candidates, odds, strict=True)))


def write_predictions(path: Path, predictions: Mapping[str, str]) -> None:
    """Write answers for the official scripts: one JSON object of ids and texts."""
    write_text(path, json.dumps(predictions, ensure_ascii=False, indent=2) + "\n")


def write_null_odds(path: Path, null_odds: Mapping[str, float]) -> None:
    """Write null odds for the official script of 2.0 (``--na-prob-file``)."""
    write_text(path, json.dumps(null_odds, indent=2) + "\n")
