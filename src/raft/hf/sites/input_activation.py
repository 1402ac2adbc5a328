"""An activation before projections, by forward hooks: the code of a model knows no place for one there.

The hooks are on the projections, not on the module that holds them, which may use the same tensor otherwise:
BART's layer adds it to what its projections give.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from raft.learned_activation import LearnedActivation, call_for_input
from raft.networks.config import INPUT_SITES


class InputActivation(nn.Module):
    """What projections read instead of their input: an activation of it.

    Projections that read the same tensor, as query, key and value do, get the same value, which is computed
    once in each call of the module that holds them. Where a projection is replaced, by PEFT for instance,
    the activation is before the new one: an adapter reads what the projection reads.

    Args:
        kind: of the site.
        channels: of the last axis of the projections' input; None where channels are another axis.

    Attributes:
        activation: of a tensor to one of its shape; it may be replaced.
    """

    activation: Any

    def __init__(self, kind: str, channels: int | None) -> None:
        super().__init__()
        self.kind = kind
        self.channels = channels
        self.activation = nn.Identity()
        self.is_shared = False
        self._last: tuple[Tensor, int, Tensor] | None = None  # input, its version, and the value

    def attach(self, holder: nn.Module, projections: Iterable[nn.Module]) -> None:
        """Stand before projections, which the ``forward`` of ``holder`` calls; a second call does nothing."""
        projections = list(projections)
        for projection in projections:
            if _hook_of(projection) is None:
                projection.register_forward_pre_hook(self.replace_input)
        if len(projections) > 1 and not self.is_shared:
            self.is_shared = True
            holder.register_forward_hook(self.forget, always_call=True)

    def detach(self, model: nn.Module) -> None:
        """Remove all hooks from the modules of a model."""
        for module in model.modules():
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key, hook in list(hooks.items()):
                    if getattr(hook, "__self__", None) is self:
                        del hooks[key]
                        module._forward_hooks_always_called.pop(key, None)

    def forward(self, x: Tensor) -> Tensor:
        """The activation of ``x``, of its shape and dtype."""
        act = self.activation
        # DataParallel's replicas of the projections call the original
        y: Tensor = call_for_input(act, x) if isinstance(act, LearnedActivation) else act(x)
        return y

    def replace_input(self, projection: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Forward pre-hook of the projections."""
        if isinstance(self.activation, nn.Identity):
            return None
        return self._value(args[0]), *args[1:]

    def forget(self, holder: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the module that holds them: a kept value would keep the graph that made it."""
        self._last = None

    def _value(self, x: Tensor) -> Tensor:
        # compilers and inference tensors do not tell whether a tensor was changed in place
        is_plain = isinstance(x, Tensor) and not torch.compiler.is_compiling() and not x.is_inference()
        if not self.is_shared or not is_plain:
            y: Tensor = self(x)
            return y
        last = self._last  # read once: another thread may replace it
        if last is None or last[0] is not x or last[1] != x._version:
            self._last = last = x, x._version, self(x)
        return last[2]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}  # tensors of a graph cannot be copied


def input_kind(site: str) -> str | None:
    """The kind of a site before projections, by its name; None for a name of another site."""
    holder, _, attribute = site.rpartition(".")
    kind = holder.rpartition(".")[2]
    return kind if attribute == "activation" and kind in INPUT_SITES else None


def _hook_of(module: nn.Module) -> tuple[int, InputActivation] | None:
    """The key of the pre-hook, and the activation that stands before a projection."""
    for key, hook in module._forward_pre_hooks.items():
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, InputActivation):
            return key, owner
    return None


def _follow_projection(parent: nn.Module, name: str, new: nn.Module | None) -> None:
    """Move the hook from a projection to the module that is put in its place.

    A wrapper may hold the projection, or copies of it, which must not apply the activation once more.
    """
    old = parent._modules.get(name)
    hook = _hook_of(old) if old is not None and old._forward_pre_hooks else None
    if old is None or new is None or new is old or hook is None:
        return
    for module in (old, *new.modules()):
        inner = _hook_of(module)
        if inner is not None:
            del module._forward_pre_hooks[inner[0]]
    new.register_forward_pre_hook(hook[1].replace_input)


register_module_module_registration_hook(_follow_projection)
