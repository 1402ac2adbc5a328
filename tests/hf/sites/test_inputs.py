"""Which projections read the input of an attention or of a feed-forward block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn

import raft
from raft.hf.sites.adapters import install_adapters, remove_adapters
from raft.hf.sites.input_activation import InputActivation
from raft.networks.config import INPUT_SITES

BERT: dict[str, Any] = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
                        "num_attention_heads": 2}  # fmt: skip


class Holder(nn.Module):
    def __init__(self, **sizes: tuple[int, int]) -> None:
        super().__init__()
        for name, size in sizes.items():
            setattr(self, name, nn.Linear(*size))


class CrossAttention(Holder):
    pass


class SelfAttention(Holder):
    pass


def readers(model: nn.Module, kind: str) -> list[str]:
    """Names of the projections before which an activation stands after its installation."""
    install_adapters(model, [kind])
    hooked = [
        name
        for name, module in model.named_modules()
        for hook in module._forward_pre_hooks.values()
        if isinstance(getattr(hook, "__self__", None), InputActivation)
    ]
    holders = [name for name, module in model.named_modules() if isinstance(module, InputActivation)]
    assert len(holders) == len([site for site in raft.hf.find_sites(model) if site.kind == kind])
    remove_adapters(model)
    return hooked


def in_layer(layer: nn.Module) -> nn.Module:
    return nn.ModuleDict({"layers": nn.ModuleList([layer])})


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ({"q_proj": (8, 8), "k_proj": (8, 4), "v_proj": (8, 4), "o_proj": (8, 8)}, "q_proj k_proj v_proj"),
        ({"query": (8, 8), "key": (8, 8), "value": (8, 8)}, "query key value"),
        ({"query_key": (8, 8), "value": (8, 8)}, "query_key value"),
        ({"Wqkv": (8, 24), "Wo": (8, 8)}, "Wqkv"),
        ({"query_key_value": (8, 24), "dense": (8, 8)}, "query_key_value"),
        ({"c_attn": (8, 24), "c_proj": (8, 8)}, "c_attn"),
        ({"in_proj": (8, 24)}, "in_proj"),
        # DeepSeek's latent attention, whose second projections read the first ones' outputs
        ({"q_a_proj": (8, 6), "q_b_proj": (6, 16), "kv_a_proj_with_mqa": (8, 5), "kv_b_proj": (4, 16)},
         "q_a_proj kv_a_proj_with_mqa"),
        ({"q_proj": (8, 16), "kv_a_proj_with_mqa": (8, 5), "kv_b_proj": (4, 16)},
         "q_proj kv_a_proj_with_mqa"),
        ({"q": (8, 8), "k": (8, 8), "v": (8, 8), "k_pos_proj": (8, 8)}, "q k v"),
        ({"q": (8, 8), "k": (6, 8), "v": (6, 8)}, ""),  # from two tensors
        ({"key": (8, 8), "value": (8, 8), "receptance": (8, 8)}, ""),
        ({"in_proj": (8, 16)}, ""),
    ],
)  # fmt: skip
def test_projections_of_attention(sizes: dict[str, tuple[int, int]], names: str) -> None:
    expected = [f"layers.0.attn.{name}" for name in names.split()]
    layer = nn.ModuleDict({"attn": SelfAttention(**sizes)})
    assert readers(in_layer(layer), "attention_input") == expected
    assert readers(nn.ModuleDict({"attn": SelfAttention(**sizes)}), "attention_input") == []  # in no layer


def test_cross_attention_is_told_by_its_name() -> None:
    sizes = {"q_proj": (8, 8), "k_proj": (8, 8), "v_proj": (8, 8)}
    for name in ("cross_attn", "crossattention", "encoder_attn", "EncDecAttention"):
        layer = nn.ModuleDict({"self_attn": Holder(**sizes), name: nn.ModuleDict({"inner": Holder(**sizes)})})
        assert {path.split(".")[2] for path in readers(in_layer(layer), "attention_input")} == {"self_attn"}
    assert readers(in_layer(nn.ModuleDict({"attn": CrossAttention(**sizes)})), "attention_input") == []


def built(model: str, config: str, **values: Any) -> Any:
    with torch.device("meta"):
        return getattr(transformers, model)(getattr(transformers, config)(**values))


NARROW: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
T5: dict[str, Any] = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("model", "config", "values", "kind", "expected"),
    [
        ("LlamaModel", "LlamaConfig", NARROW, "ffn_input", ["gate_proj", "up_proj"]),
        ("LlamaModel", "LlamaConfig", {**NARROW, "intermediate_size": 16}, "ffn_input",
         ["gate_proj", "up_proj"]),
        ("GPTNeoXModel", "GPTNeoXConfig", NARROW, "ffn_input", ["dense_h_to_4h"]),
        ("MixtralModel", "MixtralConfig", {**NARROW, "num_local_experts": 4}, "ffn_input", ["experts"]),
        ("T5EncoderModel", "T5Config", {**T5, "feed_forward_proj": "gated-gelu"}, "ffn_input",
         ["wi_0", "wi_1"]),
        ("T5Model", "T5Config", T5, "attention_input", ["q", "k", "v"] * 2),
        ("BertModel", "BertConfig", {**BERT, "num_hidden_layers": 1, "is_decoder": True,
         "add_cross_attention": True}, "attention_input", ["query", "key", "value"]),
        ("GPT2Model", "GPT2Config", {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2,
         "add_cross_attention": True}, "attention_input", ["c_attn"]),
        ("DeepseekV3Model", "DeepseekV3Config", {**NARROW, "q_lora_rank": 6, "kv_lora_rank": 5,
         "first_k_dense_replace": 1}, "attention_input", ["q_a_proj", "kv_a_proj_with_mqa"]),
        ("MambaModel", "MambaConfig", {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1},
         "attention_input", []),
        ("XLNetModel", "XLNetConfig", {"vocab_size": 50, "d_model": 16, "n_layer": 1, "n_head": 2,
         "d_inner": 32}, "attention_input", []),
    ],
)  # fmt: skip
def test_readers_in_models(
    model: str, config: str, values: dict[str, Any], kind: str, expected: list[str]
) -> None:
    actual = readers(built(model, config, **values), kind)
    assert [name.rpartition(".")[2] for name in actual] == expected


def test_layers_of_attention_are_counted_through_stages_as_those_of_feed_forward_blocks() -> None:
    model = built("SwinModel", "SwinConfig", image_size=32, patch_size=2, embed_dim=8, depths=[2, 3],
                  num_heads=[2, 2], window_size=4)  # fmt: skip
    install_adapters(model, INPUT_SITES)
    for kind in INPUT_SITES:
        sites = [site for site in raft.hf.find_sites(model) if site.kind == kind]
        assert [site.layer for site in sites] == [0, 1, 2, 3, 4]
    raft.convert(model, {"sites": ["attention_input"], "layers": "2"})
    (name,) = raft.hf.rationals(model)
    assert name.startswith("encoder.layers.1.blocks.0.")


def test_experts_share_the_activation_of_their_inputs() -> None:
    config = transformers.SwitchTransformersConfig(**T5, num_experts=2, num_sparse_encoder_layers=1)
    model = transformers.SwitchTransformersEncoderModel(config)
    raft.convert(model, {"sites": ["ffn", "ffn_input"]})
    names = [name.rpartition("experts.")[2] for name in raft.hf.rationals(model) if "experts" in name]
    assert names == ["expert_0.act", "expert_0.ffn_input.activation"]


def test_what_a_model_lacks_is_said() -> None:
    config = transformers.XLNetConfig(vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=32)
    model = transformers.XLNetModel(config)
    with pytest.raises(ValueError, match=r"XLNetModel has no attention_input .* no modules"):
        raft.convert(model, {"sites": ["attention_input"]})
