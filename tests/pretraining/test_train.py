"""Models with one seed start alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raft.models import RaftBertConfig
from raft.pretraining.train import build_model
from tests.hf.architectures import TINY


@pytest.mark.parametrize("neighbours", [False, True])
def test_gated_models_start_from_the_same_weights_where_shapes_agree(neighbours: bool) -> None:
    kinds: list[dict[str, Any]] = [
        {"raf": None},
        {"raf": None, "hidden_act": "silu", "gated": True},
        {"raf": {}, "gated": True},
    ]
    attention = {"attention_init": "neighbours", "hidden_size": 32} if neighbours else {}
    states = []
    for kind in kinds:
        model = build_model(RaftBertConfig(**{**TINY, **attention, **kind}), seed=5)
        states.append({name: weight.detach() for name, weight in model.named_parameters()})
        states[-1]["drawn next"] = torch.rand(3)  # dropout's, say
    plain, swiglu, raf = states
    differing = {name for name in plain if not torch.equal(plain[name], swiglu[name])}
    assert {name.split("layer.")[-1][2:] for name in differing} == {
        f"{part}.dense.{kind}" for part in ("intermediate", "output") for kind in ("weight",)
    } | {"intermediate.dense.bias"}
    assert all(torch.equal(weight, raf[name]) for name, weight in swiglu.items())
    assert {name.rpartition(".")[2] for name in raf.keys() - swiglu.keys()} == {"numerator", "denominator"}
