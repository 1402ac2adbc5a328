"""What a pretraining's recipe refuses, at the borders of what it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM

import raft
from raft.errors import InputError
from raft.functions.fixed_gain import measure_gain
from raft.learned_activation import learned_activations
from raft.pretraining.recipe import PretrainingRecipe

WIDE: dict[str, Any] = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 80}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mlm_probability": 0.0}, "--mlm_probability must be above 0, not 0.0"),
        ({"mlm_probability": 1.0}, "--mlm_probability must be below 1, not 1.0"),
        ({"mlm_probability": 0.001}, None),
        ({"mlm_probability": 0.999}, None),
        ({"sequence_length": 7}, "--sequence_length must be at least 8, not 7"),
        (
            {"sequence_length": 513},
            "--sequence_length must be at most --max_position_embeddings, 512",
        ),
        ({"sequence_length": 8}, None),
        ({"sequence_length": 512}, None),
        ({"dropout": 1.0}, "--dropout must be below 1, not 1.0"),
        ({"dropout": 0.0}, None),
        # divides the encoder's width alone, the feed-forward layers' alone, both
        ({**WIDE, "raf_groups": 3}, "--raf_groups 3 must divide --hidden_size, 48, and .*, 80"),
        ({**WIDE, "raf_groups": 5}, "--raf_groups 5 must divide --hidden_size, 48"),
        ({**WIDE, "raf_groups": 16}, None),
        ({**WIDE, "raf_groups": 5, "activation": "gelu"}, None),
        ({**WIDE, "compare": "gelu,raf:raf_groups=3"}, "--raf_groups 3 must divide"),
        ({"compare": "gelu,relu2,leaky_relu2,quick_gelu,softplus"}, None),
        ({"activation": "gelu_10"}, None),
        ({"compare": "gelu,swiglu,geglu,reglu,raf_glu,raf_glu:raf_init=silu"}, None),
        ({"activation": "swigl"}, "unknown activation 'swigl'; .*raf_glu; the nearest is 'swiglu'"),
        ({"activation": "raf_glu", "raf_init": "swiglu"}, "unknown activation 'swiglu'"),
        # with gates, 80 channels become 53, and 72 become 48
        ({**WIDE, "raf_groups": 16, "activation": "raf_glu"}, "--raf_groups 16 must divide .*, 53"),
        ({**WIDE, "intermediate_size": 72, "raf_groups": 16, "activation": "raf_glu"}, None),
        (
            {"activation": "relu3"},
            "unknown activation 'relu3'; .*quick_gelu, .*; the nearest is 'relu'",
        ),
        ({"compare": "raf,xielu,prelu,swish,polynorm,spline,spline:knots=33:raf_init=relu"}, None),
        ({"activation": "spline", "raf_settings": {"knots": 9}, "degrees": [3, 2]}, None),
        ({"activation": "spline", "raf_settings": '{"knots": 9}'}, None),
        ({"activation": "spline", "raf_settings": "knots"}, "--raf_settings knots is no JSON object"),
        ({"activation": "spline", "raf_settings": "[9]"}, "--raf_settings .* is no JSON object"),
        ({"activation": "spline", "raf_settings": {"knot": 9}}, "raf.settings of spline: .*'knot'"),
        ({"activation": "raf", "raf_settings": {"knots": 9}}, "--raf_settings are those of other learned"),
        ({"activation": "polynorm", "raf_init": "gelu"}, "raf.init of 'polynorm' must be 'default'"),
        ({"activation": "rational"}, "unknown activation 'rational'"),
        ({"raf_init": "auto"}, "--raf_init names a function: a new model had none before"),
        ({"raf_init": "quick_gelu"}, "unknown activation 'quick_gelu'"),
        ({"raf_init": "relu2", "degrees": [6, 4]}, None),
        ({"compare": "gelu,raf:raf_gain=0.15,fixed_gain:raf_gain=2,raf_glu:raf_gain=0.1"}, None),
        ({"raf_gain": 0.15, "raf_init": "relu2", "degrees": [3, 2], "version": "B", "raf_groups": 16}, None),
        ({"raf_gain": 0.0}, "--raf_gain must be above 0, not 0.0"),
        ({"raf_gain": 0.15, "activation": "spline"}, "--raf_gain is of raf and fixed_gain, not of spline"),
        ({"raf_gain": 0.15, "raf_init": "f.json"}, "--raf_gain scales a function with a name, and .* f.json"),
        ({"raf_gain": 0.15, "raf_init": "gelo"}, "unknown activation 'gelo'"),
        ({"hidden_size": 0}, "--hidden_size must be at least 1, not 0"),
        ({"seeds": 0}, "--seeds must be at least 1, not 0"),
    ],
)
def test_what_a_recipe_takes(values: dict[str, Any], message: str | None) -> None:
    recipe = PretrainingRecipe(**values)
    if message is None:
        recipe.check()
    else:
        with pytest.raises(InputError, match=message):
            recipe.check()


def test_a_gain_is_of_feed_forward_layers_alone() -> None:
    sites = {**WIDE, "vocab_size": 99, "activation": "raf", "raf_gain": 0.15, "raf_init": "relu"}
    recipe = PretrainingRecipe(**sites, raf_sites=["ffn", "mlm_head"])
    acts = learned_activations(AutoModelForMaskedLM.from_config(recipe.model_config("raf", None)))
    (head,) = (act for name, act in acts.items() if ".encoder." not in name)
    torch.testing.assert_close(head.coefficients(), raft.Rational("relu").coefficients())
    with pytest.raises(InputError, match="--raf_gain is of feed-forward layers"):
        PretrainingRecipe(**sites, raf_sites=["mlm_head"]).check()


@pytest.mark.parametrize("activation", ["raf", "fixed_gain"])
def test_a_start_has_the_gain_that_is_asked_for(activation: str) -> None:
    sizes = {**WIDE, "num_hidden_layers": 2, "raf_sites": ["ffn", "attention_input"]}
    recipe = PretrainingRecipe(**sizes, vocab_size=99, activation=activation, raf_gain=0.15)
    config = recipe.model_config(activation, None)
    acts = learned_activations(AutoModelForMaskedLM.from_config(config))
    gains = {
        name.rpartition(".")[2]: float(measure_gain(*(v.detach() for v in act.coefficients())))
        for name, act in acts.items()
    }
    assert len(acts) == 4
    assert gains == pytest.approx({"intermediate_act_fn": 0.15, "activation": 1.0}, rel=1e-5)


def test_batches_are_accumulated_to_the_recipes() -> None:
    recipe = PretrainingRecipe(global_batch_size=96)
    assert [recipe.accumulation(*each) for each in ((96, 1), (8, 3), (16, 2), (1, 1))] == [1, 4, 3, 96]
    for per_device, processes in ((5, 1), (64, 1), (96, 2)):
        with pytest.raises(InputError, match=f"96 is no multiple of .* {per_device} times {processes} proc"):
            recipe.accumulation(per_device, processes)
