"""The product in gated feed-forward layers, in one pass where their activation is a RAF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from raft.functional import rational_glu
from raft.kernels.torch_internals import has_hooks
from raft.learned_activation import owner_of
from raft.modules import Rational


def gated_product(activation: Callable[..., Any], gate: Tensor, up: Tensor) -> Tensor:
    """``activation(gate) * up``, which :func:`raft.rational_glu` computes where the activation is a RAF.

    The activation stays a module of its layer, to be replaced, read and recorded as any other: it is called
    where anyone hooks into its calls, and where it is anything but a plain :class:`raft.Rational` (a residual
    one, say, or one that draws noise).

    Args:
        activation: a module or function.
        gate: ``[…, f]``.
        up: ``[…, f]``.

    Returns:
        ``[…, f]``.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020, section 2.
    """
    shared = owner_of(activation)
    if type(shared) is Rational and _can_be_fused(shared, gate, up) and not _is_observed(activation, shared):
        return rational_glu(gate, up, *shared.coefficients(), shared.version)
    product: Tensor = activation(gate) * up
    return product


def _can_be_fused(raf: Rational, gate: Tensor, up: Tensor) -> bool:
    """Whether one pass computes the same: on plain tensors, without the noise of a training."""
    return (
        isinstance(gate, Tensor)  # torch.fx traces with others
        and gate.dtype == up.dtype
        and gate.device == raf.numerator.device
        and raf.dim == -1
        and not (raf.version == "D" and raf.training)
    )


def _is_observed(*modules: Any) -> bool:
    """Whether a call of a module does more than its class's ``forward``: offloading replaces that of one."""
    return any(has_hooks(module) or "forward" in module.__dict__ for module in modules)
