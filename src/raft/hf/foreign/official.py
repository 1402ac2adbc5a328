"""The layout of the paper's own models.

The official BERT descends from the "academic budget BERT" (Izsak, Berchansky and Levy, EMNLP 2021): a linear
layer and its activation are one module, ``dense_act``, whose RAF is ``rf``. A post-LN model applies
"PreAttentionLayerNorm" after the attention, and "PostAttentionLayerNorm" after the feed-forward layer.

Source: github.com/UKPLab/2022-RAFT, ``transformers_modified/modeling.py``, ``configs/``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from raft.errors import InputError

DEEPNORM_LAYERS = 12
"""The official code uses DeepNorm's α of 12 layers for any number of layers."""

LAYER_NORM_EPS = 1e-12
"""A constant of the official code, which ignores the ``layer_norm_eps`` of its configuration."""

SAME_CONFIG = (
    "num_attention_heads",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
)
"""Keys with the same meaning in both configurations. The official code does not read ``pad_token_id``, which
differs from that of its tokenizer."""

_AFFINE = r"\.(weight|bias)"
_COEFFICIENT = r"\.(numerator|denominator)"
_LAYER = r"(bert\.|)encoder\.layer\.(\d+)\."

NAMES: tuple[tuple[str, str], ...] = (
    (r"(bert\.|)embeddings\.(word|position|token_type)_embeddings\.weight", r"\g<0>"),
    (r"(bert\.|)embeddings\.LayerNorm" + _AFFINE, r"\g<0>"),
    (_LAYER + r"attention\.self\.(query|key|value)" + _AFFINE, r"\g<0>"),
    (_LAYER + r"(attention\.|)output\.dense" + _AFFINE, r"\g<0>"),
    (_LAYER + "PreAttentionLayerNorm" + _AFFINE, r"\1encoder.layer.\2.attention.output.LayerNorm.\3"),
    (_LAYER + "PostAttentionLayerNorm" + _AFFINE, r"\1encoder.layer.\2.output.LayerNorm.\3"),
    (_LAYER + r"intermediate\.dense_act(?:\.dense)?" + _AFFINE, r"\1encoder.layer.\2.intermediate.dense.\3"),
    (
        _LAYER + r"intermediate\.dense_act\.rf" + _COEFFICIENT,
        r"\1encoder.layer.\2.intermediate.intermediate_act_fn.\3",
    ),
    (r"(bert\.|)pooler\.dense_act(?:\.dense)?" + _AFFINE, r"\1pooler.dense.\2"),
    (r"(bert\.|)pooler\.dense_act\.rf" + _COEFFICIENT, r"\1pooler.activation.\2"),
    (
        r"cls\.predictions\.transform\.dense_act(?:\.dense)?" + _AFFINE,
        r"cls.predictions.transform.dense.\1",
    ),
    (r"cls\.predictions\.transform\.LayerNorm" + _AFFINE, r"\g<0>"),
    (r"cls\.predictions\.decoder\.weight", r"\g<0>"),
    (r"(cls\.seq_relationship|classifier|qa_outputs)" + _AFFINE, r"\g<0>"),
)
"""Names of the official model, and BERT's names of the same tensors."""

UNUSED = (
    (r"(bert\.|)encoder\.FinalLayerNorm" + _AFFINE, "not applied by a post-LN encoder"),
    (r"cls\.predictions\.bias", "the official head never adds its bias; BERT's is set to zero instead"),
)

EMBEDDING_SIZES = (
    ("embeddings.word_embeddings.weight", "vocab_size"),
    ("embeddings.position_embeddings.weight", "max_position_embeddings"),
    ("embeddings.token_type_embeddings.weight", "type_vocab_size"),
)


def bert_name(name: str) -> str | None:
    """BERT's name of a tensor of the official model; None for a name that the model does not have."""
    for pattern, replacement in NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return None


def complete_head(state: dict[str, Tensor]) -> None:
    """Add the tensors that BERT has in a masked-language-model head, in place: bias and tied decoder.

    Args:
        state: with BERT's names; the bias becomes zeros ``[vocabulary]``.

    Raises:
        ValueError: where the decoder is not the word embeddings, or there are none.
    """
    if not any(name.startswith("cls.predictions.") for name in state):
        return
    words = next((state[n] for n in state if n.endswith("embeddings.word_embeddings.weight")), None)
    if words is None:
        raise InputError(
            "the state dict has a head for masked tokens but no word embeddings, to which it is tied"
        )
    decoder = state.setdefault("cls.predictions.decoder.weight", words)
    if not torch.equal(decoder, words):
        raise InputError(
            "cls.predictions.decoder.weight is not equal to the word embeddings, to which it is tied"
        )
    bias = torch.zeros(words.shape[0], dtype=words.dtype)
    state["cls.predictions.bias"] = state["cls.predictions.decoder.bias"] = bias


def bert_config(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a ``BertConfig``: sizes of the tensors, the rest as the official code uses it.

    Args:
        state: with BERT's names.
        config: the official ``config.json``, empty if unknown.

    Raises:
        ValueError: for a model that is not post-LN, lacks a layer, or has DeepNorm and not 12 layers.
    """
    for key, required in (("encoder_ln_mode", "post-ln"), ("useLN", True)):
        if config.get(key, required) != required:
            raise InputError(f"only a model with {key} {required!r} can be converted, not {config[key]!r}")
    values: dict[str, Any] = {key: config[key] for key in SAME_CONFIG if key in config}
    values["layer_norm_eps"] = LAYER_NORM_EPS
    values["embedding_layer_norm"] = any(name.endswith("embeddings.LayerNorm.weight") for name in state)
    layers = encoder_layers(state)
    values["num_hidden_layers"] = len(layers)
    if layers != set(range(len(layers))):
        raise InputError(f"encoder layers must be 0, 1, 2, …, not {', '.join(map(str, sorted(layers)))}")
    if "use_deepnet" in config:
        values["deepnorm"] = bool(config["use_deepnet"])
        if values["deepnorm"] and len(layers) != DEEPNORM_LAYERS:
            raise InputError(
                f"the official code takes DeepNorm's α of {DEEPNORM_LAYERS} layers, "
                f"so a model of {len(layers)} layers cannot be converted"
            )
    for name, value in state.items():
        for ending, key in EMBEDDING_SIZES:
            if name.endswith(ending):
                values[key] = value.shape[0]
                values["hidden_size"] = value.shape[-1]
        if name.endswith("layer.0.intermediate.dense.weight"):
            values["intermediate_size"] = value.shape[0]
        if name == "classifier.weight":
            values["num_labels"] = value.shape[0]
    return values


def encoder_layers(state: Mapping[str, Tensor]) -> set[int]:
    """Numbers of the encoder layers in a state dict."""
    matches = (re.search(r"(?:^|\.)encoder\.layer\.(\d+)\.", name) for name in state)
    return {int(match[1]) for match in matches if match}
