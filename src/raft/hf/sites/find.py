"""Find the activations of a ``transformers`` model by its structure.

A feed-forward block lies in a layer of a stack and is recognised by its projections
(`raft.hf.sites.feed_forward`). A block that does not widen, in a layer with one that does, is auxiliary: an
adapter (a bottleneck added for a language or task), a gate, or a router.

Other activations are classified by their surroundings: a convolution, a pooler, or the head of the nearest
enclosing model. Projectors between the towers of a composite model, and whatever fits none, are no sites.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from raft.hf.sites.feed_forward import (
    CONVOLUTIONS,
    Block,
    Projection,
    find_block,
    holds_more,
    inner_projections,
    is_auxiliary,
    own_projection,
    wrapped_projections,
)
from raft.modules import Rational
from raft.networks.activations import is_activation, is_parametrised

ATTENTION = re.compile(r"attention", re.IGNORECASE)
"""Classes whose activations are gates, between projections like those of a feed-forward block."""

LAYER = re.compile(r"(Layer|Block|MLP|FFN)$")
"""Classes of whole layers, which may be named after their kind of attention."""

LANGUAGE_MODEL = re.compile(r"(ForMaskedLM|ForPreTraining|LMHeadModel|ForCausalLM)$")
CLASSIFIER = re.compile(r"For\w*(Classification|QuestionAnswering|MultipleChoice|Prediction|PreTraining)\w*$")


@dataclass(frozen=True)
class Site:
    """One activation of a model.

    Attributes:
        name: dotted path of the activation in the model.
        kind: ``"ffn"``, ``"pooler"``, ``"classifier"``, ``"mlm_head"`` or ``"conv"``.
        stack: path of the outermost stack of layers that a feed-forward block lies in; None elsewhere.
        layer: number of that block's layer in it, counted on through the stages where it has some, as
            Swin's has; None elsewhere.
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
        """The current activation."""
        activation: Callable[..., Any] = getattr(self.parent, self.attribute)
        return activation

    def set_activation(self, activation: Callable[..., Any]) -> None:
        """Replace the activation by a module or a function."""
        if isinstance(activation, nn.Module) or self.attribute not in self.parent._modules:
            setattr(self.parent, self.attribute, activation)
        else:  # a function in place of a module
            delattr(self.parent, self.attribute)
            setattr(self.parent, self.attribute, activation)


Place = tuple[str, tuple[int, ...]]
"""A stack and the number of a layer in it; several numbers for nested stacks."""


def find_sites(model: nn.Module) -> list[Site]:
    """Find the activations of a model that can be replaced, fixed or learned, in the model's order."""
    return [site for site in _find_candidates(model) if is_activation(site.activation)]


def find_parametrised_sites(model: nn.Module) -> list[Site]:
    """Find activations of feed-forward blocks that have parameters, which a RAF cannot replace."""
    return [
        site for site in _find_candidates(model) if site.kind == "ffn" and is_parametrised(site.activation)
    ]


def _find_candidates(model: nn.Module) -> list[Site]:
    modules = dict(model.named_modules())
    activations = [path for path, module in modules.items() if is_activation(module)]
    sites: list[Site] = []
    blocks: dict[str, tuple[Place, Block]] = {}
    for path, parent in modules.items():
        if any(path == outer or path.startswith(outer + ".") for outer in activations if outer):
            continue  # a part of an activation
        attributes = list(_activation_attributes(parent))
        block = _find_block(modules, path) if attributes else None
        experts = re.match(r"(.*\bexperts)\.[^.]+", path)
        for attribute in attributes:
            name = f"{path}.{attribute}".lstrip(".")
            kind = "ffn" if block else _classify(modules, path, attribute)
            if block:
                blocks[name] = _locate(modules, path, block), block._replace(path=path)
            if kind is not None:
                sites.append(Site(name, kind, None, None, experts and experts[1], parent, attribute))
    layers = _number_layers(blocks)
    return [
        replace(site, stack=layers[site.name][0], layer=layers[site.name][1]) if site.name in layers else site
        for site in sites
        if site.kind != "ffn" or site.name in layers
    ]


def _number_layers(blocks: dict[str, tuple[Place, Block]]) -> dict[str, tuple[str, int]]:
    """By name of an activation: stack and number of the layer whose feed-forward block it belongs to."""
    places: dict[Place, list[Block]] = {}
    for place, block in blocks.values():
        places.setdefault(place, []).append(block)
    kept = {name: place for name, (place, block) in blocks.items() if not is_auxiliary(block, places[place])}
    layers = {}
    for name, (stack, numbers) in kept.items():
        all_numbers = sorted({other for of, other in kept.values() if of == stack})
        has_stages = any(len(other) > 1 for other in all_numbers)
        layers[name] = stack, all_numbers.index(numbers) if has_stages else numbers[0]
    return layers


