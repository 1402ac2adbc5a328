"""Activations that a model's own code calls by name are made modules, so that they can be replaced.

An adapter is a ``forward`` that does what the class's own does and calls a module, ``self.activation``, where
that calls a function. The instances for which such a site is asked become ones of a subclass with that
``forward``, which changes no result. The subclass has its parent's name, which ``config.json`` shows, and is
an attribute of this module, where ``pickle`` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.modeling_outputs import SequenceClassifierOutput

from raft.modules import Rational, SharedRational

Forward = Callable[..., Any]


def language_model_head(self: Any, features: Tensor, **_: Any) -> Tensor:
    """``[batch, length, hidden]`` to ``[batch, length, vocabulary]``."""
    found: Tensor = self.decoder(self.layer_norm(self.activation(self.dense(features))))
    return found


def first_token_classifier(self: Any, features: Tensor, **_: Any) -> Tensor:
    """``[batch, length, hidden]`` to ``[batch, labels]``."""
    return classifier(self, features[:, 0, :])


def classifier(self: Any, hidden_states: Tensor) -> Tensor:
    """``[…, hidden]`` to ``[…, labels]``."""
    hidden_states = self.activation(self.dense(self.dropout(hidden_states)))
    found: Tensor = self.out_proj(self.dropout(hidden_states))
    return found


def context_pooler(self: Any, hidden_states: Tensor) -> Tensor:
    """``[batch, length, hidden]`` to ``[batch, hidden]``."""
    found: Tensor = self.activation(self.dense(self.dropout(hidden_states[:, 0])))
    return found


def convolution(self: Any, hidden_states: Tensor, residual_states: Tensor, input_mask: Tensor) -> Tensor:
    """``[batch, length, hidden]``, of both states."""
    out = self.conv(hidden_states.transpose(1, 2).contiguous()).transpose(1, 2).contiguous()
    padding = (1 - input_mask).bool().unsqueeze(-1)
    out = self.activation(self.dropout(out.masked_fill(padding, 0)))
    summed = residual_states + out
    normed: Tensor = self.LayerNorm(summed).to(summed)
    mask = input_mask[:, 0, 0] if input_mask.dim() == 4 else input_mask
    return normed * (mask.unsqueeze(-1) if mask.dim() < normed.dim() else mask).to(normed.dtype)


def distilbert_classifier(
    self: Any,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    labels: Tensor | None = None,
    position_ids: Tensor | None = None,
    return_dict: bool | None = None,
    **kwargs: Any,
) -> SequenceClassifierOutput | tuple[Any, ...]:
    """As ``DistilBertForSequenceClassification.forward``."""
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
    states = self.distilbert(**inputs, position_ids=position_ids, return_dict=True, **kwargs)
    pooled = self.dropout(self.activation(self.pre_classifier(states[0][:, 0])))
    logits = self.classifier(pooled)
    loss = None if labels is None else ForSequenceClassificationLoss(labels, logits, self.config)
    found = SequenceClassifierOutput(
        loss=loss, logits=logits, hidden_states=states.hidden_states, attentions=states.attentions
    )
    wanted = self.config.return_dict if return_dict is None else return_dict
    return found if wanted else found.to_tuple()


def _gelu(module: nn.Module) -> nn.Module:
    found: nn.Module = ACT2FN["gelu"]
    return found


def _tanh(module: nn.Module) -> nn.Module:
    return nn.Tanh()


def _configured(field: str) -> Callable[[Any], nn.Module]:
    return lambda module: ACT2FN[getattr(module.config, field, "tanh")]


ADAPTERS: dict[str, tuple[str, Forward, Callable[[Any], nn.Module]]] = {
    **{
        f"transformers.models.{model}.{name}LMHead": ("mlm_head", language_model_head, _gelu)
        for model, name in {
            "roberta.modeling_roberta": "Roberta",
            "xlm_roberta.modeling_xlm_roberta": "XLMRoberta",
            "camembert.modeling_camembert": "Camembert",
            "longformer.modeling_longformer": "Longformer",
            "mpnet.modeling_mpnet": "MPNet",
        }.items()
    },
    **{
        f"transformers.models.{model}.{name}ClassificationHead": ("classifier", first_token_classifier, _tanh)
        for model, name in {
            "roberta.modeling_roberta": "Roberta",
            "xlm_roberta.modeling_xlm_roberta": "XLMRoberta",
            "camembert.modeling_camembert": "Camembert",
            "mpnet.modeling_mpnet": "MPNet",
        }.items()
    },
    **{
        f"transformers.models.{model}.{name}ClassificationHead": ("classifier", classifier, _tanh)
        for model, name in {"bart.modeling_bart": "Bart", "t5.modeling_t5": "T5"}.items()
    },
    "transformers.models.distilbert.modeling_distilbert.DistilBertForSequenceClassification": (
        "classifier", distilbert_classifier, lambda module: nn.ReLU()),
    "transformers.models.deberta_v2.modeling_deberta_v2.ContextPooler": (
        "pooler", context_pooler, _configured("pooler_hidden_act")),
    "transformers.models.deberta_v2.modeling_deberta_v2.ConvLayer": (
        "conv", convolution, _configured("conv_act")),
}  # fmt: skip
"""By class: the kind of site, the forward, and the function that is there."""


def install_adapters(model: nn.Module, kinds: Sequence[str]) -> None:
    """Make the activations of these kinds modules where an adapter is known; a second call does nothing."""
    for module in list(model.modules()):
        path = _path(type(module))
        if path in ADAPTERS and ADAPTERS[path][0] in kinds:
            module.activation = ADAPTERS[path][2](module).train(module.training)
            module.__class__ = _adapted(path)


def remove_adapters(model: nn.Module) -> None:
    """Give the modules their own classes again whose activation is a fixed one."""
    for module in list(model.modules()):
        kind = type(module)
        if kind.__module__ == __name__ and not isinstance(module.activation, (Rational, SharedRational)):
            del module.activation
            module.__class__ = kind.__bases__[0]


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _adapted(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    parent = getattr(import_module(module), name)
    attributes = {"forward": ADAPTERS[path][1], "__module__": __name__, "__doc__": parent.__doc__}
    return type(name, (parent,), attributes)


def __getattr__(name: str) -> type[nn.Module]:
    path = next((path for path in ADAPTERS if path.rpartition(".")[2] == name), None)
    if path is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _adapted(path)
