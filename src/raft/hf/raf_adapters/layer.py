"""An activation with adapters: the functions that they add to it, or put in its place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raft.functional import rational, rational_by_sample
from raft.hf.peft import FUNCTIONS
from raft.hf.peft_method import BASE, AdapterLayer, check_names
from raft.modules import Rational, call_apart

PREFIX = "raf_adapter_"


class RafAdapterLayer(AdapterLayer):
    """An activation of a model, and the RAFs of its adapters by name."""

    adapter_layer_names = (FUNCTIONS,)
    refusal = (
        "adapters of RAFs cannot be merged in place: f(x) + P(x)/Q(x) is no fixed activation; "
        "merge_and_unload() gives a model with residual RAFs"
    )

    def forward(self, input: Tensor, adapter_names: Sequence[str] | None = None) -> Tensor:
        """The activation with the active adapters, or with one for each sample.

        Args:
            input: ``[B, …, C]``.
            adapter_names: B names, ``"__base__"`` for none.
        """
        if adapter_names is not None and not self.disable_adapters:
            return self._by_sample(input, adapter_names)
        acts = [] if self.disable_adapters else self._acts(self.active_adapters)
        if len(acts) == 1:
            value: Tensor = acts[0](input)  # with the activation's own value, unless it is replaced
            return value
        if not all(act.is_residual for act in acts):
            raise ValueError(f"{self.name}: adapters with residual=False work one at a time")
        y = call_apart(self.base_layer, input)
        for act in acts:
            y = y + rational(input, *act.coefficients(), act.version)
        return y

    def _acts(self, names: Sequence[str]) -> list[Rational]:
        return [self.parts[name] for name in names if name in self.parts]

    def _by_sample(self, x: Tensor, names: Sequence[str]) -> Tensor:
        check_names(names, len(x), self.name)
        acts = {name: act for name in set(names) - {BASE} for act in self._acts([name])}
        y = call_apart(self.base_layer, x)
        if not acts:
            return y
        if len({(act.degrees, act.version, act.groups, act.is_residual) for act in acts.values()}) > 1:
            raise ValueError("adapters of one batch must have the same degrees, version, groups and residual")
        first = next(iter(acts.values()))
        if not first.is_residual:
            raise ValueError("adapters with residual=False cannot be mixed in a batch")
        numbers = {name: number for number, name in enumerate(acts)}
        # an adapter that has no function here, and the base model, add zero: the last row
        rows = torch.tensor([numbers.get(name, len(acts)) for name in names], device=x.device)
        coefficients = [act.coefficients() for act in acts.values()]
        by_sample = [
            torch.stack([*parts, torch.zeros_like(parts[0])]).to(x.device)[rows]
            for parts in zip(*coefficients, strict=True)
        ]
        return y + rational_by_sample(x, by_sample[0], by_sample[1], first.version)
