"""Exact match and F1, against hand-made cases and against the official procedures written out as they run."""

from __future__ import annotations

import string
from collections import Counter
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.text import squad as torchmetrics_squad

from raft.data.squad.questions import Question, SquadVersion
from raft.data.squad.scores import normalize, score
from tests.data.squad.squad_form import asked


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("an apple a day, the end", "apple day end"),
        ("theory of Ant-Man", "theory of antman"),
        ("“The” year\u00a01990–91", "“ ” year 1990–91"),  # only ASCII punctuation goes, and articles by word
        ("A. The, an?", ""),
        ("a-the", "athe"),  # punctuation goes before articles
        ("\tLa\u2028Paz\n", "la paz"),
        ("", ""),
    ],
)
def test_normalization(text: str, normal: str) -> None:
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("given", "right", "exact", "f1"),
    [
        ("the Eiffel Tower.", ["Eiffel tower"], 100, 100),
        ("Eiffel", ["Eiffel Tower"], 0, 100 * 2 / 3),
        ("tall Eiffel Tower", ["Tower of Eiffel"], 0, 100 * 2 / 3),
        ("no no no", ["no no"], 0, 100 * 4 / 5),  # words count as often as both have them
        ("Paris", ["London", "in Paris", "Paris"], 100, 100),
        ("big Paris", ["Paris", "big old Paris"], 0, 100 * 4 / 5),  # the best of several
        ("Rome", ["Paris"], 0, 0),
        ("", ["Paris"], 0, 0),
        ("the", ["Paris"], 0, 0),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_one_answer_by_hand(
    version: SquadVersion, given: str, right: list[str], exact: float, f1: float
) -> None:
    assert score({"q": given}, [asked("q", *right)], version) == pytest.approx((exact, f1))


def test_answers_of_which_nothing_is_left() -> None:
    article = [asked("q", "The")]
    for text in ("A", "...", ""):
        old, new = (score({"q": text}, article, version) for version in ("1.1", "2.0"))
        assert [old, new] == [(100, 0), (100, 100)]
    several = [asked("q", "The", "Paris")]  # in 2.0 the first does not count beside the second
    old, new = (score({"q": "an"}, several, version) for version in ("1.1", "2.0"))
    assert [old, new] == [(100, 0), (0, 0)]


def test_questions_without_an_answer() -> None:
    questions = [asked("a"), asked("b"), asked("c", "Paris"), asked("d", "Paris"), asked("e", "Paris")]
    given = {"a": "", "b": "Rome", "c": "", "d": "Paris", "e": "in Paris"}
    assert score(given, questions, "2.0") == pytest.approx((40, 100 * (2 + 2 / 3) / 5))
    assert score(given, questions[2:], "2.0") == pytest.approx((100 / 3, 100 * (1 + 2 / 3) / 3))
    assert score(given, questions[:2], "2.0") == (50, 50)


WORDS = ["a", "The", "an", "Paris", "paris,", "of", "“an”", "!", "N.Y.", "–", "\u00a0", "anthem", "7"]
texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)


Case = tuple[list[Question], dict[str, str]]


@st.composite
def scored(draw: st.DrawFn, least: int) -> Case:
    """Questions with at least so many answers, and predictions."""
    count = draw(st.integers(1, 8))
    answers = [draw(st.lists(texts, min_size=least, max_size=3)) for _ in range(count)]
    questions = [asked(str(i), *right) for i, right in enumerate(answers)]
    rights = [st.sampled_from([answer.text for answer in q.answers] or [""]) for q in questions]
    return questions, {q.id: draw(st.one_of(texts, r)) for q, r in zip(questions, rights, strict=True)}


def official_words(text: str) -> list[str]:
    kept = [letter for letter in text.lower() if letter not in string.punctuation]
    runs = ("".join(run) for _, run in groupby(kept, key=str.isalnum))
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def official_f1(actual: list[str], right: list[str], empty: float) -> float:
    if not actual or not right:
        return empty if actual == right else 0.0
    same = sum(min(count, Counter(right)[word]) for word, count in Counter(actual).items())
    return 2 * same / (len(actual) + len(right))


@settings(deadline=None)
@given(scored(least=1))
def test_1_1_is_the_official_procedure(case: Case) -> None:
    questions, given = case
    exact, f1 = [], []
    for question in questions:
        actual = official_words(given[question.id])
        pairs = [(actual, official_words(answer.text)) for answer in question.answers]
        exact.append(max(float(one == other) for one, other in pairs))
        f1.append(max(official_f1(*pair, empty=0.0) for pair in pairs))
    assert score(given, questions, "1.1") == pytest.approx((100 * np.mean(exact), 100 * np.mean(f1)))


@settings(deadline=None)
@given(scored(least=0))
def test_2_0_is_the_official_procedure(case: Case) -> None:
    questions, given = case
    exact, f1 = [], []
    for question in questions:
        actual = official_words(given[question.id])
        right = [w for w in (official_words(answer.text) for answer in question.answers) if w] or [[]]
        exact.append(max(float(actual == one) for one in right))
        f1.append(max(official_f1(actual, one, empty=1.0) for one in right))
    assert score(given, questions, "2.0") == pytest.approx((100 * np.mean(exact), 100 * np.mean(f1)))


@settings(deadline=None)
@given(scored(least=1))
def test_torchmetrics_agrees_but_where_nothing_is_left(
    case: Case,
) -> None:
    questions, given = case
    targets: list[Any] = [
        {"id": q.id, "answers": {"text": [a.text for a in q.answers], "answer_start": [0] * len(q.answers)}}
        for q in questions
    ]
    theirs = torchmetrics_squad([{"id": id, "prediction_text": text} for id, text in given.items()], targets)
    exact, f1 = score(given, questions, "1.1")
    assert exact == pytest.approx(float(theirs["exact_match"]), abs=1e-4)
    if all(normalize(text) for text in given.values()):
        assert f1 == pytest.approx(float(theirs["f1"]), abs=1e-4)
    else:
        assert f1 <= float(theirs["f1"]) + 1e-4
