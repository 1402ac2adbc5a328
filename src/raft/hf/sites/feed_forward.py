"""Recognise the feed-forward blocks of a ``transformers`` model by their projections.

Besides its activation, a block holds a projection from d to f channels (or to 2 f, where it is gated) and one
from f back to d; the experts of a mixture hold them as tensors. Two convolutions are such a block where they
widen, with no depthwise convolution between them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Projection(NamedTuple):
    """A linear map or convolution, or those of all experts, with weights in ``module``."""

    inputs: int
    outputs: int
    module: nn.Module
    is_stack: bool = False


class Block(NamedTuple):
    """A feed-forward block: from ``channels`` to ``width`` and back.

    In a mixture of experts without gates, the two may be swapped.
    """

    channels: int
    width: int
    projections: list[Projection]
    path: str = ""

    @property
    def is_mixture(self) -> bool:
        """Whether it is a stack of experts."""
        return self.projections[0].is_stack

    @property
    def first_projections(self) -> list[Projection]:
        """Those that read the block's input: one, or two where it is gated.

        They are registered before the one back; by that alone those of a block that does not widen are told.
        """
        first = [projection for projection in self.projections if projection[:2] == self.projections[0][:2]]
        return first if len(first) < len(self.projections) else first[:-1] or first


def find_block(parent: nn.Module, above: nn.Module | None) -> Block | None:
    """The feed-forward block of the activation that a module holds.

    Args:
        parent: holds the activation, in a layer of a stack.
        above: holds the parent, where it too lies in a layer: the block may be split over two modules.
    """
    siblings = _child_projections(parent)
    block = _match_projections(siblings)
    if block is not None:
        return None if _has_other_readers(siblings, block) or _is_separable(parent, block) else block
    if above is None or len({projection[:2] for projection in siblings}) != 1:
        return None
    # as in BERT, whose second projection lies in a sibling of the parent
    others = [child for child in above.children() if child is not parent]
    back = [inner for other in others for inner in wrapped_projections(other) or _child_projections(other)]
    block = _match_projections(siblings + back, len(siblings))
    return None if block is None or _is_separable(above, block) else block


def _match_projections(projections: list[Projection], first: int | None = None) -> Block | None:
    """A block of one of the ``first`` projections, from d to f or 2 f channels, and another from f to d."""
    for i, up in enumerate(projections[:first]):
        for width in (up.outputs, up.outputs / 2):
            for j, down in enumerate(projections):
                if i != j and (down.inputs, down.outputs) == (width, up.inputs) and _widens(i, up, j, down):
                    shapes = [(up.inputs, up.outputs), (width, up.inputs)]
                    matching = [projection for projection in projections if projection[:2] in shapes]
                    return Block(up.inputs, int(width), matching)
    return None


def _widens(i: int, up: Projection, j: int, down: Projection) -> bool:
    """Whether convolutions widen: they often narrow and widen again, to weigh channels."""
    is_convolution = isinstance(up.module, CONVOLUTIONS) or isinstance(down.module, CONVOLUTIONS)
    return not is_convolution or (i < j and down.inputs > up.inputs)


def _has_other_readers(siblings: list[Projection], block: Block) -> bool:
    """Whether other projections read the block's input too, as the gates of an LSTM do."""
    known = (block.channels, block.width, 2 * block.width)
    return not block.is_mixture and any(
        sibling.inputs == block.channels and sibling.outputs not in known for sibling in siblings
    )


def _is_separable(module: nn.Module, block: Block) -> bool:
    """Whether there is a depthwise convolution between the projections: a separable convolution."""
    convolutions = [inner for inner in module.modules() if isinstance(inner, CONVOLUTIONS)]
    is_among_them = any(conv in module.children() for conv in convolutions) or any(
        isinstance(projection.module, CONVOLUTIONS) for projection in block.projections
    )
    return is_among_them and any(conv.groups == conv.in_channels == block.width > 1 for conv in convolutions)


def _child_projections(module: nn.Module) -> list[Projection]:
    """Projections of the children, of lists among them, and the module's own stacks of experts.

    A stack is ``[experts, outputs, inputs]`` or ``[experts, inputs, outputs]``.
    """
    children = [
        inner
        for child in module.children()
        for inner in (child.children() if isinstance(child, nn.ModuleList) else [child])
    ]
    wrapped = [projection for child in children for projection in wrapped_projections(child)]
    stacks: list[tuple[torch.Tensor, nn.Module]] = [
        (weight, module) for weight in module.parameters(recurse=False) if weight.dim() == 3
    ]
    for child in children:
        weight = getattr(child, "weight", None)
        is_leaf = next(child.children(), None) is None and own_projection(child) is None
        if is_leaf and isinstance(weight, torch.Tensor) and weight.dim() == 3:
            stacks.append((weight, child))
    forward = [Projection(weight.shape[1], weight.shape[2], of, True) for weight, of in stacks]
    backward = [Projection(weight.shape[2], weight.shape[1], of, True) for weight, of in stacks]
    return (forward if _match_projections(forward) else backward) + wrapped


def wrapped_projections(module: nn.Module) -> list[Projection]:
    """The projection that a module is, or the only one that it holds, with a norm for instance."""
    inner = inner_projections(module)
    is_own = bool(inner) and inner[0].module is module
    has_weights = not is_own and any(weight.dim() > 1 for weight in module.parameters(recurse=False))
    return inner if len(inner) == 1 and not has_weights else []


def inner_projections(module: nn.Module) -> list[Projection]:
    """All projections in a module, without the parts of a projection, such as an adapter's."""
    own = own_projection(module)
    if own is not None:
        return [own]
    return [projection for child in module.children() for projection in inner_projections(child)]


def own_projection(module: object) -> Projection | None:
    """The projection that a module is, by its attributes: quantised weights have other shapes and names."""
    if isinstance(module, Conv1D):
        return Projection(module.weight.shape[0], module.weight.shape[1], module)
    if isinstance(module, CONVOLUTIONS):
        return Projection(module.in_channels, module.out_channels, module)
    inputs, outputs = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if isinstance(module, nn.Module) and isinstance(inputs, int) and isinstance(outputs, int):
        return Projection(inputs, outputs, module)
    return None


def holds_more(module: nn.Module, block: Block) -> bool:
    """Whether a module holds projections besides the block's."""
    own = {id(projection.module) for projection in block.projections}
    return any(id(projection.module) not in own for projection in inner_projections(module))


def is_auxiliary(block: Block, others: list[Block]) -> bool:
    """Whether a block is an adapter, a gate or a router of a layer with other feed-forward blocks.

    An expert that all tokens share may be as narrow as those of the mixture.
    """
    if block.is_mixture:
        return False
    is_narrow = block.width <= block.channels
    return any(
        is_narrow and block.channels not in (other.channels, other.width)
        if other.is_mixture
        else other.width > other.channels and (is_narrow or other.path.startswith(block.path + "."))
        for other in others
    )
