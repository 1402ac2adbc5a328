"""Adapters for activations that a model's own code calls by name: they become modules, which can be replaced.

What no code calls, the identity before projections, becomes a module too (`raft.hf.sites.inputs`).

An adapter is a copy of a class's ``forward`` that calls a module, ``self.activation``, where the original
calls a function. Instances of the class become instances of a subclass with that ``forward``, which changes
no result. The subclass has its parent's name, which ``config.json`` shows, and is an attribute of this
module, where ``pickle`` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.modeling_outputs import SequenceClassifierOutput

from raft.hf.sites.inputs import install_input_activations, remove_input_activations
from raft.learned_activation import is_learned

Forward = Callable[..., Any]


def language_model_head_forward(self: Any, features: Tensor, **_: Any) -> Tensor:
    """``[batch, length, hidden]`` to ``[batch, length, vocabulary]``."""
    logits: Tensor = self.decoder(self.layer_norm(self.activation(self.dense(features))))
    return logits


def first_token_classifier_forward(self: Any, features: Tensor, **_: Any) -> Tensor:
    """``[batch, length, hidden]`` to ``[batch, labels]``."""
    return classifier_forward(self, features[:, 0, :])


def classifier_forward(self: Any, hidden_states: Tensor) -> Tensor:
    """``[…, hidden]`` to ``[…, labels]``."""
    hidden_states = self.activation(self.dense(self.dropout(hidden_states)))
    logits: Tensor = self.out_proj(self.dropout(hidden_states))
    return logits


def context_pooler_forward(self: Any, hidden_states: Tensor) -> Tensor:
    """``[batch, length, hidden]`` to ``[batch, hidden]``."""
    pooled: Tensor = self.activation(self.dense(self.dropout(hidden_states[:, 0])))
    return pooled


def conv_forward(self: Any, hidden_states: Tensor, residual_states: Tensor, input_mask: Tensor) -> Tensor:
    """``[batch, length, hidden]``, of both states."""
    out = self.conv(hidden_states.transpose(1, 2).contiguous()).transpose(1, 2).contiguous()
    padding = (1 - input_mask).bool().unsqueeze(-1)
    out = self.activation(self.dropout(out.masked_fill(padding, 0)))
    summed = residual_states + out
    normed: Tensor = self.LayerNorm(summed).to(summed)
    mask = input_mask[:, 0, 0] if input_mask.dim() == 4 else input_mask
    return normed * (mask.unsqueeze(-1) if mask.dim() < normed.dim() else mask).to(normed.dtype)


def distilbert_classifier_forward(
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
    output = SequenceClassifierOutput(
        loss=loss, logits=logits, hidden_states=states.hidden_states, attentions=states.attentions
    )
    returns_dict = self.config.return_dict if return_dict is None else return_dict
    return output if returns_dict else output.to_tuple()


def _gelu(module: nn.Module) -> nn.Module:
    gelu: nn.Module = ACT2FN["gelu"]
    return gelu


def _tanh(module: nn.Module) -> nn.Module:
    return nn.Tanh()


def _relu(module: nn.Module) -> nn.Module:
    return nn.ReLU()


def _configured(field: str) -> Callable[[Any], nn.Module]:
    return lambda module: ACT2FN[getattr(module.config, field, "tanh")]


class Adapter(NamedTuple):
    """How the activation that a class calls by name becomes a module.

    Attributes:
        kind: of the site.
        forward: does what the class's own does, and calls ``self.activation``.
        make_activation: the module for an instance of the class.
        sources: hashes of the versions of the class's own ``forward`` that ``forward`` was compared with: the
            first 12 hex digits of the SHA-256 of the source, with each run of white space as one space.
    """

    kind: str
    forward: Forward
    make_activation: Callable[[Any], nn.Module]
    sources: tuple[str, ...]


ADAPTERS: dict[str, Adapter] = {
    f"transformers.models.{model}.modeling_{model}.{name}": adapter
    for adapter, names in (
        (Adapter("mlm_head", language_model_head_forward, _gelu, ("6d305cc9fe56",)), {
            "roberta": "RobertaLMHead", "xlm_roberta": "XLMRobertaLMHead", "camembert": "CamembertLMHead",
            "longformer": "LongformerLMHead", "mpnet": "MPNetLMHead"}),
        (Adapter("classifier", first_token_classifier_forward, _tanh, ("6e566d8a16e3", "8c00f7bd6e2a")), {
            "roberta": "RobertaClassificationHead", "xlm_roberta": "XLMRobertaClassificationHead",
            "camembert": "CamembertClassificationHead", "mpnet": "MPNetClassificationHead"}),
        (Adapter("classifier", classifier_forward, _tanh, ("b267f9d6088b",)), {
            "bart": "BartClassificationHead", "t5": "T5ClassificationHead"}),
        (Adapter("classifier", distilbert_classifier_forward, _relu, ("6b656d8668f5",)), {
            "distilbert": "DistilBertForSequenceClassification"}),
        (Adapter("pooler", context_pooler_forward, _configured("pooler_hidden_act"), ("40dd8b320050",)), {
            "deberta_v2": "ContextPooler"}),
        (Adapter("conv", conv_forward, _configured("conv_act"), ("623fe10e58cd",)), {
            "deberta_v2": "ConvLayer"}),
    )
    for model, name in names.items()
}  # fmt: skip
"""By the path of the class."""


def install_adapters(model: nn.Module, kinds: Sequence[str]) -> None:
    """Turn activations of these kinds into modules where an adapter is known; a second call does nothing."""
    for module in list(model.modules()):
        path = _path(type(module))
        if path in ADAPTERS and ADAPTERS[path].kind in kinds:
            if "forward" in vars(module):
                raise ValueError(
                    f"{type(module).__name__} has a forward of its own, as accelerate gives to models on "
                    "several devices: convert the model before it is spread"
                )
            module.activation = ADAPTERS[path].make_activation(module).train(module.training)
            module.__class__ = _make_subclass(path)
    install_input_activations(model, kinds)


def remove_adapters(model: nn.Module) -> None:
    """Restore the classes of modules whose activation is a fixed one."""
    remove_input_activations(model)
    for module in list(model.modules()):
        kind = type(module)
        if kind.__module__ == __name__ and not is_learned(module.activation):
            del module.activation
            module.__class__ = kind.__bases__[0]


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _make_subclass(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    parent = getattr(import_module(module), name)
    attributes = {"forward": ADAPTERS[path].forward, "__module__": __name__, "__doc__": parent.__doc__}
    return type(name, (parent,), attributes)


def __getattr__(name: str) -> type[nn.Module]:
    path = next((path for path in ADAPTERS if path.rpartition(".")[2] == name), None)
    if path is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _make_subclass(path)
