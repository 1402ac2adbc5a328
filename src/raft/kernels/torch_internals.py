"""The private names of torch that the operator uses, and what replaces one that a release drops.

Only private functions say cheaply who observes a call. With each replacement ``dispatch`` takes a slower path
to the same numbers: the registered operator, or the autograd functions with rules for ``torch.func``. So do
gated layers: the activation, and then the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

MISSING: list[str] = []
"""Names that this release of torch does not have."""


def _get(owner: Any, name: str) -> Any:
    if not hasattr(owner, name):
        MISSING.append(name)
    return getattr(owner, name, None)


BelowAutograd: Any = _get(torch._C, "_AutoDispatchBelowAutograd")
"""Context in which the dispatcher skips autograd; None leaves that to ``torch.library.register_autograd``."""

if _get(forward_ad, "_current_level") is not None:

    def is_forward_mode(*tensors: Tensor | None) -> bool:
        """Whether forward-mode differentiation is active."""
        return forward_ad._current_level >= 0

else:

    def is_forward_mode(*tensors: Tensor | None) -> bool:
        """Whether one of the tensors has a tangent."""
        return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


needs_functorch_rules: Callable[[], bool] = _get(torch._C, "_are_functorch_transforms_active") or (
    lambda: not is_forward_mode()
)
"""Whether a call needs the autograd function with rules for ``torch.func``."""

# in torch.func the operator has no autograd rules: what is not known is denied there, and assumed elsewhere

count_dispatch_modes: Callable[[], int] = _get(torch._C, "_len_torch_dispatch_stack") or (
    lambda: int(not needs_functorch_rules())
)
"""How many dispatch modes want to see the operator."""

is_zero_tensor: Callable[[Tensor], bool] = _get(Tensor, "_is_zerotensor") or (
    lambda tensor: not needs_functorch_rules()
)
"""Whether a tensor may be one of zeros without memory, as autograd makes them for tangents."""

_has_global_hooks: Callable[[], bool] = _get(nn.modules.module, "_has_any_global_hook") or (lambda: True)


def has_hooks(module: nn.Module) -> bool:
    """Whether hooks see the calls of a module; assumed where it is not known."""
    return bool(
        _has_global_hooks()
        or getattr(module, "_forward_hooks", True)
        or getattr(module, "_forward_pre_hooks", True)
        or getattr(module, "_backward_hooks", True)
        or getattr(module, "_backward_pre_hooks", True)
    )
