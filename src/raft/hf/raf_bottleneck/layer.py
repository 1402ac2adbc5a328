"""A projection with bottleneck adapters behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from raft.hf.peft import BOTTLENECKS
from raft.hf.peft_method import AdapterLayer, check_names

PREFIX = "raf_bottleneck_"


class Bottleneck(nn.Module):
    """y ↦ U f(D y), for y of ``[…, C]``; zero at its start.

    Args:
        channels: C.
        r: channels between D and U.
        activation: f.
    """

    def __init__(self, channels: int, r: int, activation: nn.Module) -> None:
        super().__init__()
        self.down = nn.Linear(channels, r)
        self.activation = activation
        self.up = nn.Linear(r, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, y: Tensor) -> Tensor:
        """In the adapter's precision, which PEFT chooses, and back in y's."""
        update: Tensor = self.up(self.activation(self.down(y.to(self.down.weight.dtype))))
        return update.to(y.dtype)


class RafBottleneckLayer(AdapterLayer):
    """The last projection of a feed-forward block, and the bottlenecks of its adapters by name.

    Args:
        base_layer: the projection.
        name: of it in the model.
        in_features: channels of its input.
        out_features: channels of its output, C.
    """

    adapter_layer_names = (BOTTLENECKS,)
    refusal = "bottleneck adapters cannot be merged: what they add is no linear map of a block's input"

    def __init__(self, base_layer: nn.Module, name: str, in_features: int, out_features: int) -> None:
        super().__init__(base_layer, name)
        self.in_features, self.out_features = in_features, out_features

    def forward(
        self, x: Tensor, *args: Any, adapter_names: Sequence[str] | None = None, **kwargs: Any
    ) -> Tensor:
        """The projection and the active bottlenecks, or one for each sample.

        Args:
            x: ``[B, …, inputs]``.
            adapter_names: B names, ``"__base__"`` for none.
        """
        y: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return y
        if adapter_names is not None:
            return self._by_sample(y, adapter_names)
        update = [self.parts[name](y) for name in self.active_adapters if name in self.parts]
        return y + sum(update) if update else y

    def _by_sample(self, y: Tensor, names: Sequence[str]) -> Tensor:
        check_names(names, len(y), self.name)
        total = y.clone()
        for name in set(names) & set(self.parts):
            rows = torch.tensor([row for row, own in enumerate(names) if own == name], device=y.device)
            total[rows] += self.parts[name](y[rows])
        return total
