"""Answers from logits, against every span looked at one by one; from right logits to right answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from raft.data.squad.answers import (
    find_answers,
    write_null_odds,
    write_predictions,
)
from raft.data.squad.questions import Question, load_squad
from raft.data.squad.scores import normalize, score
from raft.data.squad.windows import Windows, make_windows
from raft.data.text.tokens import train_tokenizer
from raft.errors import TrainingError
from tests.data.squad.squad_form import asked
from tests.data.squad.test_windows import (
    CONTEXTS,
    QUESTIONS,
    Maker,
    every_tokenizer,
    without_special_tokens,
    wordpiece,
)

Logits = tuple[NDArray[np.float32], NDArray[np.float32]]


def random_logits(windows: Windows, seed: int, values: int | None = None) -> Logits:
    """Of any width above the windows', poisoned where no token is; of few different values, if asked."""
    shape = (len(windows), int(windows.lengths.max()) + 3)
    generator = np.random.default_rng(seed)
    actual = []
    for _ in range(2):
        logits = (
            generator.standard_normal(shape) * 3 if values is None else generator.integers(values, size=shape)
        )
        logits = logits - 20  # no span may be better for being added to a zero
        behind = np.arange(shape[1]) >= windows.lengths[:, None]
        actual.append(np.where(behind, np.nan, logits).astype(np.float32))
    return actual[0], actual[1]


def right_logits(windows: Windows) -> Logits:
    """Those of a model that knows the labels, and is as sure of no answer where a window has none."""
    shape = (len(windows), int(windows.lengths.max()))
    starts, ends = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    rows = np.arange(len(windows))
    starts[rows, windows.labels[:, 0]] = ends[rows, windows.labels[:, 1]] = 5
    return starts, ends


def one_by_one(logits: Logits, windows: Windows, question: int, longest: int) -> list[tuple[float, int, int]]:
    """All spans of a question's windows, from the best to the worst: score, begin, stop."""
    assert windows.offsets is not None
    actual = []
    for window in np.flatnonzero(windows.question == question):
        begin, end = windows.context[window]
        offsets = windows.offsets[windows.borders[window] :]
        for first in range(begin, end):
            for last in range(first, min(first + longest, end)):
                value = logits[0][window, first] + logits[1][window, last]
                actual.append((float(value), int(offsets[first, 0]), int(offsets[last, 1])))
    return sorted(actual, key=lambda span: (-span[0], *span[1:]))


