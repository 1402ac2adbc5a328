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


def test_the_default_device_does_not_matter() -> None:
    changed = model()
    with torch.device("meta"):
        assert learned_functions(changed)[0].rms == learned_functions(changed)[0].rms > 0


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
    assert unchanged.max < 1e-15


def test_the_function_of_init_is_the_beginning() -> None:
    actual = learned_functions(model(init="silu", sites=["ffn"]))
    assert [each.began_as for each in actual] == ["silu", "silu"]
    assert all(each.max < 0.01 for each in actual)  # gelu would be 0.19 away


def test_places_of_a_shared_raf() -> None:
    (actual,) = learned_functions(model(shared="all", sites=["ffn"]))
    assert actual.places == tuple(f"encoder.layer.{i}.intermediate.intermediate_act_fn" for i in range(2))
    assert actual.row()["places"] == list(actual.places)


def test_a_spline_is_read_as_its_knots_say() -> None:
    learner = model(function="spline", settings={"knots": 5, "interval": [-2, 2]}, groups=2, sites=["ffn"])
    act = next(iter(raft.learned_activation.learned_activations(learner).values()))
    knots = np.array([[3.0, -1.0, 0.5, 0.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
    act.load_state_dict({"knot_values": torch.tensor(knots), "raf_form": act.raf_form})
    actual, unchanged = learned_functions(learner, (-2.0, 2.0))
    assert np.allclose(actual.y, [np.interp(actual.x, [-2, -1, 0, 1, 2], row) for row in knots], atol=1e-7)
    assert actual.began_as == "gelu"
    assert np.abs(unchanged.y - actual.beginning).max() < 0.08  # lines between five points of it
    row = actual.row()
    assert (row["function"], row["knots"], row["interval"], row["groups"]) == ("spline", 5, [-2, 2], 2)
    assert row["knot_values"] == knots.tolist()


def test_a_function_with_a_start_of_its_own_began_as_that() -> None:
    learner = model(function="xielu", init="default", sites=["ffn"])
    first, second = raft.learned_activation.learned_activations(learner).values()
    with torch.no_grad():
        next(second.parameters()).add_(1)
    actual = learned_functions(learner)
    assert [each.began_as for each in actual] == ["its start"] * 2
    assert actual[0].max == 0
    x = actual[1].x
    assert np.allclose(actual[1].beginning, first.values(x)[0])
    assert actual[1].max > 0.1


def test_what_is_not_elementwise_is_listed_and_not_drawn() -> None:
    learner = model(function="polynorm", init="default", sites=["ffn"])
    actual = learned_functions(learner)
    assert [each.has_curve for each in actual] == [False, False]
    row = actual[0].row()
    assert (row["function"], row["degree"], row["rms"]) == ("polynorm", 3, None)
    assert row["power_weights"] == [pytest.approx([1 / 3] * 3)]
    with pytest.raises(ValueError, match="no learned function with a curve"):
        draw_functions(actual)


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
