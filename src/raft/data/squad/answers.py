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
from raft.errors import TrainingError
from raft.files import write_text

N_BEST = 20
"""Spans of a window that an answer is taken from: the first of some tokenizers have no text."""

LONGEST = 30
"""Tokens of an answer."""

WINDOWS_HELD = 512
"""Windows whose spans are scored at once."""


@dataclass(frozen=True)
class Answers:
    """A model's answers.

    Attributes:
        best: by question id, the text of the best span; empty where no span has a text.
        null_odds: by question id, score of no answer minus that of the best span.
    """

    best: dict[str, str]
    null_odds: dict[str, float]

    def texts(self, null_threshold: float | None = None) -> dict[str, str]:
        """The answer to each question.

        Args:
            null_threshold: null odds above which the answer is the empty text (SQuAD 2.0); None to always
                answer, as in 1.1.
        """
        limit = np.inf if null_threshold is None else null_threshold
        return {id: text if self.null_odds[id] <= limit else "" for id, text in self.best.items()}


def find_answers(
    start_logits: NDArray[np.floating],
    end_logits: NDArray[np.floating],
    windows: Windows,
    questions: Sequence[Question],
) -> Answers:
    """Extract answers from logits.

    An answer is the span of at most ``LONGEST`` tokens of the context with the highest sum of start and end
    logits, over all windows of a question; ties go to the first in the text. (BERT's script takes the 20 best
    starts and ends alone, and may miss the best span.) The score of no answer is the lowest that a window
    gives to its null position.

    Args:
        start_logits: ``[W, L]`` of any float type, L at least the length of the longest window; padding is
            ignored.
        end_logits: the same.
        windows: of these questions, with offsets.
        questions: that ``windows`` was made of.

    Raises:
        TrainingError: where a logit within a window is not a number.

    Source: Devlin et al., "BERT", NAACL 2019, sections 4.2 and 4.3.
    """
    assert windows.offsets is not None
    width = int(windows.lengths.max())
    nulls = np.empty(len(windows))
    spans: list[tuple[NDArray[Any], ...]] = []
    for first in range(0, len(windows), WINDOWS_HELD):
        chunk = slice(first, first + WINDOWS_HELD)
        starts, ends = (logits[chunk, :width].astype(np.float32) for logits in (start_logits, end_logits))
        rows = np.arange(len(starts))
        nulls[chunk] = starts[rows, windows.null[chunk]] + ends[rows, windows.null[chunk]]
        scores, firsts, lasts = _best_spans(starts, ends, windows.context[chunk])
        row, column = np.nonzero(scores > -np.inf)
        window = first + row
        begins = windows.offsets[windows.borders[window] + firsts[row, column], 0]
        stops = windows.offsets[windows.borders[window] + lasts[row, column], 1]
        spans.append((windows.question[window], -scores[row, column], begins, stops))
    if np.isnan(nulls).any():
        raise TrainingError("the model's logits are not numbers")
    lowest = np.full(len(questions), np.inf)
    np.minimum.at(lowest, windows.question, nulls)
    return _collect_answers(spans, lowest, questions)


def _best_spans(
    starts: NDArray[np.float32], ends: NDArray[np.float32], context: NDArray[np.int32]
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
    padding = np.full((len(ends), LONGEST - 1), -np.inf, dtype=np.float32)
    following = sliding_window_view(np.concatenate([ends, padding], axis=1), LONGEST, axis=1)
    firsts = _highest(starts + following.max(axis=2))
    sums = np.take_along_axis(starts, firsts, axis=1)[:, :, None]
    sums = (sums + np.take_along_axis(following, firsts[:, :, None], axis=1)).reshape(len(starts), -1)
    best = _highest(sums)
    firsts = np.take_along_axis(firsts, best // LONGEST, axis=1)
    return np.take_along_axis(sums, best, axis=1), firsts, firsts + best % LONGEST


def _highest(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Indices of each row's ``N_BEST`` highest scores, in descending order; ties in order of index."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :N_BEST]


def _collect_answers(
    spans: Sequence[tuple[NDArray[Any], ...]], lowest: NDArray[np.float64], questions: Sequence[Question]
) -> Answers:
    """Each question's best span with a text, of spans: question, negative score, begin, stop."""
    columns = [np.concatenate(column) for column in zip(*spans, strict=True)]
    order = np.lexsort(columns[::-1])
    question_index, negative_scores, begins, stops = (column[order] for column in columns)
    ranked = list(zip((-negative_scores).tolist(), begins.tolist(), stops.tolist(), strict=True))
    borders = np.searchsorted(question_index, np.arange(len(questions) + 1)).tolist()
    limit = float(np.finfo(np.float32).max)  # JSON knows no infinity
    best: dict[str, tuple[str, float]] = {}
    for question, bounds in zip(questions, pairwise(borders), strict=True):
        texts = (
            (question.context[begin:stop].strip(), score) for score, begin, stop in ranked[slice(*bounds)]
        )
        best[question.id] = next((span for span in texts if span[0]), ("", -limit))
    scores = np.array([score for _, score in best.values()])
    odds = (lowest.clip(-limit, limit) - scores.clip(-limit, limit)).tolist()
    return Answers({id: text for id, (text, _) in best.items()}, dict(zip(best, odds, strict=True)))


def write_predictions(path: Path, predictions: Mapping[str, str]) -> None:
    """Write answers for the official scripts: one JSON object of ids and texts."""
    write_text(path, json.dumps(predictions, ensure_ascii=False, indent=2) + "\n")


def write_null_odds(path: Path, null_odds: Mapping[str, float]) -> None:
    """Write null odds for the official script of 2.0 (``--na-prob-file``)."""
    write_text(path, json.dumps(null_odds, indent=2) + "\n")
