"""The private names of torch that the operator uses, and what replaces one that a release drops.

Only private functions say cheaply who observes a call. With each replacement ``dispatch`` takes a slower path
to the same numbers: the registered operator, or the autograd functions with rules for ``torch.func``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

MISSING: list[str] = []
"""Names that this release of torch does not have."""


def _get(owner: Any, name: str) -> Any:
    if not hasattr(owner, name):
        MISSING.append(name)
    return getattr(owner, name, None)


_count_modes: Callable[[], int] | None = _get(torch._C, "_len_torch_dispatch_stack")
_is_functorch_active: Callable[[], bool] | None = _get(torch._C, "_are_functorch_transforms_active")
_is_zero_tensor: Callable[[Tensor], bool] | None = _get(Tensor, "_is_zerotensor")

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


def needs_functorch_rules(*tensors: Tensor | None) -> bool:
    """Whether a call needs the autograd function with rules for ``torch.func``."""
    return not is_forward_mode(*tensors) if _is_functorch_active is None else _is_functorch_active()


# in torch.func the operator has no autograd rules: what is not known is denied there, and assumed elsewhere


def has_dispatch_mode() -> bool:
    """Whether a dispatch mode may want to see the operator."""
    return not needs_functorch_rules() if _count_modes is None else _count_modes() > 0


def is_zero_tensor(tensor: Tensor) -> bool:
    """Whether a tensor may be one of zeros without memory, as autograd makes them for tangents."""
    return not needs_functorch_rules(tensor) if _is_zero_tensor is None else _is_zero_tensor(tensor)
