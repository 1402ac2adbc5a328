"""Distances between functions that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raft.analysis.distances import cluster, distance_matrix, measure_changes
from raft.analysis.function_measures import Domain
from raft.coefficients.closed_form import RationalFunction
from raft.hf.histogram import InputHistogram


def constant(value: float) -> RationalFunction:
    return RationalFunction((value,), ())


def test_the_matrix_of_constants_holds_their_differences() -> None:
    matrix = distance_matrix({"a": constant(0), "b": constant(3), "c": constant(1)}, Domain.interval(0, 1))
    np.testing.assert_allclose(matrix.to_numpy(), [[0, 3, 1], [3, 0, 2], [1, 2, 0]], atol=1e-12)
    assert list(matrix.index) == list(matrix.columns) == ["a", "b", "c"]


def test_distances_are_weighted_by_the_inputs() -> None:
    inputs = InputHistogram()
    inputs.add(0.5 * torch.randn(200_000, generator=torch.Generator().manual_seed(0)))
    lines = {name: RationalFunction((0.0, slope), ()) for name, slope in (("up", 1.0), ("down", -1.0))}
    # |x - (-x)| = 2|x|, whose mean square is 4 E[x^2] = 1
    matrix = distance_matrix(lines, Domain.of(inputs))
    np.testing.assert_allclose(matrix.to_numpy(), [[0, 1], [1, 0]], rtol=0.01)


def test_what_is_alike_stands_together() -> None:
    values = {"a": 0.0, "b": 9.0, "c": 0.2, "d": 9.3, "e": 0.1}
    matrix = distance_matrix({name: constant(value) for name, value in values.items()}, Domain.interval(0, 1))
    order = [values[label] for label in cluster(matrix)]
    assert order in (sorted(order), sorted(order, reverse=True))
    with pytest.raises(ValueError, match="two or more"):
        cluster(matrix.iloc[:1, :1])


def test_how_far_a_training_moved_each() -> None:
    line, steeper = RationalFunction((0.0, 1.0), ()), RationalFunction((0.0, 3.0), ())
    table = measure_changes(
        {"first": line, "second": constant(1), "third": line},
        {"first": steeper, "second": constant(-1), "third": steeper},
        {"first": Domain.interval(-1, 1), "second": Domain.interval(0, 5), "third": Domain.interval(0, 5)},
    )
    assert list(table["site"]) == ["first", "second", "third"]
    # 2x over [-1, 1] and [0, 5]: root of the mean of 4 x^2
    np.testing.assert_allclose(table["l2"], [2 / np.sqrt(3), 2, 10 / np.sqrt(3)], rtol=2e-3)
    np.testing.assert_allclose(table["max"], [2, 2, 10])
    assert table["at"][2] == 5
