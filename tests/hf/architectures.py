"""Small random models of many architectures, with inputs that run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

TINY: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SEQ2SEQ: dict[str, Any] = {
    "vocab_size": 50,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 40,
    **SPECIAL,
    "decoder_start_token_id": 2,
}
VISION = {
    key: value for key, value in TINY.items() if key not in ("vocab_size", "max_position_embeddings")
} | {"image_size": 16, "patch_size": 8}


def texts() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 50, (3, 12), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def images() -> dict[str, Any]:
    return {"pixel_values": torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))}


def pairs() -> dict[str, Any]:
    return {**texts(), "decoder_input_ids": texts()["input_ids"][:, :5]}


def sounds() -> dict[str, Any]:
    return {"input_values": torch.randn(2, 400, generator=torch.Generator().manual_seed(0))}


def spectra() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "input_features": torch.randn(2, 8, 80, generator=generator),
        "decoder_input_ids": texts()["input_ids"][:2, :5],
    }


@dataclass(frozen=True)
class Architecture:
    """How to build one, what to feed it, and how many sites of each kind it has.

    It has as many inputs of attentions as feed-forward blocks, unless ``attentions`` says otherwise.
    """

    model: str
    config: str
    values: dict[str, Any]
    ffn: int = 2
    pooler: int = 0
    inputs: Callable[[], dict[str, Any]] = texts
    auto: str = "AutoModel"
    others: dict[str, int] = field(default_factory=dict)
    attentions: int | None = None

    def counts(self) -> dict[str, int]:
        """Of the sites of each kind."""
        attentions = self.ffn if self.attentions is None else self.attentions
        layers = {"ffn": self.ffn, "ffn_input": self.ffn, "attention_input": attentions}
        counts = {**layers, "pooler": self.pooler, **self.others}
        return {kind: count for kind, count in counts.items() if count}

    def build(self, **more: Any) -> PreTrainedModel:
        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**{**self.values, **more})
        model: PreTrainedModel = getattr(transformers, self.model)(config)
        model.eval()
        return model


NARROW = {"num_key_value_heads": 2, "head_dim": 8, **SPECIAL}
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
CLIP_TEXT = {**TINY, **SPECIAL}

ARCHITECTURES = {
    "bert": Architecture(
        "BertForSequenceClassification", "BertConfig", TINY, 2, 1, auto="AutoModelForSequenceClassification"
    ),
    "bert-mlm": Architecture(
        "BertForMaskedLM", "BertConfig", TINY, auto="AutoModelForMaskedLM", others={"mlm_head": 1}
    ),
    "roberta": Architecture(
        "RobertaForSequenceClassification", "RobertaConfig", {**TINY, **SPECIAL},
        auto="AutoModelForSequenceClassification", others={"classifier": 1},
    ),
    "roberta-mlm": Architecture(
        "RobertaForMaskedLM", "RobertaConfig", {**TINY, **SPECIAL}, auto="AutoModelForMaskedLM",
        others={"mlm_head": 1},
    ),
    "distilbert": Architecture(
        "DistilBertForSequenceClassification", "DistilBertConfig",
        {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
        auto="AutoModelForSequenceClassification", others={"classifier": 1},
    ),
    "distilbert-mlm": Architecture(
        "DistilBertForMaskedLM", "DistilBertConfig",
        {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
        auto="AutoModelForMaskedLM", others={"mlm_head": 1},
    ),
    "albert": Architecture(
        "AlbertModel", "AlbertConfig", {**TINY, "embedding_size": 16}, ffn=1, pooler=1
    ),
    "electra": Architecture(
        "ElectraForSequenceClassification", "ElectraConfig", {**TINY, "embedding_size": 16},
        auto="AutoModelForSequenceClassification", others={"classifier": 1},
    ),
    "deberta-v2": Architecture(
        "DebertaV2ForSequenceClassification", "DebertaV2Config", {**TINY, "conv_kernel_size": 3}, 2, 1,
        auto="AutoModelForSequenceClassification", others={"conv": 1},
    ),
    "modernbert": Architecture(
        "ModernBertForMaskedLM", "ModernBertConfig",
        {**TINY, **SPECIAL, "cls_token_id": 1, "sep_token_id": 2}, auto="AutoModelForMaskedLM",
        others={"mlm_head": 1},
    ),
    "mpnet": Architecture(
        "MPNetForMaskedLM", "MPNetConfig", TINY, auto="AutoModelForMaskedLM", others={"mlm_head": 1}
    ),
    "mpnet-classifier": Architecture(
        "MPNetForSequenceClassification", "MPNetConfig", TINY, auto="AutoModelForSequenceClassification",
        others={"classifier": 1},
    ),
    "gpt2": Architecture(
        "GPT2LMHeadModel", "GPT2Config",
        {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, **SPECIAL},
        auto="AutoModelForCausalLM",
    ),
    "gpt-neox": Architecture(
        "GPTNeoXForCausalLM", "GPTNeoXConfig", {**TINY, **SPECIAL}, auto="AutoModelForCausalLM"
    ),
    "opt": Architecture(
        "OPTForCausalLM", "OPTConfig",
        {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32,
         "word_embed_proj_dim": 16, "max_position_embeddings": 40},
        auto="AutoModelForCausalLM",
    ),
    "llama": Architecture(
        "LlamaForCausalLM", "LlamaConfig", {**TINY, **NARROW}, auto="AutoModelForCausalLM"
    ),
    "qwen3": Architecture(
        "Qwen3ForCausalLM", "Qwen3Config", {**TINY, **NARROW}, auto="AutoModelForCausalLM"
    ),
    "gemma": Architecture(
        "GemmaForCausalLM", "GemmaConfig", {**TINY, **NARROW}, auto="AutoModelForCausalLM"
    ),
    "mixtral": Architecture(
        "MixtralForCausalLM", "MixtralConfig", {**TINY, **NARROW, "num_local_experts": 4},
        auto="AutoModelForCausalLM",
    ),
    "bloom": Architecture(
        "BloomForCausalLM", "BloomConfig",
        {"vocab_size": 50, "hidden_size": 16, "n_layer": 2, "n_head": 2, **SPECIAL},
        auto="AutoModelForCausalLM",
    ),
    "switch": Architecture(
        "SwitchTransformersForConditionalGeneration", "SwitchTransformersConfig",
        {**T5, "num_decoder_layers": 2, "num_experts": 2, "num_sparse_encoder_layers": 1,
         "num_sparse_decoder_layers": 1, "decoder_start_token_id": 0},
        ffn=6, inputs=pairs, auto="AutoModelForSeq2SeqLM", attentions=4,
    ),
    "t5": Architecture(
        "T5ForConditionalGeneration", "T5Config", {**T5, "decoder_start_token_id": 0}, ffn=4, inputs=pairs,
        auto="AutoModelForSeq2SeqLM",
    ),
    "t5-gated": Architecture(
        "T5ForConditionalGeneration", "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0}, ffn=4, inputs=pairs,
        auto="AutoModelForSeq2SeqLM",
    ),
    "bart": Architecture(
        "BartForConditionalGeneration", "BartConfig", SEQ2SEQ, ffn=4, inputs=pairs,
        auto="AutoModelForSeq2SeqLM",
    ),
    "vit": Architecture(
        "ViTForImageClassification", "ViTConfig", VISION, inputs=images,
        auto="AutoModelForImageClassification",
    ),
    "clip": Architecture(
        "CLIPModel", "CLIPConfig", {"text_config": CLIP_TEXT, "vision_config": VISION}, ffn=4,
        inputs=lambda: {**texts(), **images()},
    ),
    "clip-text": Architecture("CLIPTextModel", "CLIPTextConfig", CLIP_TEXT),
    "whisper": Architecture(
        "WhisperForConditionalGeneration", "WhisperConfig",
        {**{k: v for k, v in SEQ2SEQ.items() if k != "max_position_embeddings"}, "num_mel_bins": 8,
         "max_source_positions": 40, "max_target_positions": 40},
        ffn=4, inputs=spectra, auto="AutoModelForSpeechSeq2Seq",
    ),
    "wav2vec2": Architecture(
        "Wav2Vec2ForSequenceClassification", "Wav2Vec2Config",
        {**{k: v for k, v in TINY.items() if k != "max_position_embeddings"}, "conv_dim": (8, 8),
         "conv_stride": (2, 2), "conv_kernel": (3, 3), "num_conv_pos_embeddings": 4,
         "num_conv_pos_embedding_groups": 2},
        inputs=sounds, auto="AutoModelForAudioClassification", others={"conv": 3},
    ),
}  # fmt: skip


def scrambled(model: PreTrainedModel, scale: float = 0.05) -> PreTrainedModel:
    """Move every parameter, as training would; at 0.2 the activations get inputs of some size."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model
