"""The operator ``raft::rational`` and its gradient: one definition, a backend for each device.

``rational`` is what the library calls. It goes past the dispatcher where nothing but autograd or
``torch.func`` looks on, as at small sizes a registered Python operator costs more than the kernel. Under
``torch.compile``, a dispatch mode or a tensor subclass it calls the operator, which gives the same numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from raft.errors import InputError
from raft.kernels import cpu, formula, portable, reference, triton
from raft.kernels.layout import empty_output


class Backend(Protocol):
    """What a backend's module offers: ``x`` of any layout, contiguous coefficients ``[count]`` or ``[groups,
    count]``, float64 for a float64 ``x`` and float32 for any other."""

    def runs_on(self, device_type: str) -> bool:
        """Whether it can run here on tensors of a device."""

    def forward(self, x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
        """``P(x)/Q(x)``."""

    def backward(
        self,
        grad_output: Tensor,
        x: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        version: str,
        coefficients: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of all three; empty tensors for the coefficients where they are not wanted."""


BACKENDS = {
    "cpu": cast(Backend, cpu),
    "triton": cast(Backend, triton),
    "reference": cast(Backend, portable),
}
"""The fastest first."""

_chosen: dict[str, Backend] = {}


def backend_of(device_type: str) -> Backend:
    """The backend for a device: the one that ``RAFT_KERNEL`` names, else the fastest that is available.

    Raises:
        InputError: where ``RAFT_KERNEL`` names none, or one that cannot run there.
    """
    if device_type not in _chosen:
        wanted = os.environ.get("RAFT_KERNEL")
        if wanted is not None and wanted not in BACKENDS:
            raise InputError(f"RAFT_KERNEL must be one of {', '.join(BACKENDS)}, not {wanted!r}")
        able = [backend for name, backend in BACKENDS.items() if wanted in (None, name)]
        able = [backend for backend in able if backend.runs_on(device_type)]
        if not able:
            raise InputError(f"RAFT_KERNEL={wanted} cannot run on {device_type}; unset it")
        _chosen[device_type] = able[0]
    return _chosen[device_type]


