"""The compiled CPU kernel, ``rational.cpp``, called on data pointers.

It is a plain shared library without torch's or Python's headers, so that one build serves all their versions.
Where it was not built (no compiler at install time) a log line says so, once, and the reference takes over.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raft.kernels.layout import Gradients, empty_output, groups_of

_KINDS = {"A": 0, "B": 1, "C": 1, "D": 1, "N": 2}
_TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_SPECS = {
    (version, dtype): kind << 8 | number << 10 | (version == "C") << 12
    for version, kind in _KINDS.items()
    for dtype, number in _TYPES.items()
}
"""What the kernel is told about a call, but for the degrees; see ``dispatch`` in ``rational.cpp``."""

PARALLEL = 16_384
"""Fewer elements than this are not worth waking threads for."""


NO_MEMORY = "no memory for the sums of the coefficients' gradients"


@cache
def library() -> Any:
    """The shared library, or None where it was not built."""
    files = sorted(Path(__file__).parent.glob("_rational_cpu*.so"))
    if not files:
        logging.getLogger("raft").warning(
            "RAFs run in plain torch on CPUs, many times slower than the compiled kernel, which was not "
            "built at installation: install a C++ compiler, then raft-transformers again"
        )
        return None
    loaded = ctypes.CDLL(str(files[-1]))
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    loaded.raft_rational_forward.argtypes = [pointer] * 6 + [integer] * 3
    loaded.raft_rational_backward.argtypes = [pointer] * 10 + [integer] * 3
    return loaded


def runs_on(device_type: str) -> bool:
    """On CPUs, where the kernel was built."""
    return device_type == "cpu" and library() is not None


def forward(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    """``P(x)/Q(x)``, times ``up``; see ``reference.forward``."""
    y = empty_output(x, numerator)
    (x, up), layout = _laid_out(y, numerator, x, up)
    status = library().raft_rational_forward(
        x.data_ptr(),
        numerator.data_ptr(),
        denominator.data_ptr(),
        None if up is None else up.data_ptr(),
        y.data_ptr(),
        layout,
        *_numbers(x, numerator, denominator, version),
    )
    if status:
        raise MemoryError(NO_MEMORY)
    return y


def backward(
    grad_output: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    version: str,
    coefficients: bool = True,
    up: Tensor | None = None,
) -> Gradients:
    """Gradients; see ``reference.backward``. None for what is not wanted."""
    grad_x = empty_output(x, numerator)
    (x, up, grad_output), layout = _laid_out(grad_x, numerator, x, up, grad_output)
    grad_a = torch.empty_like(numerator) if coefficients else None
    grad_b = torch.empty_like(denominator) if coefficients else None
    grad_up = None if up is None else torch.empty_like(grad_x)
    status = library().raft_rational_backward(
        grad_output.data_ptr(),
        x.data_ptr(),
        numerator.data_ptr(),
        denominator.data_ptr(),
        None if up is None else up.data_ptr(),
        grad_x.data_ptr(),
        None if grad_a is None else grad_a.data_ptr(),
        None if grad_b is None else grad_b.data_ptr(),
        None if grad_up is None else grad_up.data_ptr(),
        layout,
        *_numbers(x, numerator, denominator, version),
    )
    if status:
        raise MemoryError(NO_MEMORY)
    return grad_x, grad_a, grad_b, grad_up


def instruction_set(wanted: int = -1) -> int:
    """0 plain, 1 AVX2, 2 AVX-512: what is in use, after asking for another where the processor has it."""
    chosen: int = library().raft_rational_instruction_set(wanted)
    return chosen


def _numbers(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> tuple[int, int, int]:
    """Elements, what is to be computed, and threads."""
    count = x.numel()
    spec = (numerator.shape[-1] - 1) | denominator.shape[-1] << 4 | _SPECS[version, x.dtype]
    return count, spec, torch.get_num_threads() if count >= PARALLEL else 1


def _laid_out(
    y: Tensor, numerator: Tensor, *inputs: Tensor | None
) -> tuple[Sequence[Any], ctypes.Array[ctypes.c_int64] | None]:
    """The inputs, copied only where their last axis is not contiguous; and how they lie, None for one run.

    The order of the inputs is that of their strides: x, up, grad.
    """
    stride = y.stride()
    if groups_of(numerator) == 1:
        for tensor in inputs:
            if tensor is not None and tensor.stride() != stride:
                break
        else:
            return inputs, None  # one dense run, in whatever order the axes lie
    if not y.is_contiguous():
        return [_lying_as(y, tensor) for tensor in inputs], None
    laid = [tensor if tensor is None or tensor.stride(-1) == 1 else tensor.contiguous() for tensor in inputs]
    if groups_of(numerator) == 1 and all(tensor is None or tensor.stride() == stride for tensor in laid):
        return laid, None  # as after ``sum()``, whose gradient is one number everywhere
    rows = y.dim() - 1
    strides = [step for tensor in laid for step in (stride if tensor is None else tensor.stride())[:rows]]
    numbers = (groups_of(numerator), y.shape[-1], rows, *y.shape[:rows], *strides)
    return laid, (ctypes.c_int64 * len(numbers))(*numbers)


def _lying_as(y: Tensor, tensor: Tensor | None) -> Tensor | None:
    return tensor if tensor is None or tensor.stride() == y.stride() else torch.empty_like(y).copy_(tensor)
