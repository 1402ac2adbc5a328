"""Find what attention and feed-forward blocks read, where activations can be put that no model has itself.

An attention is a module in a layer of a stack whose children are named query, key and value, or as usual for
short, and read a tensor of the same width; they may be fused. Cross-attention, whose query and key read two
tensors, is told by its name. A feed-forward block is that of `raft.hf.sites.feed_forward`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from torch import nn

from raft.hf.sites.feed_forward import CONVOLUTIONS, Projection, wrapped_projections
from raft.hf.sites.find import ATTENTION, find_blocks
from raft.hf.sites.input_activation import InputActivation
from raft.hf.sites.layers import find_stacks
from raft.networks.calls import CONTAINERS
from raft.networks.config import INPUT_SITES

WORDS = {"query": "q", "queries": "q", "key": "k", "keys": "k", "value": "v", "values": "v"}
LETTERS = re.compile(r"w?(q?k?v?)")
"""Of a part of a name, as in ``q_proj``, ``wk``, ``kv_a_proj`` and ``Wqkv``."""

POSITIONS = {"pos", "rel", "relative"}
"""In the names of projections of positions, which are no inputs of the layer."""

CROSS = re.compile(r"cross", re.IGNORECASE)
ENCODER_ATTENTION = re.compile(r"enc(oder)?_?(dec(oder)?_?)?att", re.IGNORECASE)
"""In the name of an attribute: the decoder's attention to what an encoder gives."""


def install_input_activations(model: nn.Module, kinds: Sequence[str]) -> None:
    """Put the identity before the projections of these kinds of sites; a second call does nothing."""
    if not set(INPUT_SITES) & set(kinds):
        return
    modules = dict(model.named_modules())
    paths = {module: path for path, module in modules.items()}
    for kind, projections in _find_readers(model, modules):
        if kind in kinds:
            readers = [projection.module for projection in projections]
            holder = modules[_find_holder(modules, [paths[reader] for reader in readers])]
            if not isinstance(getattr(holder, kind, None), InputActivation):
                is_convolution = any(isinstance(reader, CONVOLUTIONS) for reader in readers)
                holder.add_module(
                    kind, InputActivation(kind, None if is_convolution else projections[0].inputs)
                )
            getattr(holder, kind).attach(holder, readers)


def remove_input_activations(model: nn.Module) -> None:
    """Remove those that are the identity."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, InputActivation) and isinstance(child.activation, nn.Identity):
                child.detach(model)
                delattr(module, name)


def _find_readers(model: nn.Module, modules: dict[str, nn.Module]) -> Iterator[tuple[str, list[Projection]]]:
    """The kind of each site, and the projections that read its tensor."""
    for path in modules:
        projections = find_attention(modules, path)
        if projections:
            yield "attention_input", projections
    for block in find_blocks(model):
        yield "ffn_input", block.first_projections


def find_attention(modules: dict[str, nn.Module], path: str) -> list[Projection]:
    """The projections to query, key and value of a module; none where it is no self-attention."""
    module = modules[path]
    named = [
        (_roles(name, projection, module), projection)
        for name, child in module.named_children()
        for projection in wrapped_projections(child)
    ]
    for inputs in dict.fromkeys(projection.inputs for roles, projection in named if roles):
        readers = [
            (roles, projection) for roles, projection in named if roles and projection.inputs == inputs
        ]
        if set().union(*(roles for roles, _ in readers)) == set("qkv") and _is_self_attention(modules, path):
            return [projection for _, projection in readers]
    return []


def _roles(name: str, projection: Projection, parent: nn.Module) -> set[str]:
    """The letters of what a child projects to: ``{"q"}``, ``{"k", "v"}``."""
    parts = name.lower().split("_")
    if name == "c_attn" or (
        name == "in_proj"
        and projection.outputs == 3 * projection.inputs
        and ATTENTION.search(type(parent).__name__)
    ):
        return set("qkv")
    if POSITIONS & set(parts):
        return set()
    short = [match[1] for part in parts if (match := LETTERS.fullmatch(part))]
    return set("".join([*short, *(WORDS.get(part, "") for part in parts)]))


def _is_self_attention(modules: dict[str, nn.Module], path: str) -> bool:
    """Whether a module lies in a layer, and nothing there is named after cross-attention."""
    stacks = find_stacks(modules, path)
    if not stacks or CROSS.search(type(modules[path]).__name__):
        return False
    layer = f"{stacks[0][0]}.{stacks[0][1]}"
    parts = path[len(layer) + 1 :].split(".") if path != layer else []
    inside = [".".join([layer, *parts[: i + 1]]) for i in range(len(parts))]
    return not any(
        CROSS.search(part) or ENCODER_ATTENTION.search(part) or CROSS.search(type(modules[name]).__name__)
        for part, name in zip(parts, inside, strict=True)
    )


def _find_holder(modules: dict[str, nn.Module], paths: list[str]) -> str:
    """The path of the innermost module around all of these whose ``forward`` does not call all its parts."""
    parents = [path.split(".")[:-1] for path in paths]
    common = parents[0]
    for other in parents[1:]:
        equal = [a == b for a, b in zip(common, other, strict=False)]
        common = common[: equal.index(False)] if False in equal else common[: len(equal)]
    while isinstance(modules[".".join(common)], CONTAINERS):
        common = common[:-1]
    return ".".join(common)
