"""Names of variants, and what they set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raft.errors import InputError
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.variants import (
    find_baseline,
    is_learned,
    parse_settings,
    parse_variants,
    split_gate,
    variant_arguments,
)
from raft.training.arguments import RaftTrainingArguments


def test_the_first_fixed_activation_is_the_baseline() -> None:
    assert find_baseline(["raf", "relu", "gelu", "raf:version=B"]) == "relu"
    assert find_baseline(["gelu:learning_rate=1e-4", "gelu"]) == "gelu:learning_rate=1e-4"
    assert find_baseline(["raf", "raf:version=B"]) is None
    assert find_baseline(["xielu", "prelu", "swish", "relu"]) == "relu"
    assert find_baseline(["raf_glu", "swiglu", "gelu"]) == "swiglu"


@pytest.mark.parametrize(
    ("activation", "split"),
    [
        ("swiglu", ("silu", True)),
        ("geglu", ("gelu", True)),
        ("reglu", ("relu", True)),
        ("raf_glu", ("raf", True)),
        ("silu", ("silu", False)),
        ("raf", ("raf", False)),
    ],
)
def test_gates_and_their_functions(activation: str, split: tuple[str, bool]) -> None:
    assert split_gate(activation) == split


def test_gated_rafs_take_the_settings_of_rafs() -> None:
    assert parse_settings("raf_glu:raf_learning_rate=1e-3") == {"raf_learning_rate": 1e-3}
    assert is_learned("raf_glu:raf_init=silu")
    assert not is_learned("swiglu:learning_rate=1e-3")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gelu:learning_rate=-1e-4", "learning_rate cannot be '-1e-4'"),
        ("gelu:learning_rate=inf", "learning_rate cannot be 'inf'"),
        ("raf:raf_learning_rate=nan", "raf_learning_rate cannot be 'nan'"),
        ("gelu:raf_learning_rate=1e-4", "only learning_rate can be set of a fixed activation"),
        ("swiglu:raf_init=silu", "only learning_rate can be set of a fixed activation"),
        ("gelu:degrees=3/2", "only learning_rate can be set of a fixed activation"),
        ("raf:degrees=3", "degrees cannot be '3'"),
        ("raf:version=A:version=B", "version is given twice"),
        ("raf:hidden_size=3", "'hidden_size=3' must be one of"),
        ("raf:version=", "'version=' must be one of"),
        ("raf:knots=9", "'knots=9' must be one of raf_init"),
        ("xielu:knots=9", "'knots=9' must be one of raf_init, .*, beta, with"),
        ("swish:version=B", "'version=B' must be one of"),
        ("spline:knots=many", "knots cannot be 'many'"),
        ("spline:knots=9:knots=9", "knots is given twice"),
    ],
)
def test_what_a_name_cannot_set(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_settings(name)


def test_places_of_rafs_are_joined_by_a_plus() -> None:
    name = "raf:raf_sites=ffn+attention_input"
    assert parse_settings(name) == {"raf_sites": ["ffn", "attention_input"]}
    block = PretrainingRecipe().variant(name).raf_block()
    assert block["sites"] == ["ffn", "attention_input"]  # and no pooler
    assert PretrainingRecipe().variant("raf").raf_block()["sites"] == ["ffn", "pooler"]
    with pytest.raises(InputError, match=r"raf\.sites must be taken from ffn, pooler, .*attention_input"):
        PretrainingRecipe(compare="gelu,raf:raf_sites=attention").check()


def test_a_rate_of_zero_freezes() -> None:
    assert parse_settings("raf:raf_learning_rate=0") == {"raf_learning_rate": 0.0}
    assert parse_settings("gelu:learning_rate=0") == {"learning_rate": 0.0}


@pytest.mark.parametrize(
    "names", ["gelu,gelu", "raf:degrees=3/2:version=B, raf:version=B:degrees=3/2", "raf,"]
)
def test_variants_are_different_and_have_names(names: str) -> None:
    with pytest.raises(InputError, match="--compare needs"):
        parse_variants(names)
    assert parse_variants("raf, raf : version = B") == ["raf", "raf:version=B"]


def test_variants_have_folders_of_their_own() -> None:
    with pytest.raises(InputError, match=r"a/f.json and \S+b/f.json would be trained in one folder"):
        parse_variants("gelu,raf:raf_init=a/f.json,raf:raf_init=b/f.json")


def test_a_variant_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    name = "raf:version=B:degrees=3/2:raf_learning_rate=0:learning_rate=2e-3"
    recipe = PretrainingRecipe(compare=f"gelu,{name}", seeds=3, raf_init="silu")
    changed = recipe.variant(name)
    assert (changed.activation, changed.compare, changed.seeds) == ("raf", None, 1)
    assert (changed.version, changed.degrees, changed.raf_init) == ("B", [3, 2], "silu")
    quiet: dict[str, Any] = {"report_to": "none", "max_steps": 3, "weight_decay": 0.3}
    arguments = RaftTrainingArguments(output_dir=str(tmp_path), **quiet)
    trained = variant_arguments(arguments, name, seed=7)
    assert (trained.raf_learning_rate, trained.learning_rate, trained.seed) == (0.0, 2e-3, 7)
    assert (trained.weight_decay, trained.max_steps) == (0.3, 3)
    plain = variant_arguments(arguments, "gelu", seed=7)
    assert (plain.raf_learning_rate, plain.learning_rate) == (
        arguments.raf_learning_rate, arguments.learning_rate,
    )  # fmt: skip


def test_settings_of_one_kind_of_function_come_together() -> None:
    name = "spline:knots=33:interval=[-6,6]:raf_learning_rate=1e-3"
    assert parse_settings(name) == {
        "raf_learning_rate": 1e-3, "raf_settings": '{"interval": [-6, 6], "knots": 33}',
    }  # fmt: skip
    block = PretrainingRecipe(compare=name, degrees=[3, 2]).variant(name).raf_block()
    assert block == {
        "function": "spline", "settings": {"knots": 33, "interval": [-6, 6]}, "init": "default", "groups": 1,
        "sites": ["ffn", "pooler"],
    }  # fmt: skip
