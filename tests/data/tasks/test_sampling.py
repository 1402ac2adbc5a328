"""Which examples a run gets: by split, number and seed, the same for every model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft.data.tasks.glue import load_glue
from raft.data.tasks.sampling import sample_split
from raft.data.tasks.task import Example, Task
from raft.errors import InputError


def pool(size: int, name: str = "t", shares: tuple[float, ...] = (0.5, 0.5)) -> list[Example]:
    borders = np.cumsum(shares) * size
    return [Example(f"{name}{i}", None, int(np.searchsorted(borders, i, side="right"))) for i in range(size)]


def task(size: int = 400, validation: int | None = 200, **values: Any) -> Task:
    held_out = None if validation is None else pool(validation, "v")
    return Task("some", "accuracy", pool(size), pool(50, "x"), validation=held_out, **values)


def test_draws_are_those_of_the_results_in_this_repository() -> None:
    examples = [Example(str(i), None, i % 2) for i in range(400)]
    some = Task("some", "accuracy", examples, examples[:1])
    assert [e.first for e in sample_split(some, 2022, 5).train] == ["378", "279", "65", "305", "175"]
    assert [e.first for e in sample_split(some, 1, 5).train] == ["299", "145", "237", "11", "99"]


@pytest.mark.parametrize("stratified", [False, True])
def test_the_papers_split_holds_a_quarter_of_the_training_set_out(stratified: bool) -> None:
    whole, train, validation = task(), set(), set()
    for seed in range(60):
        actual = sample_split(whole, seed, 100, stratified=stratified)
        assert len(set(actual.train_rows)) == len(set(actual.validation_rows)) == 100
        assert actual.train == [whole.train[i] for i in actual.train_rows]
        assert actual.validation == [whole.train[i] for i in actual.validation_rows]
        train |= set(actual.train_rows)
        validation |= set(actual.validation_rows)
    everything = sample_split(whole, 0, stratified=stratified)
    assert (len(train), len(validation)) == (300, 100)
    assert not train & validation
    assert (set(everything.train_rows), set(everything.validation_rows)) == (train, validation)
    assert actual.validation_part == everything.validation_part == "train"


def test_the_official_split_takes_both_sets_as_they_are() -> None:
    everything = sample_split(task(), 3, split="official")
    assert (everything.train, everything.validation) == (task().train, task().validation)
    assert everything.train_rows == list(range(400))
    few = sample_split(task(), 3, 100, split="official")
    assert few.validation_part == "validation"
    held_out = pool(200, "v")
    assert few.validation == [held_out[i] for i in few.validation_rows]
    assert len(set(few.validation_rows)) == len(set(few.train_rows)) == 100
    assert max(few.train_rows) >= 300


def test_rows_are_those_of_the_file() -> None:
    rows = [2 * i + 1 for i in range(400)]
    actual, plain = sample_split(task(train_rows=rows), 5, 20), sample_split(task(), 5, 20)
    assert actual.train == plain.train
    assert actual.train_rows == [2 * i + 1 for i in plain.train_rows]
    assert actual.validation_rows == [2 * i + 1 for i in plain.validation_rows]
    official = sample_split(task(train_rows=rows), 5, 20, split="official")
    assert set(official.train_rows) <= set(rows)
    assert max(official.validation_rows) < 200
    assert json.loads(json.dumps(official.record())) == {
        "train_rows": official.train_rows,
        "validation_part": "validation",
        "validation_rows": official.validation_rows,
    }


@pytest.mark.parametrize("split", ["paper", "official"])
def test_draws_differ_by_seed_and_repeat(split: Any) -> None:
    one, again, other = (sample_split(task(), seed, 50, split) for seed in (1, 1, 2))
    assert one == again
    assert one.train != other.train
    assert one.validation != other.validation


def test_both_parts_are_drawn_by_themselves() -> None:
    for stratified in (False, True):
        actual = sample_split(task(size=200), 3, 50, "official", stratified)  # of 200 each
        assert actual.train_rows != actual.validation_rows
        # of independent draws of a quarter about a quarter is common
        assert len({*actual.train_rows} & {*actual.validation_rows}) < 25


def test_validation_is_all_there_is_where_that_is_less() -> None:
    actual = sample_split(task(), 1, 300)
    assert (len(actual.train), len(actual.validation)) == (300, 100)


@given(st.integers(1, 300), st.integers(0, 50), st.floats(0.02, 0.6))
@settings(max_examples=40, deadline=None)
def test_stratified_draws_have_each_class_by_its_share(count: int, seed: int, share: float) -> None:
    examples = pool(400, shares=(share, (1 - share) / 3, 2 * (1 - share) / 3))
    three = Task("three", "accuracy", examples, [], ("a", "b", "c"))
    everything = sample_split(three, 0, stratified=True)
    whole, classes = (Counter(e.label for e in part) for part in (everything.train, examples))
    assert all(abs(whole[label] - 0.75 * classes[label]) < 1 for label in classes)
    actual = sample_split(three, seed, count, stratified=True)
    assert len(set(actual.train_rows)) == count
    drawn = Counter(e.label for e in actual.train)
    assert all(abs(drawn[label] - count * whole[label] / 300) < 1 for label in whole)


def test_stratified_draws_of_a_regression_cover_its_scores() -> None:
    examples = [Example(str(i), None, i / 100) for i in np.random.default_rng(0).permutation(400)]
    regression = Task("r", "pearson_and_spearman", examples, [], None)
    whole = sorted(e.label for e in sample_split(regression, 0, stratified=True).train)
    for seed in range(20):
        drawn = sorted(e.label for e in sample_split(regression, seed, 50, stratified=True).train)
        fifths = np.searchsorted(drawn, [whole[60 * i] for i in range(1, 5)])
        assert fifths.tolist() == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_examples": 301}, "301 training examples are asked for, but the task has 300 to draw from"),
        ({"train_examples": 401, "split": "official"}, "401 .* but the task has 400 to draw from"),
        ({"train_examples": 0}, "--train_examples must be above zero or 'all', not 0"),
        ({"split": "mine"}, "--split must be paper or official, not 'mine'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample_split(task(), 1, **values)


def test_what_has_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(InputError, match="some has no validation set of its own; use --split paper"):
        sample_split(task(validation=None), 1, split="official")
    with pytest.raises(InputError, match="some has no training examples"):
        sample_split(task(size=0), 1)
    with pytest.raises(InputError, match="some has no examples to choose checkpoints by"):
        sample_split(task(validation=0), 1, split="official")


def test_the_papers_sizes_on_the_official_files(shared_data: Path) -> None:
    sizes = {"cola": (6413, 2138), "mrpc": (2751, 917), "rte": (1867, 623), "stsb": (4311, 1438)}
    for name, (train, validation) in sizes.items():
        glue = load_glue(shared_data / "glue", name)
        for stratified in (False, True):
            everything = sample_split(glue, 2022, stratified=stratified)
            assert (len(everything.train), len(everything.validation)) == (train, validation)
            assert len(set(everything.train_rows) | set(everything.validation_rows)) == train + validation
            few = sample_split(glue, 2022, 300, stratified=stratified)
            assert (len(few.train), len(few.validation)) == (300, 300)
            assert set(few.train_rows) <= set(everything.train_rows)
            assert set(few.validation_rows) <= set(everything.validation_rows)
