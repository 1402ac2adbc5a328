"""Any causal or masked language model of ``transformers`` with its tokenizer, checked before it is scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from raft.data.text.tokens import check_folder, id_range, read_tokenizer
from raft.errors import InputError
from raft.hf.loading import load_config, load_pretrained
from raft.hf.positions import max_positions
from raft.training.attention import sees_later_tokens

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class LanguageModel:
    """A model that can be scored.

    Attributes:
        name: as the user gave it.
        model: of ``transformers``.
        tokenizer: that belongs to it.
        is_masked: predicts masked tokens from both sides; otherwise the next one from those before.
        positions: the most tokens that it takes; None where its configuration sets no limit.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    is_masked: bool
    positions: int | None

    @property
    def start(self) -> list[int]:
        """What precedes a text of a causal model: BOS, or EOS, as between packed documents."""
        ids = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return [token for token in ids if token is not None][:1]


def load_language_model(name: str, device: str, dtype: str = "float32") -> LanguageModel:
    """Load a model with its tokenizer.

    Args:
        name: a folder or a name on the hub.
        device: to compute on.
        dtype: one of ``DTYPES``, to compute in, whatever the weights are saved in.

    Raises:
        InputError: for what is no language model or lacks weights or a tokenizer, and as
            ``check_language_model``.
    """
    check_folder(name, "model")
    config = load_config(name)
    kind = find_class(config, name)
    tokenizer = read_tokenizer(name)
    model, info = load_pretrained(kind, name, config=config, dtype=getattr(torch, dtype))
    if missing := sorted(info["missing_keys"]):
        raise InputError(f"{name} is no language model: it lacks weights of {kind.__name__}, as {missing[0]}")
    placed: Any = model
    return check_language_model(placed.to(device), tokenizer, name)


def find_class(config: PreTrainedConfig, name: str) -> Any:
    """The class that a language model is loaded as: the one that its configuration names.

    Raises:
        InputError: for another kind of model, an encoder with a decoder too.
    """
    named = (config.architectures or [""])[0]
    masked, causal = _classes(AutoModelForMaskedLM, config), _classes(AutoModelForCausalLM, config)
    if config.is_encoder_decoder:
        raise InputError(f"{name} is an encoder with a decoder; causal and masked models can be evaluated")
    for kind in (*masked, *causal):
        if kind.__name__ == named:
            return kind
    is_headless = named.endswith(("Model", "ForPreTraining")) or not named
    if not is_headless or not (masked or causal):
        what = named or type(config).__name__
        raise InputError(f"{name} is a {what}, which is neither a causal nor a masked language model")
    return (masked or causal)[0]


def check_language_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> LanguageModel:
    """A model in memory, if it can be scored.

    Raises:
        InputError: for another kind of model, a "causal" one that sees later tokens, weights that are not
            finite, a tokenizer without a mask token, or with tokens that the model lacks.
    """
    config = model.config
    masked = isinstance(model, _classes(AutoModelForMaskedLM, config))
    causal = isinstance(model, _classes(AutoModelForCausalLM, config))
    if config.is_encoder_decoder or not (masked or causal):
        what = type(model).__name__
        raise InputError(f"{name} is a {what}, which is neither a causal nor a masked language model")
    # the classes of XLM and Flaubert are both
    is_masked = masked and not (causal and (getattr(config, "causal", False) or config.is_decoder))
    broken = next((key for key, weight in model.named_parameters() if not weight.isfinite().all()), None)
    if broken is not None:
        raise InputError(f"{name} cannot be evaluated: its weights {broken} are not finite")
    weight: Any = model.get_input_embeddings().weight
    vocabulary = int(weight.shape[0])
    if id_range(tokenizer) > vocabulary:
        raise InputError(
            f"the tokenizer of {name} has {id_range(tokenizer)} tokens, but the model has embeddings of "
            f"{vocabulary}; take the tokenizer that belongs to it"
        )
    if is_masked and tokenizer.mask_token_id is None:
        raise InputError(f"the tokenizer of {name} has no mask token, which a masked language model needs")
    language_model = LanguageModel(name, model, tokenizer, is_masked, max_positions(model))
    if not is_masked and sees_later_tokens(model):
        raise InputError(
            f"{name} ({type(model).__name__}) sees the tokens that it is to predict, so it is not causal; an "
            "encoder needs is_decoder in its configuration, or its class for masked language models"
        )
    return language_model


def _classes(auto: Any, config: PreTrainedConfig) -> tuple[type, ...]:
    kinds = auto._model_mapping.get(type(config), ())
    return kinds if isinstance(kinds, tuple) else (kinds,)
