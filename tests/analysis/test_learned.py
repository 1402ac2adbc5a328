"""RAFs beside what they began as, and their sketches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf
from transformers import BertConfig, BertModel

import raft
from raft.analysis.figures import draw_functions
from raft.analysis.learned import join_names, learned_functions, shorten_name
from raft.analysis.sketch import sketch

TINY: dict[str, Any] = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}


def model(**raf: object) -> BertModel:
    return BertModel(BertConfig(**TINY, intermediate_size=16, raf=raf))  # type: ignore[call-arg]


def become_identity(act: raft.Rational) -> None:
    with torch.no_grad():
        act.numerator.zero_()
        act.denominator.zero_()
        act.numerator[..., 1] = 1


def test_distances_are_those_to_the_function_that_was_replaced() -> None:
    changed = model()
    become_identity(raft.hf.rationals(changed)["encoder.layer.1.intermediate.intermediate_act_fn"])
    kept, actual, pooler = learned_functions(changed, (-2.0, 3.0))
    x = np.linspace(-2, 3, 1001)
    difference = x - x * (1 + erf(x / np.sqrt(2))) / 2
    assert actual.began_as == "gelu"
    assert actual.rms == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-12)
    assert actual.max == pytest.approx(2 * (1 + erf(np.sqrt(2))) / 2, rel=1e-12)
    assert (actual.low, actual.high) == (-2, 3)
    assert 0 < kept.rms < 0.01 < actual.rms
    assert pooler.began_as == "tanh"


def test_one_changed_group_of_two_gives_half_of_the_mean_square() -> None:
    changed = model(groups=2, sites=["ffn"], residual=True)
    act = next(iter(raft.hf.rationals(changed).values()))
    with torch.no_grad():
        act.numerator[1, 0] = 3.0
        act.denominator.zero_()
    actual, unchanged = learned_functions(changed)
    assert actual.is_residual
    assert actual.groups == 2
    assert actual.rms == pytest.approx(3 / np.sqrt(2))
    assert actual.max == pytest.approx(3)
    assert unchanged.max == 0


def test_the_function_of_init_is_the_beginning() -> None:
    actual = learned_functions(model(init="silu", sites=["ffn"]))
    assert [each.began_as for each in actual] == ["silu", "silu"]
    assert all(each.max < 0.01 for each in actual)  # gelu would be 0.19 away


def test_places_of_a_shared_raf() -> None:
    (actual,) = learned_functions(model(shared="all", sites=["ffn"]))
    assert actual.places == tuple(f"encoder.layer.{i}.intermediate.intermediate_act_fn" for i in range(2))
    assert actual.row()["places"] == list(actual.places)


def test_inputs_are_drawn_behind_the_rafs_that_got_some() -> None:
    learner = model(sites=["ffn"])
    functions = learned_functions(learner)
    assert all(len(panel.collections) == 0 for panel in draw_functions(functions).axes)
    inputs = raft.hf.count_inputs(learner, [torch.arange(9)[None]])
    del inputs[functions[1].site]
    first, second, behind = draw_functions(functions, inputs).axes
    (density,) = behind.collections
    x, y = np.asarray(density.get_paths()[0].vertices).T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == pytest.approx(1, abs=0.05)  # it is a density
    assert [len(panel.get_legend_handles_labels()[0]) for panel in (first, second, behind)] == [2, 2, 1]
    assert behind.get_position().bounds == first.get_position().bounds


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["pooler.activation"], "pooler.activation"),
        (["layer.0.act", "layer.1.act", "layer.10.act"], "layer.{0-1,10}.act"),
        ([f"l.{i}.e.{j}.act" for i in (0, 1) for j in (0, 1, 2)], "l.{0-1}.e.{0-2}.act"),
        (["l.0.e.0.act", "l.1.e.1.act"], "l.0.e.0.act, l.1.e.1.act"),
        (["encoder.0.act", "decoder.0.act"], "encoder.0.act, decoder.0.act"),
    ],
)
def test_names_that_differ_in_numbers_are_one(names: list[str], expected: str) -> None:
    assert join_names(names) == expected


def test_short_names() -> None:
    assert shorten_name("encoder.layer.3.intermediate.act") == "encoder.layer.3"
    assert shorten_name("encoder.layer.{0-5}.intermediate.act") == "encoder.layer.{0-5}"
    assert shorten_name("pooler.activation") == "pooler"
    places = ["attention.self.attention_input.activation", "intermediate.act"]
    assert [shorten_name(f"encoder.layer.3.{place}") for place in places] == [
        "encoder.layer.3.attention_input",
        "encoder.layer.3",
    ]
    assert shorten_name("act") == "act"


def test_sketches_worked_by_hand() -> None:
    rising = np.linspace(0, 1, 101)
    assert sketch([rising], 2, 1) == "⡠⠊"
    assert sketch([-rising], 2, 1) == "⠑⢄"
    assert sketch([rising, -rising], 2, 2).count("\n") == 1
    assert sketch([np.zeros(9)], 3, 1) == "⠤⠤⠤"
    assert sketch([np.full(9, np.inf)], 3, 1) == "⠀⠀⠀"
    step = np.repeat([0.0, 1.0], 50)
    assert sketch([step], 1, 1) == "⡸"  # the jump is a line, not two dots
