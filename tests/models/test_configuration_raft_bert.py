"""RaftBertConfig through its doors: constructor, config.json, a BERT's config.json, keyword arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, BertConfig

import raft
from raft.models import RaftBertConfig, RaftBertModel


def test_defaults_are_the_papers() -> None:
    config = RaftBertConfig()
    raf = raft.RafConfig.of(config)
    assert raf is not None
    assert (tuple(raf.degrees), raf.version, raf.init) == ((5, 4), "A", "gelu")
    assert set(raf.sites) == {"ffn", "pooler"}
    assert (config.num_hidden_layers, config.hidden_size, config.deepnorm) == (12, 768, True)


@pytest.mark.parametrize(
    ("layers", "scale", "gain"), [(2, 2**0.5, 0.5), (8, 2.0, 8**-0.5), (128, 4.0, 2**-2.5)]
)
def test_deepnorms_numbers(layers: int, scale: float, gain: float) -> None:
    config = RaftBertConfig(num_hidden_layers=layers)
    assert config.residual_scale == pytest.approx(scale, rel=1e-12)
    assert config.xavier_gain == pytest.approx(gain, rel=1e-12)
    assert RaftBertConfig(num_hidden_layers=layers, deepnorm=False).residual_scale == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"init": "gelu"}),
        ({"degrees": [3, 2]}, {"init": "gelu", "degrees": [3, 2]}),
        ({"init": "silu"}, {"init": "silu"}),
        (None, None),
    ],
)
def test_a_block_without_init_starts_from_gelu(given: Any, expected: Any, tmp_path: Path) -> None:
    assert RaftBertConfig(raf=given).raf == expected
    RaftBertConfig(raf={"version": "B"}).save_pretrained(tmp_path)
    assert RaftBertConfig.from_pretrained(tmp_path, raf=given).raf == expected
    again = AutoConfig.from_pretrained(tmp_path, raf=given)
    assert again.raf == expected
    assert again.hidden_act == "gelu"  # not what the file says for those who lack raft


def test_a_raf_config_is_taken_as_it_is() -> None:
    block = raft.RafConfig(sites=("ffn",), init="auto")
    assert RaftBertConfig(raf=block).raf == block.to_dict()


@pytest.mark.parametrize(("hidden", "inner"), [(768, 3072), (64, 256), (16, 64), (48, 80), (2, 1)])
def test_gated_layers_have_as_many_parameters_as_plain_ones(hidden: int, inner: int) -> None:
    counts = []
    for gated in (False, True):
        sizes: dict[str, Any] = {"vocab_size": 9, "hidden_size": hidden, "intermediate_size": inner}
        one: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 1}
        config = RaftBertConfig(**sizes, **one, raf=None, gated=gated)
        layer: Any = RaftBertModel(config).encoder.layer[0]
        parts = (*layer.intermediate.parameters(), *layer.output.dense.parameters())
        counts.append(sum(weight.numel() for weight in parts))
        assert layer.output.dense.in_features == config.feed_forward_width
    plain, gated_count = counts
    one_more_channel = 3 * hidden + 2
    assert abs(gated_count - plain) <= one_more_channel / 2
    assert gated_count == {(768, 3072): 4723456, (64, 256): 33044}.get((hidden, inner), gated_count)


@pytest.mark.parametrize(
    "values", [{"raf": None}, {"deepnorm": False}, {"raf": {"version": "C"}}, {"gated": True}, {}]
)
def test_a_saved_config_comes_back(values: dict[str, Any], tmp_path: Path) -> None:
    config = RaftBertConfig(hidden_size=32, **values)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert type(again) is RaftBertConfig
    assert (again.raf, again.deepnorm, again.hidden_size) == (config.raf, config.deepnorm, 32)
    assert again.gated == config.gated


def test_a_berts_config_is_read_as_what_it_describes(tmp_path: Path) -> None:
    BertConfig(hidden_size=32).save_pretrained(tmp_path / "bert")
    config = RaftBertConfig.from_pretrained(tmp_path / "bert")
    assert (config.hidden_size, config.deepnorm, config.raf) == (32, False, None)
    changed = RaftBertConfig.from_pretrained(tmp_path / "bert", deepnorm=True, raf={"version": "B"})
    assert (changed.deepnorm, changed.raf) == (True, {"init": "gelu", "version": "B"})

    block: dict[str, Any] = {"raf": {"init": "auto", "degrees": [3, 2]}}
    BertConfig(**block).save_pretrained(tmp_path / "raft")
    assert RaftBertConfig.from_pretrained(tmp_path / "raft").raf == block["raf"]
    assert type(AutoConfig.from_pretrained(tmp_path / "bert")) is BertConfig


@pytest.mark.parametrize("key", ["is_decoder", "add_cross_attention"])
def test_decoders_are_refused(key: str) -> None:
    values: dict[str, Any] = {key: True}
    with pytest.raises(ValueError, match="RaftBert is an encoder"):
        RaftBertConfig(**values)
