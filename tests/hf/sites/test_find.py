"""What is a feed-forward block and what is not, on hand-made layers and on models of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers.activations import ACT2FN

import raft


class Wrapped(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)


class Gemm(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, inputs, outputs))


class Block(nn.Module):
    """An activation beside whatever it is given: projections, or shapes of its own tensors."""

    def __init__(self, *parts: nn.Module | tuple[int, ...], act: nn.Module | None = None) -> None:
        super().__init__()
        self.act = act or nn.GELU()
        for i, part in enumerate(parts):
            setattr(self, f"part{i}", part if isinstance(part, nn.Module) else nn.Parameter(torch.ones(part)))


class LightningAttention(Block):
    pass


class AttentionLayer(Block):
    """A whole layer that is named after its kind of attention."""


def kinds(block: nn.Module) -> list[str]:
    return [site.kind for site in raft.hf.find_sites(nn.ModuleDict({"layers": nn.ModuleList([block])}))]


@pytest.mark.parametrize(
    "block",
    [
        Block(nn.Linear(8, 32), nn.Linear(32, 8)),
        Block(nn.Linear(8, 64), nn.Linear(32, 8)),
        Block(nn.Linear(8, 32), nn.Linear(8, 32), nn.Linear(32, 8)),
        Block(Wrapped(8, 32), Wrapped(32, 8)),
        AttentionLayer(nn.Linear(8, 32), nn.Linear(32, 8)),
        Block((4, 64, 8), (4, 8, 32)),
        Block((4, 8, 64), (4, 32, 8)),
        Block(Gemm(8, 64), Gemm(32, 8)),
        Block((4, 64, 8), (4, 8, 32), nn.Linear(8, 4)),  # beside the router of the experts
        nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)),
    ],
)
def test_feed_forward_blocks(block: nn.Module) -> None:
    assert kinds(block) == ["ffn"]


@pytest.mark.parametrize(
    "block",
    [
        Block(nn.Linear(8, 32)),
        Block(nn.Linear(8, 32), nn.Linear(24, 8)),
        LightningAttention(nn.Linear(8, 32), nn.Linear(32, 8)),
        Block(nn.Linear(8, 32), nn.Linear(32, 8), act=nn.PReLU()),
        Block(nn.Linear(8, 32), nn.Linear(32, 8), act=ACT2FN["xielu"]),
        Block((4, 8), (8, 4)),
        # whose input others read too, as an LSTM's gates do
        Block(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)),
        Block(nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(8, 2)),
    ],
)
def test_what_only_looks_like_one(block: nn.Module) -> None:
    assert kinds(block) == []


class Quantised(nn.Module):
    """Holds its weight packed, under another name, as GPTQ and torchao do."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.register_buffer("qweight", torch.zeros(inputs // 8, outputs, dtype=torch.int32))


def test_quantised_projections_count_by_what_they_say_of_themselves() -> None:
    assert kinds(Block(Quantised(8, 32), Quantised(32, 8))) == ["ffn"]
    assert kinds(Block(Quantised(8, 32), Quantised(24, 8))) == []


NARROW: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
IMAGES: dict[str, Any] = {"image_size": 32, "patch_size": 4, "num_channels": 3}


def built(model: str, config: str, **values: Any) -> Any:
    with torch.device("meta"):
        return getattr(transformers, model)(getattr(transformers, config)(**values))


def names(model: nn.Module, kind: str) -> list[str]:
    return [site.name for site in raft.hf.find_sites(model) if site.kind == kind]


