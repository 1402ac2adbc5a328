"""Minimal pairs: how often the acceptable sentence has the higher score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from raft.data.pairs.paradigms import Paradigm
from raft.evaluation.intervals import Estimate, estimate_mean_over, estimate_share
from raft.evaluation.scoring import Scores

T = TypeVar("T")
Values = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Outcomes:
    """Of the pairs of each paradigm: 1 where the acceptable sentence scores higher, 0.5 for a tie, else 0.

    Attributes:
        by_sum: by paradigm, ``[pairs]``, from sums of log-probabilities.
        by_mean: the same from their means over tokens.
    """

    by_sum: Values
    by_mean: Values


@dataclass(frozen=True)
class PairScore:
    """Of a paradigm, a phenomenon or all.

    Attributes:
        items: pairs.
        ties: pairs whose sentences have the same sum.
        ties_by_mean: those that have the same mean.
        by_sum: accuracy, ties counted half.
        by_mean: the same by means over tokens.
    """

    items: int
    ties: int
    ties_by_mean: int
    by_sum: Estimate
    by_mean: Estimate


@dataclass(frozen=True)
class PairsResult:
    """Of one model.

    Attributes:
        score: what a sentence's score is.
        overall: mean over paradigms.
        phenomena: by name, mean over its paradigms.
        paradigms: by name.
    """

    score: str
    overall: PairScore
    phenomena: dict[str, PairScore]
    paradigms: dict[str, PairScore]


@dataclass(frozen=True)
class PairDifference:
    """Accuracies of one model less those of another on the same pairs."""

    by_sum: Estimate
    by_mean: Estimate


@dataclass(frozen=True)
class PairsComparison:
    """Of two models; the groups are those of ``PairsResult``."""

    overall: PairDifference
    phenomena: dict[str, PairDifference]
    paradigms: dict[str, PairDifference]


def judge_pairs(paradigms: Sequence[Paradigm], score: Callable[[Sequence[str]], Scores]) -> Outcomes:
    """Compare the scores of the sentences of each pair."""
    scores = score([sentence for paradigm in paradigms for pair in paradigm.pairs for sentence in pair])
    ends = np.cumsum([len(paradigm.pairs) for paradigm in paradigms])[:-1]
    names = [paradigm.name for paradigm in paradigms]

    def compare(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        good, bad = values[::2], values[1::2]
        outcomes = (good > bad) + 0.5 * (good == bad)
        return dict(zip(names, np.split(outcomes, ends), strict=True))

    return Outcomes(compare(scores.sums), compare(scores.sums / scores.tokens))


def summarize_pairs(paradigms: Sequence[Paradigm], outcomes: Outcomes, score: str) -> PairsResult:
    """Accuracies: of a paradigm with Wilson's interval, of several with a bootstrap over their pairs."""

    def summarize(names: Sequence[str]) -> PairScore:
        groups = [[values[name] for name in names] for values in (outcomes.by_sum, outcomes.by_mean)]
        ties, ties_by_mean = (sum(int((group == 0.5).sum()) for group in score) for score in groups)
        by_sum, by_mean = (
            estimate_share(score[0]) if len(score) == 1 else estimate_mean_over(score) for score in groups
        )
        return PairScore(sum(map(len, groups[0])), ties, ties_by_mean, by_sum, by_mean)

    return PairsResult(score, *_by_group(paradigms, summarize))


def compare_pairs(paradigms: Sequence[Paradigm], model: Outcomes, other: Outcomes) -> PairsComparison:
    """The accuracies of a model less those of another, paired by item."""

    def subtract(names: Sequence[str]) -> PairDifference:
        return PairDifference(
            estimate_mean_over([model.by_sum[name] - other.by_sum[name] for name in names]),
            estimate_mean_over([model.by_mean[name] - other.by_mean[name] for name in names]),
        )

    return PairsComparison(*_by_group(paradigms, subtract))


def _by_group(
    paradigms: Sequence[Paradigm], summarize: Callable[[Sequence[str]], T]
) -> tuple[T, dict[str, T], dict[str, T]]:
    names = [paradigm.name for paradigm in paradigms]
    phenomena: dict[str, list[str]] = {}
    for paradigm in paradigms:
        phenomena.setdefault(paradigm.phenomenon, []).append(paradigm.name)
    return (
        summarize(names),
        {name: summarize(phenomena[name]) for name in sorted(phenomena)},
        {name: summarize([name]) for name in names},
    )
