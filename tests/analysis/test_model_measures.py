"""All measures of a model's RAFs, of models whose RAFs are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

import raft
from raft.analysis.function_measures import Domain
from raft.analysis.model_measures import (
    CurveOf,
    measure_function,
    measure_model,
    rational_functions,
    tabulate_measures,
)
from raft.coefficients.closed_form import RationalFunction
from raft.hf import rationals
from raft.hf.histogram import count_inputs
from raft.learned_activation import learned_activations

SIZE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
IDS = torch.randint(0, 50, (8, 30), generator=torch.Generator().manual_seed(0))


def model(**raf: Any) -> Any:
    torch.manual_seed(0)
    made = BertModel(BertConfig(**SIZE), add_pooling_layer=False).eval()
    for layer in made.encoder.layer:  # inputs as wide as a trained model's
        layer.intermediate.dense.weight.data.mul_(30)
    return raft.convert(made, raf)


def test_a_raft_at_its_start_is_near_gelu_and_where_it_began() -> None:
    actual = tabulate_measures(measure_model(model(), [IDS]))
    assert list(actual["site"]) == list(rationals(model()))
    # the tanh approximation is nearer to GELU than the fit is to either
    assert set(actual["nearest"]) <= {"gelu", "gelu_tanh"}
    # they began as a fit of GELU, which is at its distance to GELU
    assert list(actual["max_to_start"]) == pytest.approx(list(actual["max"]), abs=1e-12)
    assert ((actual["l2"] > 0) & (actual["l2"] <= actual["max"]) & (actual["max"] < 0.01)).all()
    assert (actual["low"] < -0.5).all()


def test_what_was_changed_is_seen() -> None:
    changed = model(residual=True)
    with torch.no_grad():
        next(iter(rationals(changed).values())).numerator[0] = 0.5
    one, two = measure_model(changed, {"input_ids": IDS})
    assert (one.to_fixed.l2, one.to_fixed.max) != (two.to_fixed.l2, two.to_fixed.max) == (0, 0)
    assert one.to_start is not None
    # 0.5 / Q is at its largest where Q is 1
    assert one.to_start.max == pytest.approx(0.5, abs=1e-3)
    assert two.row()["pieces"] == "↘↗"
    assert two.row()["minima"] == [pytest.approx((-0.7518, -0.17), abs=1e-3)]


def test_the_deviation_is_that_of_the_outputs() -> None:
    line = RationalFunction((3.0, 2.0), ())  # 3 + 2 x over evenly spread inputs from 0 to 1
    actual = measure_function(line, Domain.interval(0, 1))
    assert actual.output_deviation == pytest.approx(2 / np.sqrt(12), rel=1e-3)
    assert actual.row()["output_deviation"] == actual.output_deviation


def test_a_calibrated_model_that_was_loaded_has_not_moved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    faft = BertModel(BertConfig(**SIZE)).eval()
    for layer in faft.encoder.layer:
        layer.intermediate.dense.weight.data.mul_(60)
    made = raft.convert(faft, calibration=[IDS])
    made.save_pretrained(tmp_path)
    for each in (made, BertModel.from_pretrained(tmp_path)):
        first, second, pooler = measure_model(each, [IDS])
        for actual in (first, second, pooler):
            assert actual.to_start is not None
            # both are the distance of the fit to the function
            assert actual.to_start.max == pytest.approx(actual.to_fixed.max, abs=1e-12)
            assert actual.to_start.l2 < 0.05
        assert pooler.nearest[0] == "tanh"


def test_a_spline_is_measured_by_its_curve() -> None:
    made = model(function="spline", settings={"knots": 5, "interval": [-4, 4]}, sites=["ffn"])
    site, act = next(iter(learned_activations(made).items()))
    # falls to -1 at -2, rises through zero at -1 to 0 and on as x
    act.load_state_dict({"knot_values": torch.tensor([1.0, -1.0, 1.0, 3.0, 5.0]), "raf_form": act.raf_form})
    curve = CurveOf(act, site)
    assert curve.derivative(np.array([-3.0, -2.0, 1.0])) == pytest.approx([-1, 0, 1])
    actual = measure_function(curve, Domain.interval(-4, 4)).row()
    assert actual["minima"] == [pytest.approx((-2, -1), abs=1e-4)]
    assert actual["zeros"] == pytest.approx([-3, -1], abs=1e-4)
    assert actual["pieces"] == "↘↗"
    assert (actual["site"], actual["asymptote_above"]) == (site, None)
    one, two = measure_model(made, [IDS])
    assert one.to_start is not None
    assert two.to_start is not None
    assert one.to_start.max > 0.5
    assert two.to_start.max == pytest.approx(two.to_fixed.max, rel=1e-9)


def test_what_has_no_curve_has_no_measures() -> None:
    assert measure_model(model(function="polynorm", init="default"), [IDS]) == []


def test_groups_and_constant_inputs() -> None:
    made = model(groups=2)
    assert [each.row()["site"][-2:] for each in measure_model(made, [IDS])] == ["#0", "#1"] * 2
    made.encoder.layer[0].intermediate.dense.weight.data.zero_()
    assert len(measure_model(made, [IDS])) == 2  # the first layer's RAF sees nothing but zeros
    assert (
        rational_functions(made, count_inputs(made, [IDS]))[f"{next(iter(rationals(made)))}#0"].interval
        is None
    )


def test_formulas_know_the_interval_of_their_inputs() -> None:
    made = model(groups=2)
    seen = count_inputs(made, [IDS])
    functions = rational_functions(made, seen)
    assert len(functions) == 2 * len(rationals(made))
    site = next(iter(rationals(made)))
    low, high = functions[f"{site}#1"].interval or (0, 0)
    assert seen[site].low <= low < high <= seen[site].high
    assert functions[f"{site}#0"].site == site
    with pytest.raises(ValueError, match="texts is empty"):
        count_inputs(made, [])
    with pytest.raises(ValueError, match="has no learned activation"):
        measure_model(BertModel(BertConfig(**SIZE)), [IDS])
