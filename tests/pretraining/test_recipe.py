"""What a pretraining's recipe refuses, at the borders of what it takes."""

from __future__ import annotations

from typing import Any

import pytest

from raft.errors import InputError
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


def test_batches_are_accumulated_to_the_recipes() -> None:
    recipe = PretrainingRecipe(global_batch_size=96)
    assert [recipe.accumulation(*each) for each in ((96, 1), (8, 3), (16, 2), (1, 1))] == [1, 4, 3, 96]
    for per_device, processes in ((5, 1), (64, 1), (96, 2)):
        with pytest.raises(InputError, match=f"96 is no multiple of .* {per_device} times {processes} proc"):
            recipe.accumulation(per_device, processes)
