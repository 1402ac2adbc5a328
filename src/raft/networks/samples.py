"""Sample the inputs that activations get, over which fits have to be good."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

MAX_SAMPLES = 200_000
"""Inputs kept of each site, drawn uniformly from all that it gets; the extremes are kept besides."""


@dataclass
class InputSample:
    """A uniform sample of the inputs of one site.

    Attributes:
        low: the smallest input.
        high: the largest.
        count: how many there were.
        shapes: of the tensors that they came in.
    """

    low: float = float("inf")
    high: float = float("-inf")
    count: int = 0
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    _kept: list[Tensor] = field(default_factory=list)
    _share: float = 1.0
    _generator: torch.Generator = field(default_factory=lambda: torch.Generator("cpu").manual_seed(0))

    def add(self, values: Tensor) -> None:
        """Take in values of any shape; those that are not finite are left out."""
        self.shapes.add(tuple(values.shape))
        values = values.detach().flatten()
        values = values[torch.isfinite(values)]
        if not values.numel():
            return
        self.low, self.high = min(self.low, values.min().item()), max(self.high, values.max().item())
        self.count += values.numel()
        self._kept.append(self._draw(values.to("cpu", torch.float32), self._share))
        while sum(kept.numel() for kept in self._kept) > MAX_SAMPLES:
            self._share /= 2
            self._kept = [self._draw(torch.cat(self._kept), 0.5)]

    def _draw(self, values: Tensor, share: float) -> Tensor:
        if share == 1:
            return values
        return values[torch.rand(values.shape, generator=self._generator, device="cpu") < share]

    def values(self) -> Tensor:
        """The sample with both extremes, ``[samples]`` in float32."""
        return torch.cat([*self._kept, torch.tensor([self.low, self.high], device="cpu")])


def pool(samples: Iterable[InputSample]) -> Tensor | None:
    """All samples as one; None where there are none, or each holds a single value."""
    spread = [sample.values() for sample in samples if sample.low < sample.high]
    return torch.cat(spread) if spread else None


class Call(nn.Module):
    """Calls the activation of one site: functions take no hooks, and sites may share one activation."""

    def __init__(self, activation: Callable[..., Any]) -> None:
        super().__init__()
        self.activation = (activation,)  # in a tuple, so that it is not registered

    def forward(self, input: Tensor) -> Any:
        return self.activation[0](input)
