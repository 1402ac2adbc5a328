"""Exact match and F1 of answers, by the official definitions of SQuAD 1.1 and 2.0.

They differ from ``torchmetrics.text.SQuAD``, which has the F1 of 2.0 under the rules of 1.1, for answers of
articles and punctuation alone.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from raft.data.squad.questions import Question, SquadVersion

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only, as officially
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalize(text: str) -> str:
    """The text without case, ASCII punctuation, the words *a*, *an* and *the*, and superfluous spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def score(
    predictions: Mapping[str, str], questions: Sequence[Question], version: SquadVersion
) -> tuple[float, float]:
    """Score answers by the official definitions.

    Each answer gets the best score that it reaches against any right one. Where nothing is left of an answer
    and a right one after normalisation, both exact match and F1 are 1 in version 2.0, but F1 is 0 in 1.1. In
    2.0, right answers of which nothing is left do not count, and without any the right one is the empty text.

    Args:
        predictions: answer of each question's id; the empty text says that the context has none.
        questions: at least one, with the right answers.
        version: whose rules hold.

    Returns:
        Points from 0 to 100: the share of questions whose answer is, normalised, one of the right ones, and
        the mean over the questions of the F1 between the words of the answer and those of a right one.

    Source: ``evaluate-v1.1.py`` and ``evaluate-v2.0.py`` of the SQuAD explorer.
    """
    scores = np.zeros((2, len(questions)))
    for column, question in enumerate(questions):
        answer = normalize(predictions[question.id])
        right = {normalize(a.text) for a in question.answers}
        if version == "2.0":
            right = right - {""} or {""}
        scores[0, column] = answer in right
        scores[1, column] = max(_f1(answer, other, version) for other in right)
    exact, f1 = 100.0 * scores.mean(axis=1)
    return float(exact), float(f1)


def _f1(answer: str, right: str, version: SquadVersion) -> float:
    words, right_words = answer.split(), right.split()
    if not words or not right_words:
        return float(version == "2.0" and words == right_words)
    shared = sum((Counter(words) & Counter(right_words)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(right_words)
    return 2 * precision * recall / (precision + recall)