@every_tokenizer
@pytest.mark.parametrize("longest", [1, 5, 30])
def test_the_best_span_of_all_windows_is_found(
    make: Maker, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raft.data.squad.answers.LONGEST", longest)
    windows = make_windows(QUESTIONS, make(), 80, 24)
    logits = random_logits(windows, seed=longest)
    actual = find_answers(*logits, windows, QUESTIONS)
    assert list(actual.best) == list(actual.null_odds) == [question.id for question in QUESTIONS]
    for number, question in enumerate(QUESTIONS):
        spans = one_by_one(logits, windows, number, longest)
        texts = ((question.context[begin:stop].strip(), value) for value, begin, stop in spans)
        text, value = next(span for span in texts if span[0])
        assert actual.best[question.id] == text
        nulls = [
            logits[0][window, windows.null[window]] + logits[1][window, windows.null[window]]
            for window in np.flatnonzero(windows.question == number)
        ]
        assert actual.null_odds[question.id] == pytest.approx(float(min(nulls)) - value, abs=1e-5)


def test_of_equal_spans_the_first_in_the_text_is_taken() -> None:
    windows = make_windows(QUESTIONS, wordpiece(), 80, 24)
    logits = random_logits(windows, seed=0, values=3)
    actual = find_answers(*logits, windows, QUESTIONS)
    for number, question in enumerate(QUESTIONS):
        _, begin, stop = one_by_one(logits, windows, number, 30)[0]
        assert actual.best[question.id] == question.context[begin:stop].strip()


def test_a_span_without_text_is_no_answer() -> None:
    questions = [asked("words", context="ab    cd"), asked("nothing", context=" " * 8)]
    windows = make_windows(questions, without_special_tokens())  # whose spaces are tokens
    assert windows.context.tolist() == [[4, 12]] * 2
    starts, ends = np.full((2, 2, 12), -50, dtype=np.float32)
    for place in range(6, 10):
        starts[:, place] = ends[:, place] = 5
    starts[:, 10], ends[:, 11] = 3, 3
    actual = find_answers(starts, ends, windows, questions)
    assert actual.texts() == {"words": "cd", "nothing": ""}
    assert actual.null_odds["words"] == -100 - 8  # from a space to the last letter


def test_the_parts_that_are_looked_at_together_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = make_windows(QUESTIONS, wordpiece(), 80, 24)
    logits = random_logits(windows, seed=1)
    whole = find_answers(*logits, windows, QUESTIONS)
    monkeypatch.setattr("raft.data.squad.answers.WINDOWS_HELD", 5)
    assert find_answers(*logits, windows, QUESTIONS) == whole


def test_half_precision_is_added_in_single_precision() -> None:
    windows = make_windows(QUESTIONS, wordpiece(), 80, 24)
    starts, ends = (one.astype(np.float16) for one in random_logits(windows, seed=1))
    single = find_answers(starts.astype(np.float32), ends.astype(np.float32), windows, QUESTIONS)
    assert find_answers(starts, ends, windows, QUESTIONS) == single


@every_tokenizer
def test_right_logits_give_the_right_answers(make: Maker) -> None:
    windows = make_windows(QUESTIONS, make(), 96, 32)
    texts = find_answers(*right_logits(windows), windows, QUESTIONS).texts(null_threshold=4)
    for question in QUESTIONS:
        if not question.answers:
            assert texts[question.id] == ""
            continue
        answer = question.answers[0].text.strip()
        assert answer in texts[question.id]  # tokens may reach beyond it
        assert len(texts[question.id]) - len(answer) < 12


@pytest.mark.parametrize(("max_length", "stride"), [(384, 128), (128, 64), (64, 30)])
def test_real_questions_through_windows_and_back(max_length: int, stride: int, shared_data: Path) -> None:
    train, dev = (load_squad(shared_data / "squad", split, "1.1") for split in ("train", "validation"))
    tokenizer = train_tokenizer([question.context for question in train], 2000)
    questions = [*train, *dev]
    windows = make_windows(questions, tokenizer, max_length, stride)
    held = set(windows.question[windows.labels[:, 0] != windows.null].tolist())
    for number in set(range(len(questions))) - held:
        assert (
            len(tokenizer.tokenize(questions[number].answers[0].text)) > 20
        )  # no two windows share that many
    lengths = windows.labels[:, 1] - windows.labels[:, 0] + 1
    longest = {n: int(lengths[windows.question == n].max()) for n in held}
    short = [questions[n] for n in sorted(held) if longest[n] <= 30]
    assert len(short) > 0.99 * len(questions)
    answers = find_answers(*right_logits(windows), windows, questions)
    texts = answers.texts()
    for question in short:
        assert normalize(texts[question.id]) == normalize(question.answers[0].text)
    assert score(texts, short, "1.1")[1] == pytest.approx(100)
    gold = {question.id: question.answers[0].text for question in questions}
    for actual in (score(gold, questions, "1.1"), score(gold, questions, "2.0")):
        assert actual == pytest.approx((100, 100))


def test_an_impossible_question_by_hand() -> None:
    tokenizer = train_tokenizer(["ab cd ef gh ij kl mn op who"] * 3, 100)
    question = asked("q", context="ab cd ef gh ij kl mn op", question="who")
    words = len(tokenizer.tokenize("who"))
    windows = make_windows([question] * 2, tokenizer, words + 3 + 13, 5)
    assert windows.question.tolist() == [0, 1]
    windows = replace(windows, question=np.zeros(2, dtype=np.int32))  # two windows of one question
    starts, ends = np.zeros((2, len(windows.tokens) // 2)), np.zeros((2, len(windows.tokens) // 2))
    starts[0, 0], ends[0, 0], starts[1, 0], ends[1, 0] = 3, 4, 2, 1  # no answer: 7 and 3, the lower counts
    starts[0, words + 4], ends[0, words + 5] = 2, 3  # "ef gh": 5
    starts[1, words + 3], ends[1, words + 3] = 1, 3.5  # "cd": 4.5
    ends[0, 1] = starts[1, len(windows.tokens) // 2 - 1] = 50  # question and [SEP] are no answers
    actual = find_answers(starts, ends, windows, [question])
    assert actual.null_odds == {"q": -2}
    assert actual.texts() == actual.texts(-2) == {"q": "ef gh"}
    assert actual.texts(-2.5) == {"q": ""}


def test_bad_logits_are_refused() -> None:
    windows = make_windows(QUESTIONS, wordpiece(), 80, 24)
    starts, ends = random_logits(windows, seed=0)
    for place in (windows.null[3], windows.context[3, 1] - 1):
        broken = ends.copy()
        broken[3, place] = np.nan
        with pytest.raises(TrainingError, match="the model's logits are not numbers"):
            find_answers(starts, broken, windows, QUESTIONS)
    ruled_out = np.full_like(starts, -np.inf)
    actual = find_answers(ruled_out, ruled_out, windows, QUESTIONS)
    assert set(actual.texts().values()) == {""}
    assert json.loads(json.dumps(actual.null_odds, allow_nan=False)) == actual.null_odds


def test_files_are_in_the_official_form(tmp_path: Path) -> None:
    texts, odds = {"b": "São\n“Paulo”", "a": ""}, {"b": -1.5, "a": 2.0}
    write_predictions(tmp_path / "out" / "predictions.json", texts)
    write_null_odds(tmp_path / "out" / "null_odds.json", odds)
    assert list(json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8")).items()) == [
        ("b", "São\n“Paulo”"),
        ("a", ""),
    ]
    assert json.loads((tmp_path / "out" / "null_odds.json").read_text(encoding="utf-8")) == odds
    assert json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8")) == texts


def test_the_questions_of_these_tests_need_several_windows() -> None:
    windows = make_windows(QUESTIONS, wordpiece(), 80, 24)
    assert np.bincount(windows.question).max() > 5
    assert len({question.context for question in QUESTIONS}) == len(CONTEXTS)
    assert isinstance(QUESTIONS[0], Question)
