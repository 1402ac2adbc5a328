"""The operator ``raft::rational`` and its gradient: one definition, a backend for each device.

``rational`` is what the library calls. It goes past the dispatcher where nothing but autograd or
``torch.func`` looks on, as at small sizes a registered Python operator costs more than the kernel. Under
``torch.compile``, a dispatch mode or a tensor subclass it calls the operator, which gives the same numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from raft.errors import InputError
from raft.kernels import cpu, formula, portable, reference, triton
from raft.kernels.layout import Gradients, empty_output
from raft.kernels.torch_internals import (
    BelowAutograd,
    count_dispatch_modes,
    is_forward_mode,
    is_zero_tensor,
    needs_functorch_rules,
)


class Backend(Protocol):
    """What a backend's module offers: ``x`` of any layout, contiguous coefficients ``[count]`` or ``[groups,
    count]``, float64 for a float64 ``x`` and float32 for any other."""

    def runs_on(self, device_type: str) -> bool:
        """Whether it can run here on tensors of a device."""

    def forward(
        self, x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
    ) -> Tensor:
        """``P(x)/Q(x)``, times ``up``."""

    def backward(
        self,
        grad_output: Tensor,
        x: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        version: str,
        coefficients: bool = True,
        up: Tensor | None = None,
    ) -> Gradients:
        """Gradients of ``x``, the coefficients and ``up``; None for coefficients that are frozen and for an
        ``up`` that is not there."""


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


def rational(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    """``P(x)/Q(x)``, times ``up``, differentiable; arguments as a ``Backend`` takes them."""
    if _needs_dispatcher(x, numerator, denominator, up):
        if torch.onnx.is_in_onnx_export():  # which knows the operators of its standard alone
            return formula.rational(x, numerator, denominator, version, up)
        dispatched: Tensor = torch.ops.raft.rational(x, numerator, denominator, version, up)
        return dispatched
    if needs_functorch_rules():
        transformed: Tensor = Rational.apply(x, numerator, denominator, version, up)
        return transformed
    if is_forward_mode(x, numerator, denominator, up):  # no rule may use it within itself
        return reference.forward(x, numerator, denominator, version, up)
    if torch.is_grad_enabled():
        eager: Tensor = _EagerRational.apply(x, numerator, denominator, version, up)
        return eager
    return _forward(x, numerator, denominator, version, up)


PLAIN = (Tensor, nn.Parameter)


def _needs_dispatcher(x: Tensor, numerator: Tensor, denominator: Tensor, up: Tensor | None) -> bool:
    """Whether a compiler, a dispatch mode or a tensor's own class or kind wants to see the operator."""
    return (
        type(x) not in PLAIN
        or type(numerator) not in PLAIN
        or type(denominator) not in PLAIN
        or torch.compiler.is_compiling()
        or x.is_neg()
        or is_zero_tensor(x)
        or (up is not None and (type(up) not in PLAIN or up.is_neg() or is_zero_tensor(up)))
        or count_dispatch_modes() > 0
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or x.is_meta
    )


