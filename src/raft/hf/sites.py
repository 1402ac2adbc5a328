"""Where the activations of a ``transformers`` model sit, found by structure.

A feed-forward block is a layer of a stack that holds, beside its activation, a projection from d to f
channels (or to 2 f, where it is gated) and one from f back to d; the experts of a mixture hold them as
tensors of their own. What is left is told by what stands around it: a convolution, a pooler, a head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import activations
from transformers.pytorch_utils import Conv1D

from raft.modules import Rational, SharedRational

MODULES = (nn.GELU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Mish, nn.ELU, nn.CELU, nn.SELU, nn.Tanh,
           nn.Sigmoid, nn.Softplus, nn.Hardswish)  # fmt: skip
FUNCTIONS = (F.gelu, F.relu, F.silu, F.mish, F.elu, F.leaky_relu, F.softplus, F.tanh, F.sigmoid, F.hardswish,
             torch.relu, torch.tanh, torch.sigmoid)  # fmt: skip
NAMES = re.compile(r"gelu|relu|silu|swish|mish|activation", re.IGNORECASE)
"""An activation of a model's own is a module without parameters whose class is called so."""

GATES = re.compile(r"attention|lstm|mixer(?!mlp)", re.IGNORECASE)
"""Modules whose activations open and shut gates between projections that look like a feed-forward block's."""

HEAD_OF_LANGUAGE_MODEL = re.compile(r"(ForMaskedLM|ForPreTraining|LMHeadModel|ForCausalLM)$")


Channels = tuple[int, int]
"""Inputs and outputs of a projection."""


@dataclass(frozen=True)
class Site:
    """One activation of a model.

    Attributes:
        name: dotted path of the activation in the model.
        kind: ``"ffn"``, ``"pooler"``, ``"classifier"``, ``"mlm_head"`` or ``"conv"``.
        stack: path of the stack of layers that a feed-forward block lies in; None elsewhere.
        layer: number of that block's layer in it; None elsewhere.
        experts: path of the mixture whose experts, each a module with an activation, this is one of.
        parent: module that holds it.
        attribute: name of the parent's attribute.
    """

    name: str
    kind: str
    stack: str | None
    layer: int | None
    experts: str | None
    parent: nn.Module
    attribute: str

    @property
    def activation(self) -> Callable[..., Any]:
        """What the model applies there now."""
        found: Callable[..., Any] = getattr(self.parent, self.attribute)
        return found

    def put(self, activation: Callable[..., Any]) -> None:
        """Let the model apply another function there."""
        if isinstance(activation, nn.Module) or self.attribute not in self.parent._modules:
            setattr(self.parent, self.attribute, activation)
        else:  # a function where a module was
            delattr(self.parent, self.attribute)
            setattr(self.parent, self.attribute, activation)


def sites(model: nn.Module) -> list[Site]:
    """The activations of a model that can be replaced, fixed or rational, in the model's order."""
    modules = dict(model.named_modules())
    hidden = [path for path, module in modules.items() if is_activation(module)]
    found = []
    for path, parent in modules.items():
        if any(path == inner or path.startswith(inner + ".") for inner in hidden if inner):
            continue  # what an activation is made of
        for attribute in _attributes(parent):
            name = f"{path}.{attribute}".lstrip(".")
            kind = _kind(model, modules, path, attribute)
            if kind is not None:
                stack, layer = (_layer(modules, path) if kind == "ffn" else None) or (None, None)
                experts = re.match(r"(.*\bexperts)\.[^.]+", path)
                found.append(Site(name, kind, stack, layer, experts and experts[1], parent, attribute))
    return found


def is_activation(value: object) -> bool:
    """Whether a module, or a function that a module holds, is an activation.

    One with parameters of its own is not fixed, and is left to the model.
    """
    if not isinstance(value, nn.Module):
        return any(value is function for function in FUNCTIONS)
    if isinstance(value, (Rational, SharedRational)):
        return True
    if next(value.parameters(), None) is not None:
        return False
    if isinstance(value, MODULES):
        return True
    kind = type(value)
    if kind.__module__ == activations.__name__:
        return True
    return next(value.children(), None) is None and NAMES.search(kind.__name__) is not None