BERT: dict[str, Any] = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2}  # fmt: skip
T5: dict[str, Any] = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 3, "num_heads": 2}
SWIN: dict[str, Any] = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 3],
                        "num_heads": [2, 2], "window_size": 4}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "config", "values", "last", "count"),
    [
        ("XmodModel", "XmodConfig", BERT, "intermediate.intermediate_act_fn", 2),
        ("XmodModel", "XmodConfig", {**BERT, "adapter_reduction_factor": 1},
         "intermediate.intermediate_act_fn", 2),
        ("MgpstrModel", "MgpstrConfig", {**IMAGES, "image_size": [8, 8], "hidden_size": 16,
         "num_hidden_layers": 2, "num_attention_heads": 2}, "mlp.act", 2),
        ("JetMoeModel", "JetMoeConfig", {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2,
         "num_key_value_heads": 2, "kv_channels": 8, "intermediate_size": 24, "num_local_experts": 4},
         "mlp.activation", 2),
        ("SqueezeBertModel", "SqueezeBertConfig", {**BERT, "embedding_size": 16, "q_groups": 2, "k_groups": 2,
         "v_groups": 2, "post_attention_groups": 1, "intermediate_groups": 2, "output_groups": 2},
         "intermediate.act", 2),
        ("PoolFormerModel", "PoolFormerConfig", {"depths": [1, 2], "hidden_sizes": [8, 16],
         "num_encoder_blocks": 2, "patch_sizes": [7, 3], "strides": [4, 2], "padding": [2, 1]},
         "output.act_fn", 3),
        ("CpmAntModel", "CpmAntConfig", {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2,
         "dim_head": 8, "dim_ff": 32, "num_hidden_layers": 2}, "ffn.ffn.w_in.act", 2),
        ("GroundingDinoModel", "GroundingDinoConfig", None, "text_enhancer_layer.activation", 6),
    ],
)  # fmt: skip
def test_every_layer_has_its_feed_forward_block(
    model: str, config: str, values: dict[str, Any] | None, last: str, count: int
) -> None:
    actual = names(built(model, config, **(values or {})), "ffn")
    assert len([name for name in actual if name.endswith("." + last)]) == count
    assert values is None or len(actual) == count


def test_a_gate_of_each_layers_inputs_is_no_feed_forward_block() -> None:
    for width in (4, 64):
        text = {**NARROW, "hidden_size_per_layer_input": width, "vocab_size_per_layer_input": 50}
        model = built("Gemma4TextModel", "Gemma4TextConfig", **text, layer_types=["full_attention"] * 2)
        assert names(model, "ffn") == ["layers.0.mlp.act_fn", "layers.1.mlp.act_fn"]


def test_an_lstms_gates_are_none_and_its_feed_forward_blocks_are() -> None:
    model = built(
        "xLSTMModel", "xLSTMConfig", vocab_size=50, hidden_size=64, num_heads=2, num_hidden_layers=2
    )
    assert names(model, "ffn") == ["blocks.0.ffn.act_fn", "blocks.1.ffn.act_fn"]


