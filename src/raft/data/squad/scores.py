"""Exact match and F1 of answers, by the official definitions of SQuAD 1.1 and 2.0.

They differ from ``torchmetrics.text.SQuAD``, which has the F1 of 2.0 under the rules of 1.1, for answers of
articles and punctuation alone.
"""

from __future__ import annotations

import logging
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raft.data.squad.questions import Question, SquadVersion
from raft.errors import InputError

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only, as officially
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class SquadScore:
    """Scores in points from 0 to 100.

    Attributes:
        exact: share of questions whose answer is, normalised, one of the right ones.
        f1: mean over the questions of the F1 between the words of the answer and those of a right one.
        total: number of questions.
    """

    exact: float
    f1: float
    total: int


def normalize(text: str) -> str:
    """The text without case, ASCII punctuation, the words *a*, *an* and *the*, and superfluous spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def score(predictions: Mapping[str, str], questions: Sequence[Question], version: SquadVersion) -> SquadScore:
    """Score answers by the official definitions.

    Each answer gets the best score that it reaches against any right one. Where nothing is left of an answer
    and a right one after normalisation, both exact match and F1 are 1 in version 2.0, but F1 is 0 in 1.1. In
    2.0, right answers of which nothing is left do not count, and without any the right one is the empty text.

    Args:
        predictions: answer of each question's id; the empty text says that the context has none. A question
            without one counts 0, with a warning; the official script of 2.0 has no score then.
        questions: with the right answers.
        version: whose rules hold.

    Raises:
        InputError: where there are no questions, or one has no answer in 1.1.

    Source: ``evaluate-v1.1.py`` and ``evaluate-v2.0.py`` of the SQuAD explorer.
    """
    if not questions:
        raise InputError("there are no questions to score answers to")
    _warn_if_missing(predictions, questions)
    scores = np.zeros((2, len(questions)))
    for column, question in enumerate(questions):
        prediction = predictions.get(question.id)
        if prediction is None:
            continue
        if version == "1.1" and not question.answers:
            raise InputError(f"question {question.id} has no answer; score it as version 2.0")
        answer = normalize(prediction)
        right = {normalize(a.text) for a in question.answers}
        if version == "2.0":
            right = right - {""} or {""}
        scores[0, column] = answer in right
        scores[1, column] = max(_f1(answer, other, version) for other in right)
    exact, f1 = 100.0 * scores.mean(axis=1)
    return SquadScore(float(exact), float(f1), len(questions))


def _warn_if_missing(predictions: Mapping[str, str], questions: Sequence[Question]) -> None:
    missing = [question.id for question in questions if question.id not in predictions]
    if missing:
        logging.getLogger("raft").warning(
            "%d of %d questions have no prediction and count 0, the first is %s",
            len(missing),
            len(questions),
            missing[0],
        )


def _f1(answer: str, right: str, version: SquadVersion) -> float:
    words, right_words = answer.split(), right.split()
    if not words or not right_words:
        return float(version == "2.0" and words == right_words)
    shared = sum((Counter(words) & Counter(right_words)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(right_words)
    return 2 * precision * recall / (precision + recall)
