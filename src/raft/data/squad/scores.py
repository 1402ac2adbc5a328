"""Exact match and F1 of answers, by the official definitions of SQuAD 1.1 and 2.0.

They are not ``torchmetrics.text.SQuAD``, which has the F1 of 2.0 under the rules of 1.1: the two differ where
nothing is left of an answer but articles and punctuation.
"""

from __future__ import annotations

import logging
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raft.data.squad.questions import Question, SquadVersion
from raft.errors import InputError

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only, as officially
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class Part:
    """Scores of some of the questions, in points from 0 to 100."""

    exact: float
    f1: float
    total: int


@dataclass(frozen=True)
class SquadScore:
    """Scores in points from 0 to 100.

    Attributes:
        exact: share of questions whose answer is, normalised, one of the right ones.
        f1: mean over the questions of the F1 between the words of the answer and those of a right one.
        total: number of questions.
        has_answer: of the questions that have an answer (2.0; None where there are none).
        no_answer: of the questions that have none (2.0; None where there are none).
        best_exact: highest that any threshold on the null odds could give (2.0, where they are given).
        best_exact_threshold: that threshold, as the official script finds it.
        best_f1: the same of F1.
        best_f1_threshold: the same of F1.
    """

    exact: float
    f1: float
    total: int
    has_answer: Part | None = None
    no_answer: Part | None = None
    best_exact: float | None = None
    best_exact_threshold: float | None = None
    best_f1: float | None = None
    best_f1_threshold: float | None = None


def normalize(text: str) -> str:
    """The text without case, ASCII punctuation, the words *a*, *an* and *the*, and superfluous spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def score(
    predictions: Mapping[str, str],
    questions: Sequence[Question],
    version: SquadVersion,
    null_odds: Mapping[str, float] | None = None,
    null_threshold: float = 1.0,
) -> SquadScore:
    """Score answers by the official definitions.

    Each answer gets the best score that it reaches against any right one. Where nothing is left of an answer
    and a right one after normalisation, both exact match and F1 are 1 in version 2.0, but F1 is 0 in 1.1. In
    2.0, right answers of which nothing is left do not count, and without any the right one is the empty text.

    Args:
        predictions: answer of each question's id; the empty text says that the context has none. A question
            without one counts 0, which is said in the log; the official script of 2.0 has no score then.
        questions: with the right answers.
        version: whose rules hold.
        null_odds: of each answered question's id, how much more likely no answer is than the given one (2.0).
        null_threshold: an answer whose null odds are above it counts as no answer; the official default is 1.

    Raises:
        InputError: where there are no questions, one has no answer in 1.1, or null odds are missing.

    Source: ``evaluate-v1.1.py`` and ``evaluate-v2.0.py`` of the SQuAD explorer.
    """
    if not questions:
        raise InputError("there are no questions to score answers to")
    _warn_of_missing(predictions, questions)
    exact, f1 = _raw_scores(predictions, questions, version)
    if version == "1.1":
        return SquadScore(100.0 * float(exact.mean()), 100.0 * float(f1.mean()), len(questions))
    has_answer = _has_answer(questions)
    if null_odds is None:
        return _by_kind(exact, f1, has_answer)
    answered, odds, gains = _by_odds(predictions, questions, null_odds, (exact, f1))
    void = np.zeros(len(questions), dtype=bool)
    void[answered] = odds > null_threshold
    found = _by_kind(np.where(void, ~has_answer, exact), np.where(void, ~has_answer, f1), has_answer)
    (best_exact, at_exact), (best_f1, at_f1) = (
        _best_threshold(gain, odds, int((~has_answer).sum()), ties_apart=True) for gain in gains
    )
    return replace(
        found,
        best_exact=100.0 * best_exact / len(questions),
        best_exact_threshold=at_exact or 0.0,
        best_f1=100.0 * best_f1 / len(questions),
        best_f1_threshold=at_f1 or 0.0,
    )


def _by_kind(
    exact: NDArray[np.float64], f1: NDArray[np.float64], has_answer: NDArray[np.bool_]
) -> SquadScore:
    def part(chosen: NDArray[np.bool_]) -> Part | None:
        if not chosen.any():
            return None
        return Part(100.0 * float(exact[chosen].mean()), 100.0 * float(f1[chosen].mean()), int(chosen.sum()))

    return SquadScore(
        100.0 * float(exact.mean()),
        100.0 * float(f1.mean()),
        len(exact),
        part(has_answer),
        part(~has_answer),
    )


def choose_null_threshold(
    predictions: Mapping[str, str],
    questions: Sequence[Question],
    null_odds: Mapping[str, float],
    by: Literal["exact", "f1"] = "f1",
) -> float:
    """The threshold on null odds that gives the highest score on these questions (SQuAD 2.0).

    It is the official ``best_exact_thresh`` or ``best_f1_thresh``, but for two cases in which that one does
    not give the score that it stands for: among equal odds the official script tells questions apart, which a
    threshold cannot, and where no answer at all is best it says 0, above which not all odds have to lie.

    Args:
        predictions: best answer of each question's id that is not the empty text.
        questions: of a validation set, with the right answers.
        null_odds: of each answered question's id.
        by: what shall be high.

    Raises:
        InputError: where null odds are missing, or there are no answers.
    """
    scores = _raw_scores(predictions, questions, "2.0")
    _, odds, gains = _by_odds(predictions, questions, null_odds, scores)
    if not len(odds):
        raise InputError("there are no answers to choose a threshold on")
    start = int((~_has_answer(questions)).sum())
    _, threshold = _best_threshold(gains[("exact", "f1").index(by)], odds, start, ties_apart=False)
    if threshold is not None:
        return threshold
    return 0.0 if odds[0] > 0 else float(np.nextafter(odds[0], -np.inf))


def _warn_of_missing(predictions: Mapping[str, str], questions: Sequence[Question]) -> None:
    missing = [question.id for question in questions if question.id not in predictions]
    if missing:
        logging.getLogger("raft").warning(
            "%d of %d questions have no prediction and count 0, the first is %s",
            len(missing),
            len(questions),
            missing[0],
        )


def _has_answer(questions: Sequence[Question]) -> NDArray[np.bool_]:
    return np.array([bool(question.answers) for question in questions])


def _raw_scores(
    predictions: Mapping[str, str], questions: Sequence[Question], version: SquadVersion
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact match and F1 of each question, from 0 to 1, ``[N]``."""
    scores = np.zeros((2, len(questions)))
    for column, question in enumerate(questions):
        given = predictions.get(question.id)
        if given is None:
            continue
        if version == "1.1" and not question.answers:
            raise InputError(f"question {question.id} has no answer; score it as version 2.0")
        found = normalize(given)
        right = {normalize(answer.text) for answer in question.answers}
        if version == "2.0":
            right = right - {""} or {""}
        scores[0, column] = found in right
        scores[1, column] = max(_f1(found, one, version) for one in right)
    return scores[0], scores[1]


