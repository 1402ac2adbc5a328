"""The feed-forward blocks of a ``transformers`` model, told by their projections.

A block holds, beside its activation, a projection from d to f channels (or to 2 f, where it is gated) and
one from f back to d; the experts of a mixture hold them as tensors of their own. Two convolutions are such a
block where they widen, with no depthwise convolution between them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Projection(NamedTuple):
    """A linear map or convolution, or those of all experts, whose weights ``module`` holds."""

    inputs: int
    outputs: int
    module: nn.Module
    is_stack: bool = False


class Block(NamedTuple):
    """What a feed-forward block is made of: from ``channels`` to ``width`` and back.

    In a mixture whose experts have no gates, which is which cannot be told.
    """

    channels: int
    width: int
    projections: list[Projection]
    path: str = ""

    @property
    def is_mixture(self) -> bool:
        """Whether it is a stack of experts."""
        return self.projections[0].is_stack


def block_of(parent: nn.Module, above: nn.Module | None) -> Block | None:
    """The feed-forward block whose activation a module holds.

    Args:
        parent: holds the activation, in a layer of a stack.
        above: holds the parent, where it too lies in a layer: the block may be cut in two modules.
    """
    beside = _projections(parent)
    block = _pair(beside)
    if block is not None:
        return None if _reads_more(beside, block) or _is_separable(parent, block) else block
    if above is None or len({projection[:2] for projection in beside}) != 1:
        return None
    # as BERT's, where the way back stands beside the parent
    aunts = [child for child in above.children() if child is not parent]
    back = [projection for aunt in aunts for projection in wrapped_projections(aunt) or _projections(aunt)]
    block = _pair(beside + back, len(beside))
    return None if block is None or _is_separable(above, block) else block


def _pair(projections: list[Projection], first: int | None = None) -> Block | None:
    """A block that leads by one of the ``first`` from d to f or 2 f channels, and by another from f to d."""
    for i, up in enumerate(projections[:first]):
        for width in (up.outputs, up.outputs / 2):
            for j, down in enumerate(projections):
                if i != j and (down.inputs, down.outputs) == (width, up.inputs) and _widens(i, up, j, down):
                    shapes = [(up.inputs, up.outputs), (width, up.inputs)]
                    ours = [each for each in projections if each[:2] in shapes]
                    return Block(up.inputs, int(width), ours)
    return None


def _widens(i: int, up: Projection, j: int, down: Projection) -> bool:
    """Convolutions often narrow and widen again, for instance to weigh channels."""
    is_convolution = isinstance(up.module, CONVOLUTIONS) or isinstance(down.module, CONVOLUTIONS)
    return not is_convolution or (i < j and down.inputs > up.inputs)


def _reads_more(beside: list[Projection], block: Block) -> bool:
    """Whether other projections read the block's input too, as an LSTM's gates do."""
    known = (block.channels, block.width, 2 * block.width)
    return not block.is_mixture and any(
        each.inputs == block.channels and each.outputs not in known for each in beside
    )


def _is_separable(module: nn.Module, block: Block) -> bool:
    """Whether a depthwise convolution stands between the two projections, which makes it a convolution."""
    convolutions = [each for each in module.modules() if isinstance(each, CONVOLUTIONS)]
    is_among_them = any(each in module.children() for each in convolutions) or any(
        isinstance(each.module, CONVOLUTIONS) for each in block.projections
    )
    return is_among_them and any(each.groups == each.in_channels == block.width > 1 for each in convolutions)


def _projections(module: nn.Module) -> list[Projection]:
    """Of the children, of the children of lists among them, and the module's own stacks of experts.

    A stack is ``[experts, outputs, inputs]`` or ``[experts, inputs, outputs]``.
    """
    children = [
        each
        for child in module.children()
        for each in (child.children() if isinstance(child, nn.ModuleList) else [child])
    ]
    found = [projection for child in children for projection in wrapped_projections(child)]
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
    return (forward if _pair(forward) else backward) + found


def wrapped_projections(module: nn.Module) -> list[Projection]:
    """The projection that a module is, or the only one that it holds, with a norm around it for instance."""
    found = inner_projections(module)
    is_own = bool(found) and found[0].module is module
    has_more = not is_own and any(weight.dim() > 1 for weight in module.parameters(recurse=False))
    return found if len(found) == 1 and not has_more else []


def inner_projections(module: nn.Module) -> list[Projection]:
    """All in a module; what a projection is made of, such as an adapter's, is not looked into."""
    own = own_projection(module)
    if own is not None:
        return [own]
    return [projection for child in module.children() for projection in inner_projections(child)]


def own_projection(module: object) -> Projection | None:
    """Of a linear module, whatever its weight looks like: quantised ones have other shapes and names."""
    if isinstance(module, Conv1D):
        return Projection(module.weight.shape[0], module.weight.shape[1], module)
    if isinstance(module, CONVOLUTIONS):
        return Projection(module.in_channels, module.out_channels, module)
    inputs, outputs = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if isinstance(module, nn.Module) and isinstance(inputs, int) and isinstance(outputs, int):
        return Projection(inputs, outputs, module)
    return None


def has_more(module: nn.Module, block: Block) -> bool:
    """Whether a module holds projections beside the block's."""
    ours = {id(projection.module) for projection in block.projections}
    return any(id(projection.module) not in ours for projection in inner_projections(module))


def is_beside(block: Block, others: list[Block]) -> bool:
    """Whether a block is an adapter, a gate or a router beside the layer's feed-forward blocks.

    An expert that all tokens share may be as narrow as the mixture that it stands beside.
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
