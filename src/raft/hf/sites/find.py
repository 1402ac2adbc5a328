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
    inner_projections,
    own_projection,
    wrapped_projections,
)
from raft.hf.sites.input_activation import InputActivation
from raft.hf.sites.layers import Place, find_stacks, layer_around, locate, number_layers
from raft.learned_activation import learned_activations as learned_activations  # raft.hf hands it on
from raft.modules import Rational
from raft.networks.activations import is_activation, is_parametrised
from raft.networks.config import LAYER_SITES
from raft.networks.sites import set_attribute

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
        kind: one of ``raft.networks.config.SITES``.
        stack: path of the outermost stack of layers that a feed-forward block or an attention lies in; None
            elsewhere.
        layer: number of its layer in it, counted on through the stages where it has some, as Swin's has; None
            elsewhere.
        experts: path of the mixture whose experts, each a module with an activation, this is one of.
        parent: module that holds it.
        attribute: name of the parent's attribute.
        holder: the module that it is a part of: the parent, or what holds the projections before which it is.
    """

    name: str
    kind: str
    stack: str | None
    layer: int | None
    experts: str | None
    parent: nn.Module
    attribute: str
    holder: nn.Module

    @property
    def activation(self) -> Callable[..., Any]:
        """The current activation."""
        activation: Callable[..., Any] = getattr(self.parent, self.attribute)
        return activation

    def set_activation(self, activation: Callable[..., Any]) -> None:
        """Replace the activation by a module or a function."""
        set_attribute(self.parent, self.attribute, activation)


def find_sites(model: nn.Module) -> list[Site]:
    """Find the activations of a model that can be replaced, fixed or learned, in the model's order.

    Those before projections are among them once a conversion has put them there.
    """
    return [site for site in _find_candidates(model)[0] if _is_replaceable(site)]


def find_parametrised_sites(model: nn.Module) -> list[Site]:
    """Find activations of feed-forward blocks that have parameters, which a RAF cannot replace."""
    sites, _ = _find_candidates(model)
    return [site for site in sites if site.kind == "ffn" and is_parametrised(site.activation)]


def find_blocks(model: nn.Module) -> list[Block]:
    """Find the feed-forward blocks, without adapters, gates and routers, in the model's order."""
    return _find_candidates(model)[1]


def _find_candidates(model: nn.Module) -> tuple[list[Site], list[Block]]:
    modules = dict(model.named_modules())
    activations = [path for path, module in modules.items() if is_activation(module)]
    sites: list[Site] = []
    blocks: dict[str, tuple[Place, Block]] = {}
    for path, parent in modules.items():
        if any(path == outer or path.startswith(outer + ".") for outer in activations if outer):
            continue  # a part of an activation
        experts = re.match(r"(.*\bexperts)\.[^.]+", path)
        if isinstance(parent, InputActivation):
            holder = modules[path.rpartition(".")[0]]
            name = f"{path}.activation"
            sites.append(
                Site(name, parent.kind, None, None, experts and experts[1], parent, "activation", holder)
            )
            continue
        attributes = list(_activation_attributes(parent))
        block = _find_block(modules, path) if attributes else None
        for attribute in attributes:
            name = f"{path}.{attribute}".lstrip(".")
            kind = "ffn" if block else _classify(modules, path, attribute)
            if block:
                blocks[name] = locate(modules, path, block), block._replace(path=path)
            if kind is not None:
                sites.append(Site(name, kind, None, None, experts and experts[1], parent, attribute, parent))
    layers = number_layers(blocks)
    of_places = {blocks[name][0]: layer for name, (_, layer) in layers.items()}
    layers |= {
        site.name: layer
        for site in sites
        if isinstance(site.parent, InputActivation)
        and (layer := layer_around(modules, site.name, of_places)) is not None
    }
    numbered = [
        replace(site, stack=layers[site.name][0], layer=layers[site.name][1]) if site.name in layers else site
        for site in sites
        if site.kind not in LAYER_SITES or site.name in layers
    ]
    return numbered, [block for name, (_, block) in blocks.items() if name in layers]


def _is_replaceable(site: Site) -> bool:
    is_input = isinstance(site.parent, InputActivation)
    return is_activation(site.activation) or (is_input and isinstance(site.activation, nn.Identity))


def _activation_attributes(module: nn.Module) -> Iterator[str]:
    for values in (module._modules, vars(module)):
        yield from [key for key, value in values.items() if is_activation(value) or is_parametrised(value)]


def _classify(modules: dict[str, nn.Module], path: str, attribute: str) -> str | None:
    """The kind of an activation outside of feed-forward blocks."""
    parent = modules[path]
    if any(isinstance(child, CONVOLUTIONS) for child in parent.children()):
        return "conv"
    if find_stacks(modules, path):
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
    if not find_stacks(modules, path) or (ATTENTION.search(name) and not LAYER.search(name)):
        return None
    above = path.rpartition(".")[0]
    return find_block(modules[path], modules[above] if find_stacks(modules, above) else None)


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


def rationals(model: nn.Module) -> dict[str, Rational]:
    """The rational activations of a model by dotted name, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Rational)}
