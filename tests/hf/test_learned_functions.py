"""Learned functions that are not rational, through the block, conversion and saving."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

import raft
from raft.functions import FUNCTIONS
from raft.learned_activation import learned_activations
from raft.networks.config import RafConfig

IDS = torch.randint(0, 99, (4, 12), generator=torch.Generator().manual_seed(0))
BLOCKS: dict[str, dict[str, Any]] = {
    "fixed_gain": {"groups": 2},
    "xielu": {},
    "prelu": {"shared": "all"},
    "swish": {"groups": 4},
    "polynorm": {"init": "default", "settings": {"degree": 2}},
    "spline": {"settings": {"knots": 33}},
}


def bert() -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=99, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    return BertForSequenceClassification(config).eval()


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(IDS).logits
    return result


def test_all_kinds_are_tested() -> None:
    assert {*BLOCKS, "rational"} == {*FUNCTIONS}


@pytest.mark.parametrize("function", BLOCKS)
def test_convert_train_save_load_revert(function: str, tmp_path: Path) -> None:
    model = bert()
    raft.convert(model, {"function": function, **BLOCKS[function]}, calibration=[IDS])
    acts = learned_activations(model)
    assert {type(act) for act in acts.values()} == {FUNCTIONS[function]}
    assert len(acts) == (2 if function == "prelu" else 3)
    optimizer = torch.optim.SGD(raft.param_groups(model, lr=0.1, raf_lr=0.1))
    (group,) = (g for g in optimizer.param_groups if g["name"] == "raf")
    assert len(group["params"]) == sum(len(list(act.parameters())) for act in acts.values())
    old = [p.detach().clone() for p in group["params"]]
    model(IDS, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(old, group["params"], strict=True))

    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.config.raf["function"] == function
    half = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for name, act in learned_activations(half).items():
        for saved, parameter in zip(acts[name].parameters(), act.parameters(), strict=True):
            assert parameter.dtype == torch.float32
            assert torch.equal(parameter, saved)

    fresh = bert()
    raft.revert(model)
    assert not learned_activations(model)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(logits(fresh), logits(model))


def convert(model: Any, block: dict[str, Any]) -> Any:
    """``raft.convert``, whose result has attributes that mypy does not know."""
    return raft.convert(model, block, calibration=[IDS])


def test_a_start_follows_the_calibration() -> None:
    """Swish's one number suits GELU best where the inputs are: least squares, here by a search."""
    model = bert()
    inputs: list[Tensor] = []
    act = model.bert.encoder.layer[0].intermediate.intermediate_act_fn
    handle = act.register_forward_pre_hook(lambda module, args: inputs.append(args[0].flatten()))
    logits(model)
    handle.remove()
    x = torch.cat([inputs[0].double(), torch.tensor([-5.0, 5.0], dtype=torch.float64)])
    betas = torch.linspace(1.5, 2.0, 501, dtype=torch.float64)
    errors = ((x * torch.sigmoid(betas[:, None] * x) - torch.nn.functional.gelu(x)) ** 2).sum(1)
    raft.convert(model, {"function": "swish"}, calibration=[IDS])
    beta = model.bert.encoder.layer[0].intermediate.intermediate_act_fn.beta
    assert abs(beta.item() - float(betas[errors.argmin()])) < 0.01
    assert model.conversion_report[0].inputs == inputs[0].numel()


@pytest.mark.parametrize("function", ["prelu", "spline"])
def test_before_projections_they_start_as_the_identity(function: str) -> None:
    model = bert()
    before = logits(model)
    sites = ["attention_input", "ffn_input"]
    convert(model, {"function": function, "sites": sites, "init": "default"})
    assert len(learned_activations(model)) == 4
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-6)
    assert all(site.max_error is not None and site.max_error < 1e-6 for site in model.conversion_report)


def test_what_cannot_follow_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "raft")
    model = convert(bert(), {"function": "swish"})
    assert "a swish misses tanh by up to" in caplog.text
    report = convert(bert(), {"function": "spline", "init": "default"}).conversion_report
    assert report[0].max_error is None
    assert "nothing" in str(report)
    assert model.conversion_report[0].max_error is not None


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"function": "splin"}, "unknown learned function 'splin'; known are .*; the nearest is 'spline'"),
        ({"function": 3}, "raf.function must be a name, not 3"),
        ({"function": "spline", "settings": 3}, "raf.settings must be keys and values, not 3"),
        ({"function": "spline", "settings": {"knot": 9}}, "unexpected keyword argument 'knot'"),
        ({"function": "spline", "settings": {"device": "cpu"}}, "has no 'device'; it has knots, interval"),
        ({"function": "prelu", "settings": {"init": "relu"}}, "of prelu has no 'init'; it has none"),
        ({"function": "spline", "settings": {"knots": 1}}, "knots must be a whole number from 2 to 4096"),
        ({"settings": {"knots": 9}}, "a rational one has raf.degrees and raf.version"),
        ({"function": "xielu", "degrees": (3, 2)}, "raf.degrees is of rational functions, not of 'xielu'"),
        ({"function": "xielu", "residual": True}, "raf.residual is of rational functions"),
        ({"function": "polynorm"}, "raf.init of 'polynorm' must be 'default', not 'auto'"),
        ({"function": "polynorm", "init": "default", "groups": 2}, "give groups=1, not 2"),
        (
            {"function": "swish", "sites": ["attention_input"]},
            "start as the identity before attention",
        ),
        (
            {"function": "polynorm", "init": "default", "sites": ["ffn", "ffn_input"]},
            "identity before ffn_input",
        ),
        ({"function": "xielu", "init": "nonsense"}, "unknown activation 'nonsense'"),
    ],
)
def test_bad_blocks_are_refused(block: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RafConfig.from_dict(block)


def test_a_checkpoint_of_another_function_is_refused(tmp_path: Path) -> None:
    raft.convert(bert(), {"function": "swish"}).save_pretrained(tmp_path)
    load = AutoModelForSequenceClassification.from_pretrained
    with pytest.raises(ValueError, match=r"of function='swish'.* asks for function='prelu'"):
        load(tmp_path, raf={"function": "prelu"})
    with pytest.raises(ValueError, match="has RAFs of another configuration"):
        raft.convert(load(tmp_path), {"function": "prelu"})
    model = load(tmp_path, raf={"function": "swish", "trainable": False})
    assert not any(p.requires_grad for act in learned_activations(model).values() for p in act.parameters())


def test_a_whole_row_is_no_channels_first() -> None:
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    block = {"function": "polynorm", "init": "default", "sites": ["conv"]}
    with pytest.raises(ValueError, match="polynorm normalises over the last axis: leave such sites out"):
        raft.convert(ResNetModel(config), block)