def _f1(found: str, right: str, version: SquadVersion) -> float:
    words, right_words = found.split(), right.split()
    if not words or not right_words:
        return float(version == "2.0" and words == right_words)
    shared = sum((Counter(words) & Counter(right_words)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(right_words)
    return 2 * precision * recall / (precision + recall)


def _by_odds(
    predictions: Mapping[str, str],
    questions: Sequence[Question],
    null_odds: Mapping[str, float],
    scores: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[NDArray[np.float64]]]:
    """Answered questions from the lowest null odds to the highest, equal ones in the order of ``null_odds``.

    Returns:
        Their places among the questions, their odds, and for each kind of score what is gained when the
        answer takes the place of no answer.
    """
    answered = {q.id: place for place, q in enumerate(questions) if q.id in predictions}
    lacking = next((id for id in answered if id not in null_odds), None)
    if lacking is not None:
        raise InputError(f"question {lacking} has a prediction, but no null odds")
    ids = sorted((id for id in null_odds if id in answered), key=lambda id: null_odds[id])
    places = np.array([answered[id] for id in ids], dtype=np.int64)
    odds = np.array([null_odds[id] for id in ids], dtype=np.float64)
    has_answer = _has_answer(questions)[places]
    lost = np.array([-1.0 if predictions[id] else 0.0 for id in ids])
    return places, odds, [np.where(has_answer, values[places], lost) for values in scores]


def _best_threshold(
    gains: NDArray[np.float64], odds: NDArray[np.float64], start: int, ties_apart: bool
) -> tuple[float, float | None]:
    """Highest sum of scores, and the lowest threshold that gives it; None where no answer at all does.

    Args:
        gains: of each answer, from the lowest null odds to the highest.
        odds: of the same.
        start: sum of scores without any answer.
        ties_apart: as if a threshold could lie between equal odds.
    """
    reached = np.cumsum([start, *gains])[1:]  # in this order, to round as the official sum does
    if not ties_apart and len(odds):
        reached[:-1][odds[:-1] == odds[1:]] = -np.inf
    if not len(reached) or reached.max() <= start:
        return float(start), None
    place = int(reached.argmax())
    return float(reached[place]), float(odds[place])