def _attributes(module: nn.Module) -> Iterator[str]:
    for values in (module._modules, vars(module)):
        yield from [attribute for attribute, value in values.items() if is_activation(value)]


def _kind(model: nn.Module, modules: dict[str, nn.Module], path: str, attribute: str) -> str | None:
    parent = modules[path]
    if any(isinstance(child, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) for child in parent.children()):
        return "conv"
    if _layer(modules, path) is not None:
        is_gate = GATES.search(type(parent).__name__) is not None
        return "ffn" if not is_gate and _is_feed_forward(modules, path) else None
    if "pool" in type(parent).__name__.lower() or "pool" in attribute:
        return "pooler"
    if not any(len(_channels(child)) == 1 for child in parent.children()):
        return None
    is_language_model = HEAD_OF_LANGUAGE_MODEL.search(type(model).__name__) is not None
    return "mlm_head" if is_language_model else "classifier"


def _layer(modules: dict[str, nn.Module], path: str) -> tuple[str, int] | None:
    """The outermost stack that ``path`` lies in, and the number of its layer there."""
    parts = path.split(".")
    for i, part in enumerate(parts):
        stack = ".".join(parts[:i])
        if part.isdigit() and isinstance(modules.get(stack), nn.ModuleList):
            return stack, int(part)
    return None


def _is_feed_forward(modules: dict[str, nn.Module], path: str) -> bool:
    parent = modules[path]
    beside = _projections(parent)
    if _has_pair(beside):
        return True
    above = path.rpartition(".")[0]
    if len(beside) != 1 or _layer(modules, above) is None:
        return False
    # the block is cut in two modules, as BERT's: the way back stands beside the parent
    aunts = [child for child in modules[above].children() if child is not parent]
    return _has_pair(beside + [pair for aunt in aunts for pair in _projections(aunt)], beside)


def _has_pair(projections: list[Channels], first: list[Channels] | None = None) -> bool:
    """Whether one of ``first`` leads from d to f or 2 f channels and another projection from f back to d."""
    return any(
        (outputs // times, inputs) in [other for j, other in enumerate(projections) if j != i]
        for i, (inputs, outputs) in enumerate(first or projections)
        for times in (1, 2)
        if outputs % times == 0
    )


def _projections(module: nn.Module) -> list[Channels]:
    """(inputs, outputs) of the linear children and of the module's own stacks of experts.

    A stack is ``[experts, outputs, inputs]`` or ``[experts, inputs, outputs]``; it stands for both.
    """
    found = [pair for child in module.children() for pair in _channels(child)]
    stacked = [parameter.shape for parameter in module.parameters(recurse=False) if parameter.dim() == 3]
    if _has_pair([(inputs, outputs) for _, inputs, outputs in stacked]):
        return found + [(inputs, outputs) for _, inputs, outputs in stacked]
    return found + [(inputs, outputs) for _, outputs, inputs in stacked]


def _channels(module: nn.Module) -> list[Channels]:
    if isinstance(module, Conv1D):
        return [(module.weight.shape[0], module.weight.shape[1])]
    inner = list(module.children())
    if len(inner) == 1 and isinstance(inner[0], nn.Linear):  # a projection with something around it
        module = inner[0]
    weight = getattr(module, "weight", None)
    is_linear = isinstance(module, nn.Linear) or hasattr(module, "in_features")
    if is_linear and isinstance(weight, torch.Tensor):  # quantised weights have other shapes
        return [(int(module.in_features), int(module.out_features))]  # type: ignore[arg-type]
    if isinstance(weight, torch.Tensor) and weight.dim() == 3 and not inner:  # [experts, inputs, outputs]
        return [(weight.shape[1], weight.shape[2])]
    return []


def rationals(model: nn.Module) -> dict[str, Rational]:
    """The rational activations of a model by their dotted names, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Rational)}
