"""Count the layers of a model: the stacks that a module lies in, and the number of its layer in them.

Where a stack holds further stacks of layers (stages, as Swin's), its layers are counted on through them.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from raft.hf.sites.feed_forward import Block, holds_more, is_auxiliary

Place = tuple[str, tuple[int, ...]]
"""A stack and the number of a layer in it; several numbers for nested stacks."""


def number_layers(blocks: Mapping[str, tuple[Place, Block]]) -> dict[str, tuple[str, int]]:
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


def locate(modules: dict[str, nn.Module], path: str, block: Block) -> Place:
    """The outermost stack, and the layer's number in it and in nested stacks (stages).

    A nested stack holds layers where each is more than a feed-forward block, which experts are not.
    """
    (outermost, number), *inner = find_stacks(modules, path)
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


def layer_around(
    modules: dict[str, nn.Module], path: str, layers: Mapping[Place, int]
) -> tuple[str, int] | None:
    """The stack and number of the layer in which a module lies; None where that has no number.

    Args:
        modules: of the model, by path.
        path: of the module.
        layers: numbers of the layers that have a feed-forward block.
    """
    stacks = find_stacks(modules, path)
    if not stacks:
        return None
    stack, numbers = stacks[0][0], tuple(number for _, number in stacks)
    depths = {len(place) for of, place in layers if of == stack}
    for depth in sorted(depths):
        if (stack, numbers[:depth]) in layers:
            return stack, layers[stack, numbers[:depth]]
    return None if depths - {1} else (stack, numbers[0])


def find_stacks(modules: dict[str, nn.Module], path: str) -> list[tuple[str, int]]:
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
