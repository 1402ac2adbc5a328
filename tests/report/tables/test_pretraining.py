"""A comparison of pretrainings in a sentence."""

from __future__ import annotations

from raft.experiments.pretraining import PretrainingComparison, Variant
from raft.experiments.statistics import compare_seeds
from raft.pretraining.run import PretrainingResult
from raft.report.tables.pretraining import summarize

GELU = [4.0, 4.1, 4.2]


def compare(**losses: list[float]) -> str:
    def variant(name: str, of_seeds: list[float]) -> Variant:
        results = [
            PretrainingResult(name, seed, 9, loss, 6.0, 1.0, 9, 9, []) for seed, loss in enumerate(of_seeds)
        ]
        is_paired = name != "gelu" and len(of_seeds) > 1
        return Variant(name, results, compare_seeds(of_seeds, GELU) if is_paired else None)

    return summarize(PretrainingComparison([variant(*pair) for pair in losses.items()], "raft pretrain", {}))


def test_a_difference_is_told_from_chance() -> None:
    text = compare(raf=[3.95, 4.04, 4.16], gelu=GELU)
    assert text.startswith(
        "After 9 steps raf is 0.050 nats below gelu. With 3 seeds that is more than chance: "
    )
    assert "chance: 95 % interval [−0.0" in text
    assert text.endswith("raf:raf_learning_rate=0 beside it shows how much of it is learned.")
    control = {"raf:raf_learning_rate=0": [3.96, 4.05, 4.2]}
    assert "learned" not in compare(raf=[3.95, 4.04, 4.16], gelu=GELU, **control)


def test_what_may_be_chance_is_said_to_be() -> None:
    text = compare(gelu=GELU, raf=[3.9, 4.15, 4.15], relu=[4.3, 4.3, 4.3])
    assert text.startswith("After 9 steps raf is the lowest of 2 beside gelu: 0.033 nats below gelu.")
    assert "With 3 seeds that is not more than chance: the 95 % interval [−0.2" in text


def test_one_seed_and_no_baseline() -> None:
    assert compare(raf=[4.5], gelu=[4.0]) == (
        "After 9 steps raf is 0.500 nats above gelu, with one seed: another one, or more steps, may say "
        "otherwise."
    )
    assert compare(raf=GELU) == compare(gelu=GELU) == ""


def test_many_comparisons_have_a_caution() -> None:
    others = {f"raf:version={letter}": [3.95, 4.04, 4.16] for letter in "ABCDN"}
    picked = "The lowest of 5 is picked here, which favours it."
    assert compare(gelu=GELU, **others).endswith(
        picked + " More steps may change that; "
        "raf:raf_learning_rate=0 beside it shows how much of it is learned."
    )
    others["raf:raf_learning_rate=0"] = [3.99, 4.09, 4.19]
    assert compare(gelu=GELU, **others).endswith(picked.replace("5", "6"))


def test_where_none_is_below_the_baseline_the_nearest_is_named() -> None:
    text = compare(gelu=GELU, raf=[4.3, 4.4, 4.5], relu=[4.1, 4.2, 4.3])
    assert text.startswith(
        "After 9 steps none of 2 is below gelu; the nearest, relu, is 0.100 nats above gelu."
    )


def test_models_that_know_no_more_than_frequencies_are_not_compared() -> None:
    text = compare(gelu=[6.01, 6.02, 6.0], raf=[5.99, 5.99, 6.0])  # the unigram model's is 6.0
    assert text.endswith("which knows only how frequent each token is: train longer before you compare.")
    assert "chance" not in text
    assert "chance" in compare(gelu=[6.01, 6.02, 6.0], raf=[5.97, 5.98, 5.97])
