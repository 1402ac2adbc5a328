"""A random order that takes no memory is a permutation, and a function of its seeds alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft.data.text.order import RandomOrder

SEEDS = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("size", [*range(1, 40), 97, 99, 100, 101, 1023, 1024, 1025, 7919, 65_536, 250_001])
def test_everything_comes_once(size: int) -> None:
    actual = RandomOrder(size, 3, 1)(np.arange(size))
    assert actual.dtype == np.int64
    assert np.array_equal(np.sort(actual), np.arange(size))


@pytest.mark.parametrize("size", [10**8, 2**32 - 5, 2**32 + 15, 10**12 + 39], ids="{:,}".format)
def test_no_two_places_of_a_large_order_meet(size: int) -> None:
    # around the ends, and anywhere
    places = np.unique(
        np.concatenate(
            [
                np.arange(10_000),
                np.arange(size - 10_000, size),
                np.random.default_rng(0).integers(size, size=100_000),
            ]
        )
    )
    actual = RandomOrder(size, 5)(places)
    assert len(np.unique(actual)) == len(places)
    assert actual.min() >= 0
    assert actual.max() < size
    # a tenth of the range gets about a tenth of them
    counts = np.histogram(actual, bins=10, range=(0, size))[0]
    assert counts == pytest.approx(len(places) / 10, rel=0.05)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), SEEDS, SEEDS, st.data())
def test_a_place_alone_holds_what_it_holds_among_others(
    size: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    places = data.draw(st.lists(st.integers(0, size - 1), max_size=30))
    together = RandomOrder(size, seed, epoch)(np.array(places, dtype=np.int64))
    alone = [RandomOrder(size, seed, epoch)(np.array([place]))[0] for place in places]
    assert together.tolist() == alone


@pytest.mark.parametrize(
    "dtype", [np.int32, np.uint32, np.int64, np.uint64], ids=lambda dtype: dtype.__name__
)
def test_places_of_any_integer_type(dtype: type[np.integer]) -> None:
    places = np.arange(1000)
    order = RandomOrder(1000, 1)
    assert np.array_equal(order(places.astype(dtype)), order(places))
    assert np.array_equal(places, np.arange(1000))


def test_orders_differ_by_seed_and_by_epoch() -> None:
    places = np.arange(5000)
    orders = {
        (seed, epoch): RandomOrder(5000, seed, epoch)(places) for seed in range(4) for epoch in range(4)
    }
    assert np.array_equal(orders[1, 2], RandomOrder(5000, 1, 2)(places))
    for one, first in orders.items():
        for other, second in orders.items():
            # two independent permutations have one place in common on average
            assert one == other or (first == second).sum() <= 10


def test_an_order_looks_random() -> None:
    size = 100_003
    actual = RandomOrder(size, 11)(np.arange(size))
    assert abs(np.corrcoef(actual, np.arange(size))[0, 1]) < 0.015  # 4.7 standard deviations
    assert abs(np.corrcoef(actual[1:], actual[:-1])[0, 1]) < 0.015
    steps = np.abs(np.diff(actual))
    assert (steps <= 100).mean() == pytest.approx(200 / size, rel=0.25)
    assert steps.mean() == pytest.approx(size / 3, rel=0.01)
