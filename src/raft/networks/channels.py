"""Which axis holds the channels at an activation: that of the layers beside it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from raft.networks.sites import NetworkSite

AXES: tuple[tuple[type[nn.Module], int], ...] = (
    (nn.Linear, -1),
    (nn.Conv1d, -2), (nn.ConvTranspose1d, -2),
    (nn.Conv2d, -3), (nn.ConvTranspose2d, -3), (nn.BatchNorm2d, -3),
    (nn.Conv3d, -4), (nn.ConvTranspose3d, -4), (nn.BatchNorm3d, -4),
)  # fmt: skip
"""Axes of the channels, counted from the end, so that inputs without a batch have them there, too."""


def channel_axis(network: nn.Module, site: NetworkSite) -> int:
    """The axis of the channels at a site.

    In an ``nn.Sequential`` it is that of the nearest layer before the site; elsewhere that of the layers in
    the same module, or in the nearest one around it that has some.

    Raises:
        ValueError: where layers of several kinds are there, or none.
    """
    modules = dict(network.named_modules())
    path = site.name.rpartition(".")[0]
    parent, attribute = site.parent, site.attribute
    while True:
        children = list(parent._modules.items())
        places = [key for key, _ in children]
        if isinstance(parent, nn.Sequential) and attribute in places:  # and not called in code of its own
            before = [child for _, child in children[: places.index(attribute)]]
            axes = next((found for child in reversed(before) if (found := _axes_within(child))), set())
        else:
            axes = {axis for _, child in children if child is not None for axis in _own_axis(child)}
        if len(axes) == 1:
            return axes.pop()
        if axes or not path:
            reason = "has layers of several kinds beside it" if axes else "has no layer beside it"
            raise ValueError(
                f"which axis holds the channels at {site.name} cannot be told, as it {reason}: name "
                "it with dim=…, give groups=1, or leave the site out with sites=…"
            )
        path, _, attribute = path.rpartition(".")
        parent = modules[path]


def check_groups(site: NetworkSite, groups: int, axis: int, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise ``ValueError`` where groups do not divide the channels that a site was seen to get."""
    for shape in shapes:
        if not -len(shape) <= axis < len(shape) or shape[axis] % groups:
            raise ValueError(
                f"{site.name} gets tensors of the shape {list(shape)}, whose axis {axis} cannot be cut into "
                f"{groups} groups: give other groups, or leave it out with sites=…"
            )


def _axes_within(module: nn.Module | None) -> set[int]:
    """The axis of the last layer of a module that has one."""
    last: set[int] = set()
    for part in module.modules() if module is not None else ():
        last = _own_axis(part) or last
    return last


def _own_axis(module: nn.Module) -> set[int]:
    return {axis for kind, axis in AXES if isinstance(module, kind)}