def rational(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
    """``P(x)/Q(x)``, differentiable; arguments as a ``Backend`` takes them."""
    if _is_watched(x):
        if torch.onnx.is_in_onnx_export():  # which knows the operators of its standard alone
            return formula.rational(x, numerator, denominator, version)
        found: Tensor = torch.ops.raft.rational(x, numerator, denominator, version)
        return found
    if torch._C._are_functorch_transforms_active():
        transformed: Tensor = Rational.apply(x, numerator, denominator, version)
        return transformed
    if torch.is_grad_enabled():
        eager: Tensor = _EagerRational.apply(x, numerator, denominator, version)
        return eager
    return _forward(x, numerator, denominator, version)


def _is_watched(x: Tensor) -> bool:
    """Whether a compiler, a dispatch mode or a tensor's own class wants to see the operator."""
    return (
        type(x) not in (Tensor, nn.Parameter)
        or torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
        or x.is_meta
    )


def _forward(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
    return backend_of(x.device.type).forward(x, numerator, denominator, version)


def _backward(
    grad_output: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, version: str, coefficients: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return backend_of(x.device.type).backward(grad_output, x, numerator, denominator, version, coefficients)


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, numerator, denominator, ctx.version = inputs
    ctx.save_for_backward(x, numerator, denominator)
    ctx.save_for_forward(x, numerator, denominator)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.version, ctx.coefficients = inputs
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _value(version: str) -> Callable[..., Any]:
    """The reference as a function of tensors alone; what no kernel computes goes through it."""
    return lambda x, numerator, denominator: reference.forward(x, numerator, denominator, version)


def _gradient(version: str, coefficients: bool) -> Callable[..., Any]:
    def gradient(
        grad_output: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor
    ) -> tuple[Tensor, ...]:
        grad_x, grad_a, grad_b = reference.backward(grad_output, x, numerator, denominator, version)
        if not coefficients:
            return grad_x, numerator.new_empty(0), denominator.new_empty(0)
        return grad_x, grad_a.to(numerator.dtype), grad_b.to(denominator.dtype)

    return gradient


def _jvp(
    function: Callable[..., Any], primals: tuple[Tensor, ...], tangents: tuple[Tensor | None, ...]
) -> Any:
    known = [torch.zeros_like(p) if t is None else t for p, t in zip(primals, tangents, strict=True)]
    return torch.func.jvp(function, primals, tuple(known))[1]


def _vjp(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
    pull_back = torch.func.vjp(_gradient(ctx.version, ctx.coefficients), *ctx.saved_tensors)[1]
    return (*pull_back(cotangents), None, None)


class Rational(torch.autograd.Function):
    """``P(x)/Q(x)`` for autograd and ``torch.func``."""

    @staticmethod
    def forward(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
        return _forward(x, numerator, denominator, version)

    setup_context = staticmethod(_save_forward)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, numerator, denominator = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        # with create_graph=True, and in torch.func, the gradient itself may be differentiated
        through = RationalBackward.apply if torch.is_grad_enabled() else _backward
        grads = through(grad_outputs[0], x, numerator, denominator, ctx.version, wanted)
        return (*grads, None) if wanted else (grads[0], None, None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _jvp(_value(ctx.version), ctx.saved_tensors, tangents[:3])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        x, numerator, denominator, version = inputs
        if in_dims[0] is not None and in_dims[1] is None and in_dims[2] is None:
            return Rational.apply(x.movedim(in_dims[0], 0), numerator, denominator, version), 0
        each = torch.vmap(_value(version), in_dims=in_dims[:3])
        return each(x, numerator, denominator), 0


class _EagerRational(torch.autograd.Function):
    """``Rational`` without ``torch.func``, whose form of ``forward`` takes 30 µs more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator)
        ctx.version = version
        return _forward(x, numerator, denominator, version)

    backward = staticmethod(Rational.backward)


class RationalBackward(torch.autograd.Function):
    """The gradient of ``Rational``, differentiable in its turn."""

    @staticmethod
    def forward(
        grad_output: Tensor,
        x: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        version: str,
        coefficients: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return _backward(grad_output, x, numerator, denominator, version, coefficients)

    setup_context = staticmethod(_save_backward)
    backward = staticmethod(_vjp)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _jvp(_gradient(ctx.version, ctx.coefficients), ctx.saved_tensors, tangents[:4])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, tuple[int, int, int]]:
        # each sample has coefficient gradients of its own, which the kernels would sum
        *tensors, version, coefficients = inputs
        return torch.vmap(_gradient(version, coefficients), in_dims=in_dims[:4])(*tensors), (0, 0, 0)


# ---- the operator, for whoever wants to see one

_library = torch.library.Library("raft", "DEF")
_tags = (torch.Tag.pt2_compliant_tag,)
_library.define("rational(Tensor x, Tensor numerator, Tensor denominator, str version) -> Tensor", tags=_tags)
_library.define(
    "rational_backward(Tensor grad_output, Tensor x, Tensor numerator, Tensor denominator, str version, "
    "bool coefficients) -> (Tensor, Tensor, Tensor)",
    tags=_tags,
)
_library.impl("rational", _forward, "CompositeExplicitAutograd")
_library.impl("rational_backward", _backward, "CompositeExplicitAutograd")


def _fake_forward(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
    return empty_output(x, numerator)


def _fake_backward(
    grad_output: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, version: str, coefficients: bool
) -> tuple[Tensor, Tensor, Tensor]:
    sums = [torch.empty_like(c) if coefficients else c.new_empty(0) for c in (numerator, denominator)]
    return empty_output(x, numerator), sums[0], sums[1]


class _OperatorRational(torch.autograd.Function):
    """Calls the operators below autograd, where compilers and modes see them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator)
        ctx.version = version
        with torch._C._AutoDispatchBelowAutograd():
            found: Tensor = torch.ops.raft.rational(x, numerator, denominator, version)
        return found

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        grads = torch.ops.raft.rational_backward(grad_outputs[0], *ctx.saved_tensors, ctx.version, wanted)
        return (*grads, None) if wanted else (grads[0], None, None, None)


def _autograd(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
    function = _OperatorRational if _is_watched(x) else _EagerRational
    found: Tensor = function.apply(x, numerator, denominator, version)
    return found


# registered by hand: what torch.library.register_autograd generates takes 50 µs more
_library.impl("rational", _autograd, "Autograd")
torch.library.register_autograd("raft::rational_backward", _vjp, setup_context=_save_backward, lib=_library)
for _name, _function, _fake in (
    ("raft::rational", Rational, _fake_forward),
    ("raft::rational_backward", RationalBackward, _fake_backward),
):
    torch.library.register_fake(_name, _fake, lib=_library)
    torch.library.register_vmap(_name, _function.vmap, lib=_library)