def _activation_attributes(module: nn.Module) -> Iterator[str]:
    for values in (module._modules, vars(module)):
        yield from [key for key, value in values.items() if is_activation(value) or is_parametrised(value)]


def _classify(modules: dict[str, nn.Module], path: str, attribute: str) -> str | None:
    """The kind of an activation outside of feed-forward blocks."""
    parent = modules[path]
    if any(isinstance(child, CONVOLUTIONS) for child in parent.children()):
        return "conv"
    if _find_stacks(modules, path):
        return None
    has_pooler = isinstance(parent, PreTrainedModel) and own_projection(getattr(parent, "pooler", None))
    if "pool" in type(parent).__name__.lower() or "pool" in attribute or has_pooler:
        return "pooler"
    if not any(isinstance(child, nn.Module) and wrapped_projections(child) for child in parent.children()):
        return None
    return _classify_head(modules, path)


def _find_block(modules: dict[str, nn.Module], path: str) -> Block | None:
    """The feed-forward block whose activation the module at ``path`` holds."""
    name = type(modules[path]).__name__
    if not _find_stacks(modules, path) or (ATTENTION.search(name) and not LAYER.search(name)):
        return None
    above = path.rpartition(".")[0]
    return find_block(modules[path], modules[above] if _find_stacks(modules, above) else None)


def _classify_head(modules: dict[str, nn.Module], path: str) -> str | None:
    """The kind of head of the nearest model around ``path``; None for a model without heads."""
    parts = path.split(".") if path else []
    around = [modules[".".join(parts[:i])] for i in range(len(parts), -1, -1)]
    nearest = next((i for i, module in enumerate(around) if isinstance(module, PreTrainedModel)), -1)
    model = around[nearest]
    name = type(model).__name__
    inside = next(
        inner for module in around if _is_head(inner := inner_projections(module)) or module is model
    )
    sizes = _vocab_sizes(getattr(model, "config", None))
    if LANGUAGE_MODEL.search(name) and any(projection.outputs in sizes for projection in inside):
        return "mlm_head"
    return "classifier" if CLASSIFIER.search(name) else None


def _is_head(projections: list[Projection]) -> bool:
    """Whether they are a whole head: not only from the hidden channels back to them."""
    return len(projections) > 1 and projections[-1].outputs != projections[0].inputs


def _vocab_sizes(config: Any) -> set[int]:
    """Sizes of all vocabularies of a configuration, of words and of entities for instance."""
    parts = [config, *(getattr(config, part, None) for part in getattr(config, "sub_configs", {}))]
    return {
        size
        for part in parts
        for key, size in getattr(part, "__dict__", {}).items()
        if key.endswith("vocab_size")
    }


def _locate(modules: dict[str, nn.Module], path: str, block: Block) -> Place:
    """The outermost stack, and the layer's number in it and in nested stacks (stages).

    A nested stack holds layers where each is more than a feed-forward block, which experts are not.
    """
    (outermost, number), *inner = _find_stacks(modules, path)
    numbers = [number]
    element = f"{outermost}.{number}"
    for stack, number in inner:
        is_list_of_lists = stack == element
        element = f"{stack}.{number}"
        is_layer = is_list_of_lists or holds_more(modules[element], block)
        if not _is_homogeneous(modules[stack]) or not is_layer:
            break
        numbers.append(number)
    return outermost, tuple(numbers)


def _find_stacks(modules: dict[str, nn.Module], path: str) -> list[tuple[str, int]]:
    """The stacks around ``path``, outermost first, and the number of its layer in each."""
    parts = path.split(".")
    stacks = [(".".join(parts[:i]), int(part)) for i, part in enumerate(parts) if part.isdecimal()]
    return [(stack, number) for stack, number in stacks if _is_stack(modules[stack])]


def _is_stack(module: nn.Module) -> bool:
    if isinstance(module, nn.Sequential):  # of layers, not of the parts of one
        return _is_homogeneous(module) and all(next(layer.children(), None) is not None for layer in module)
    return isinstance(module, nn.ModuleList)


def _is_homogeneous(stack: nn.Module) -> bool:
    return len({type(layer) for layer in stack.children()}) == 1


def rationals(model: nn.Module) -> dict[str, Rational]:
    """The rational activations of a model by dotted name, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Rational)}
