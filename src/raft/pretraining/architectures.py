"""Configurations of new models of any architecture of ``transformers``, and what they must be able to do."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto import modeling_auto

from raft.data.text.tokens import CLM, MLM
from raft.errors import InputError, first_line, suggest
from raft.training.attention import sees_later_tokens, sees_other_documents

OWN = "raft_bert"
"""The paper's encoder, whose sizes have flags of their own."""

AUTO_CLASSES = {MLM: "AutoModelForMaskedLM", CLM: "AutoModelForCausalLM"}
"""Classes of ``transformers`` that make and load the models."""

DEFAULT_ARCHITECTURES = {MLM: OWN, CLM: "gpt2"}

ACTIVATION_FIELDS = (
    "hidden_act", "hidden_activation", "activation_function", "activation", "mlp_hidden_act", "ff_activation",
    "afn",
)  # fmt: skip
"""What configurations call the activation of feed-forward layers."""

SET_ELSEWHERE = {
    "vocab_size": "--vocab_size",
    "raf": "--activation raf",
    **dict.fromkeys(ACTIVATION_FIELDS, "--activation"),
}
"""Fields that follow from the recipe, and what sets them."""

SPECIAL_TOKENS = tuple(f"{kind}_token_id" for kind in ("bos", "eos", "pad", "cls", "sep", "mask", "unk"))


def check_architecture(architecture: str, objective: str, fields: Mapping[str, Any]) -> None:
    """Refuse what cannot be built, by names alone.

    Raises:
        InputError: for an architecture that ``transformers`` does not know or that has no model of this
            objective, and for a field that its configuration does not have.
    """
    known = _architectures(objective)
    if architecture not in known:
        kind = {MLM: "masked", CLM: "causal"}[objective]
        exists = "" if architecture in CONFIG_MAPPING else ", nor any other model"
        raise InputError(
            f"--architecture {architecture}: transformers has no {kind} language model of this type{exists}"
            f"{suggest(architecture, known)}"
        )
    config_class = CONFIG_MAPPING[architecture]
    names = {field.name for field in dataclasses.fields(config_class)} | {*config_class.attribute_map}
    for name in fields:
        if name in SET_ELSEWHERE:
            raise InputError(f"--model: {name} follows from {SET_ELSEWHERE[name]}")
        if name not in names:
            raise InputError(
                f"--model: the configuration of {architecture} has no {name}{suggest(name, sorted(names))}"
            )


def _architectures(objective: str) -> list[str]:
    names = {
        MLM: modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        CLM: modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    }
    return [*names[objective], *([OWN] if objective == MLM else [])]


def build_config(
    architecture: str,
    fields: Mapping[str, Any],
    activation: str | None,
    raf: dict[str, Any] | None,
    tokenizer: PreTrainedTokenizerBase | None,
    vocab_size: int,
) -> PreTrainedConfig:
    """The configuration of a new model.

    Args:
        architecture: model type of ``transformers``.
        fields: of its configuration.
        activation: name of the fixed function in feed-forward layers; None for the architecture's own.
        raf: the ``raf`` block of a RAFT.
        tokenizer: gives the ids of special tokens, of which the configuration keeps those that it has.
        vocab_size: number of embeddings.

    Raises:
        InputError: for values that the configuration refuses, or an activation that it cannot set.
    """
    config_class = CONFIG_MAPPING[architecture]
    names = {field.name for field in dataclasses.fields(config_class)}
    settings: dict[str, Any] = {"vocab_size": vocab_size}
    for field in dataclasses.fields(config_class):
        if field.name in SPECIAL_TOKENS:
            settings[field.name] = _special_id(tokenizer, field)
    if activation is not None:
        places = [name for name in ACTIVATION_FIELDS if name in names]
        if not places:
            raise InputError(
                f"the configuration of {architecture} does not name its activation, so that it cannot be "
                f"{activation}: compare raf with another architecture's"
            )
        settings |= dict.fromkeys(places, activation)
    try:
        config: PreTrainedConfig = config_class(**settings, **fields)
    except Exception as error:  # each configuration fails in its own way
        raise InputError(f"--architecture {architecture}: {first_line(error)}") from error
    if raf is not None:
        config.raf = raf
    return config


def _special_id(tokenizer: PreTrainedTokenizerBase | None, field: dataclasses.Field[Any]) -> int | None:
    """The id of a special token; where a configuration must have one that there is not, that of the end."""
    given: int | None = getattr(tokenizer, field.name, None)
    if given is None and not any(word in str(field.type) for word in ("None", "Optional")):
        ends = (getattr(tokenizer, name, None) for name in ("eos_token_id", "sep_token_id"))
        return next((end for end in ends if end is not None), 0)
    return given


def new_model(
    config: PreTrainedConfig, objective: str, attn_implementation: str | None = None
) -> PreTrainedModel:
    """A new language model, with random weights."""
    kind = getattr(transformers, AUTO_CLASSES[objective])
    model: PreTrainedModel = kind.from_config(config, attn_implementation=attn_implementation)
    return model


def load_model(folder: Path, objective: str) -> PreTrainedModel:
    """The language model that a run has saved, in evaluation mode."""
    model: PreTrainedModel = getattr(transformers, AUTO_CLASSES[objective]).from_pretrained(folder)
    return model


def check_builds(config: PreTrainedConfig, objective: str, length: int) -> None:
    """Refuse a configuration of which no model can be made, or none that takes so long a sequence.

    Raises:
        InputError: with what the model's class says.
    """
    longest = getattr(config, "max_position_embeddings", None)
    if isinstance(longest, int) and 0 < longest < length:
        raise InputError(
            f"--sequence_length must be at most the model's max_position_embeddings, {longest}, not {length}"
        )
    try:
        with torch.device("meta"):
            new_model(copy.deepcopy(config), objective)
    except Exception as error:  # each class fails in its own way
        raise InputError(f"--architecture {config.model_type}: {first_line(error)}") from error


def describe_model(recipe: Mapping[str, Any]) -> str:
    """``a BERT encoder with DeepNorm of 2 layers, hidden size 64``, of a recipe's options."""
    get = defaultdict(lambda: "?", recipe)
    architecture = recipe.get("architecture") or DEFAULT_ARCHITECTURES[recipe.get("objective", MLM)]
    if architecture == OWN:
        deepnorm = " with DeepNorm" if recipe.get("deepnorm") else ""
        return (
            f"a BERT encoder{deepnorm} of {get['num_hidden_layers']} layers, hidden size {get['hidden_size']}"
        )
    kind = "decoder" if recipe.get("objective") == CLM else "encoder"
    fields = recipe.get("model") or {}
    fields = json.loads(fields) if isinstance(fields, str) else fields
    sizes = ", ".join(f"{key} {value}" for key, value in fields.items())
    return f"{'an' if architecture[0] in 'aeio' else 'a'} {architecture} {kind}" + (
        f" ({sizes})" if sizes else ""
    )


def check_attention(model: PreTrainedModel, within_documents: bool) -> None:
    """Refuse a causal model whose tokens see others than they may.

    Args:
        model: new.
        within_documents: whether attention must end where positions begin anew.

    Raises:
        InputError: where it does not, or tokens see later ones.
    """
    kind = model.config.model_type
    if sees_later_tokens(model):
        raise InputError(
            f"{kind} sees later tokens, and would predict what it sees: choose a decoder, or set in --model "
            "what makes this one a decoder, such as is_decoder"
        )
    if within_documents and sees_other_documents(model):
        raise InputError(
            f"--attention_within_documents: {kind} does not end its attention where positions begin anew; "
            "leave the option out, or choose another --architecture"
        )