def test_convolutions_of_feature_extractors_are_no_feed_forward_blocks() -> None:
    speech = {**BERT, "conv_dim": (8, 8), "conv_stride": (2, 2), "conv_kernel": (3, 3),
              "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}  # fmt: skip
    del speech["vocab_size"]
    model = built("Wav2Vec2Model", "Wav2Vec2Config", **speech)
    assert len(names(model, "conv")) == 3
    assert all(name.endswith("feed_forward.intermediate_act_fn") for name in names(model, "ffn"))
    for model in ("EfficientNet", "MobileNetV2", "ResNet"):
        network = built(f"{model}Model", f"{model}Config")
        assert names(network, "ffn") == [], model
        assert names(network, "conv"), model


@pytest.mark.parametrize(
    ("model", "config", "values", "kind"),
    [
        ("ResNetForImageClassification", "ResNetConfig", {}, "classifier"),
        ("BigBirdForSequenceClassification", "BigBirdConfig", BERT, "classifier"),
        ("ElectraForPreTraining", "ElectraConfig", BERT, "mlm_head"),
        ("SplinterForPreTraining", "SplinterConfig", BERT, "mlm_head"),
    ],
)
def test_what_is_no_head_is_not_called_one(
    model: str, config: str, values: dict[str, Any], kind: str
) -> None:
    assert names(built(model, config, **values), kind) == []


def test_the_activation_beside_a_projection_called_pooler_is_the_poolers() -> None:
    assert names(built("BigBirdModel", "BigBirdConfig", **BERT), "pooler") == ["activation"]


def test_projectors_between_towers_are_left_alone() -> None:
    text = transformers.LlamaConfig(**NARROW)
    vision = transformers.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    model = built("LlavaForConditionalGeneration", "LlavaConfig", text_config=text, vision_config=vision)
    assert {site.kind for site in raft.hf.find_sites(model)} == {"ffn"}


def test_heads_belong_to_the_nearest_model_around_them() -> None:
    half = transformers.BertConfig(**BERT)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(half, half)
    with torch.device("meta"):
        model = transformers.EncoderDecoderModel(config)
    assert names(model, "mlm_head") == ["decoder.cls.predictions.transform.transform_act_fn"]
    assert names(model, "classifier") == []
    contacts = built("EsmForMaskedLM", "EsmConfig", **BERT, pad_token_id=0, mask_token_id=1)
    assert {site.kind for site in raft.hf.find_sites(contacts)} <= {"ffn", "mlm_head"}
    assert not any("contact" in site.name for site in raft.hf.find_sites(contacts))


@pytest.mark.parametrize(
    ("model", "config", "values", "layers"),
    [
        ("SwinModel", "SwinConfig", SWIN, [0, 1, 2, 3, 4]),
        ("FunnelBaseModel", "FunnelConfig", {"vocab_size": 50, "block_sizes": [2, 1], "d_model": 16,
         "n_head": 2, "d_head": 8, "d_inner": 32}, [0, 1, 2]),
        ("AlbertModel", "AlbertConfig", {**BERT, "embedding_size": 8, "inner_group_num": 2}, [0, 1]),
        ("MobileBertModel", "MobileBertConfig", {"vocab_size": 50, "num_hidden_layers": 2,
         "num_feedforward_networks": 3}, [0, 0, 0, 1, 1, 1]),
        ("T5EncoderModel", "T5Config", T5, [0, 1, 2]),
        ("SwitchTransformersEncoderModel", "SwitchTransformersConfig",
         {**T5, "num_experts": 2, "num_sparse_encoder_layers": 1}, [0, 1, 1, 2]),
    ],
)  # fmt: skip
def test_layers_are_counted_on_through_stages(
    model: str, config: str, values: dict[str, Any], layers: list[int]
) -> None:
    actual = [site for site in raft.hf.find_sites(built(model, config, **values)) if site.kind == "ffn"]
    assert sorted(site.layer for site in actual if site.layer is not None) == layers
    assert len({site.stack for site in actual}) == 1


def test_a_chosen_layer_of_a_stage_is_the_one_that_is_converted() -> None:
    model = transformers.SwinModel(transformers.SwinConfig(**SWIN))
    raft.convert(model, {"sites": ["ffn"], "layers": "2"})
    assert list(raft.hf.rationals(model)) == ["encoder.layers.1.blocks.0.mlp.activation_fn"]


def test_activations_with_parameters_of_their_own_are_refused_by_name() -> None:
    config: Any = transformers.ApertusConfig
    model = transformers.ApertusForCausalLM(config(**NARROW))
    with pytest.raises(ValueError, match=r"XIELUActivation at model\.layers\.0\.mlp\.act_fn, and 1 more"):
        raft.convert(model)
    with pytest.raises(ValueError, match=r"XIELUActivation at layers\.0\.mlp\.act_fn, and 1 more"):
        transformers.ApertusForCausalLM(config(**NARROW, raf={}))
    model.model.layers[0].mlp.act_fn = nn.SiLU()
    raft.convert(model, {"sites": ["ffn"], "layers": "0"})
    assert list(raft.hf.rationals(model)) == ["model.layers.0.mlp.act_fn"]
    model.model.layers[1].mlp.act_fn = nn.PReLU()
    with pytest.raises(ValueError, match=r"PReLU at model\.layers\.1\.mlp\.act_fn\)"):
        raft.convert(raft.revert(model))