def _forward(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    return backend_of(x.device.type).forward(x, numerator, denominator, version, up)


def _backward(
    grad_output: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    coefficients: bool,
    up: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As an operator has to return it: empty tensors for what is not wanted."""
    backend = backend_of(x.device.type)
    grads = backend.backward(grad_output, x, numerator, denominator, version, coefficients, up)
    grad_x, grad_a, grad_b, grad_up = (x.new_empty(0) if grad is None else grad for grad in grads)
    return grad_x, grad_a, grad_b, grad_up


def _gradients(ctx: Any, operation: Callable[..., Any], grad_output: Tensor) -> tuple[Tensor | None, ...]:
    """What an autograd function returns for (x, numerator, denominator, version, up)."""
    x, numerator, denominator, up = ctx.saved_tensors
    wanted = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
    grads = operation(grad_output.resolve_neg(), x, numerator, denominator, ctx.version, wanted, up)
    sums = grads[1:3] if wanted else (None, None)
    return (grads[0], *sums, None, None if up is None else grads[3])


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, numerator, denominator, ctx.version, up = inputs
    ctx.save_for_backward(x, numerator, denominator, up)
    ctx.save_for_forward(x, numerator, denominator, up)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.version, ctx.coefficients, up = inputs
    ctx.save_for_backward(*tensors, up)
    ctx.save_for_forward(*tensors, up)


# The reference as a function of tensors alone, of which ``up`` may be missing; what no kernel computes goes
# through it.


def _value(version: str) -> Callable[..., Tensor]:
    def value(x: Tensor, numerator: Tensor, denominator: Tensor, up: Tensor | None = None) -> Tensor:
        return reference.forward(x, numerator, denominator, version, up)

    return value


def _gradient(version: str, coefficients: bool) -> Callable[..., tuple[Tensor, ...]]:
    def gradient(
        grad_output: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, up: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        grad_x, grad_a, grad_b, grad_up = reference.backward(
            grad_output, x, numerator, denominator, version, up
        )
        last = x.new_empty(0) if grad_up is None else grad_up
        if not coefficients:
            return grad_x, x.new_empty(0), x.new_empty(0), last
        return grad_x, grad_a.to(numerator.dtype), grad_b.to(denominator.dtype), last

    return gradient


def _plain_backward(grad_output: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """The reference as an operation of ``_gradients``."""
    x, numerator, denominator, version, coefficients, up = arguments
    return _gradient(version, coefficients)(grad_output, x, numerator, denominator, up)


def _is_in_memory(tensor: Tensor) -> bool:
    """Whether a kernel can read a tensor: one of ``is_grads_batched=True`` stands for several."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True


def _present(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value for value in values if value is not None)


def _jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    both = [(p, t) for p, t in zip(primals, tangents, strict=True) if p is not None]
    known = tuple(torch.zeros_like(p) if t is None else t for p, t in both)
    return torch.func.jvp(function, _present(primals), known)[1]


def _vjp(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
    pull_back = torch.func.vjp(_gradient(ctx.version, ctx.coefficients), *_present(ctx.saved_tensors))[1]
    *grads, last = pull_back(cotangents)
    return (*grads, last, None, None, None) if len(grads) == 3 else (*grads, None, None, last)


class Rational(torch.autograd.Function):
    """``P(x)/Q(x)``, times ``up``, for autograd and ``torch.func``."""

    @staticmethod
    def forward(x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None) -> Tensor:
        return _forward(x, numerator, denominator, version, up)

    setup_context = staticmethod(_save_forward)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(ctx, RationalBackward.apply, grad_outputs[0])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        *first, _, last = tangents
        return _jvp(_value(ctx.version), ctx.saved_tensors, (*first, last))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        x, numerator, denominator, version, up = inputs
        of_x, of_a, of_b, _, of_up = in_dims
        if of_a is None and of_b is None:
            x, up = (_batched(tensor, dim, info.batch_size) for tensor, dim in ((x, of_x), (up, of_up)))
            return Rational.apply(x, numerator, denominator, version, up), 0
        batched = torch.vmap(_value(version), in_dims=(of_x, of_a, of_b, *([] if up is None else [of_up])))
        return batched(*_present((x, numerator, denominator, up))), 0


def _batched(tensor: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    """With the batch as the first axis, and kept from being one of the channels."""
    if tensor is None:
        return None
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


class _EagerRational(torch.autograd.Function):
    """``Rational`` without ``torch.func``, whose form of ``forward`` takes 30 µs more."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator, up)
        ctx.version = version
        return _forward(x, numerator, denominator, version, up)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if is_forward_mode(grad_outputs[0]) or not _is_in_memory(grad_outputs[0]):
            return _gradients(ctx, _plain_backward, grad_outputs[0])
        if torch.is_grad_enabled():  # with create_graph=True
            return _gradients(ctx, RationalBackward.apply, grad_outputs[0])
        x, numerator, denominator, up = ctx.saved_tensors
        _, of_a, of_b, *_ = ctx.needs_input_grad
        grads = backend_of(x.device.type).backward(
            grad_outputs[0].resolve_neg(), x, numerator, denominator, ctx.version, of_a or of_b, up
        )
        return (*grads[:3], None, grads[3])


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
        up: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return _backward(grad_output, x, numerator, denominator, version, coefficients, up)

    setup_context = staticmethod(_save_backward)
    backward = staticmethod(_vjp)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        *first, _, _, last = tangents
        return _jvp(_gradient(ctx.version, ctx.coefficients), ctx.saved_tensors, (*first, last))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, tuple[int, ...]]:
        # each sample has coefficient gradients of its own, which the kernels would sum
        *tensors, version, coefficients, up = inputs
        dims = (*in_dims[:4], *([] if up is None else [in_dims[6]]))
        return torch.vmap(_gradient(version, coefficients), in_dims=dims)(*_present((*tensors, up))), (0,) * 4


# ---- the operator, for whoever wants to see one

_library = torch.library.Library("raft", "DEF")
_tags = (torch.Tag.pt2_compliant_tag,)
_library.define(
    "rational(Tensor x, Tensor numerator, Tensor denominator, str version, Tensor? up=None) -> Tensor",
    tags=_tags,
)
_library.define(
    "rational_backward(Tensor grad_output, Tensor x, Tensor numerator, Tensor denominator, str version, "
    "bool coefficients, Tensor? up=None) -> (Tensor, Tensor, Tensor, Tensor)",
    tags=_tags,
)
_library.impl("rational", _forward, "CompositeExplicitAutograd")
_library.impl("rational_backward", _backward, "CompositeExplicitAutograd")


def _fake_forward(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    return empty_output(x, numerator)


def _fake_backward(
    grad_output: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    coefficients: bool,
    up: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sums = [torch.empty_like(c) if coefficients else x.new_empty(0) for c in (numerator, denominator)]
    grad_x = empty_output(x, numerator)
    return grad_x, sums[0], sums[1], x.new_empty(0) if up is None else torch.empty_like(grad_x)


def _operator_backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    return _gradients(ctx, torch.ops.raft.rational_backward, grad_output)


class _OperatorRational(torch.autograd.Function):
    """Calls the operators below autograd, where compilers and modes see them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator, up)
        ctx.version = version
        with BelowAutograd():
            y: Tensor = torch.ops.raft.rational(x, numerator, denominator, version, up)
        return y

    backward = staticmethod(_operator_backward)


def _autograd(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    if is_forward_mode(x, numerator, denominator, up):
        return reference.forward(x, numerator, denominator, version, up)
    function = _OperatorRational if _needs_dispatcher(x, numerator, denominator, up) else _EagerRational
    y: Tensor = function.apply(x, numerator, denominator, version, up)
    return y


if BelowAutograd is None:
    torch.library.register_autograd(
        "raft::rational", _operator_backward, setup_context=_save_forward, lib=_library
    )
else:  # by hand: what register_autograd generates takes 50 µs more
    _library.impl("rational", _autograd, "Autograd")
torch.library.register_autograd("raft::rational_backward", _vjp, setup_context=_save_backward, lib=_library)
for _name, _function, _fake in (
    ("raft::rational", Rational, _fake_forward),
    ("raft::rational_backward", RationalBackward, _fake_backward),
):
    torch.library.register_fake(_name, _fake, lib=_library)
    torch.library.register_vmap(_name, _function.vmap, lib=_library)
