"""The rational function and its gradient on GPUs, in Triton.

With B = \\|x\\| in version A and B = x elsewhere::

    y = P / Q     dy/dx = (P' - y Q') / Q     dy/da_k = x^k / Q     dy/db_k = -y (dQ/db_k) / Q

A program computes one tile of one group. It sums its coefficient gradients in registers and writes them to
its own place in a table; torch adds the table's rows, in an order that depends on its shape alone: there are
no atomics, and a repeated call gives the same bits. Only the input is kept for the backward pass. A tile that
holds an input whose powers could overflow computes those elements again in 1/x and in float64, see
``reference.py``. In the gated form y is multiplied by ``up``, and the incoming gradient with it.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from raft.kernels.layout import Gradients, empty_output, groups_of
from raft.kernels.reference import CONSTANT_TERM

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton's interpreter runs the kernels on CPU tensors, for tests."""

if (torch.version.cuda or torch.version.hip or INTERPRETED) and find_spec("triton") is not None:
    triton: Any = import_module("triton")
    tl: Any = import_module("triton.language")
    jit: Any = triton.jit
else:  # this file can be read everywhere
    triton, tl, jit = None, None, lambda function: function

BLOCK = 1024
WARPS = 4
KINDS = {"A": 0, "B": 1, "C": 1, "D": 1, "N": 2}
"""0: absolute value of each term, 1: of their sum, 2: of neither."""


@jit
def _horner(c, x, DEGREE: tl.constexpr):
    """sum_k c_k x^k for k = 0 ... DEGREE, ``c`` a pointer."""
    value = tl.load(c + DEGREE).to(x.dtype) + tl.zeros_like(x)
    for i in tl.static_range(DEGREE):
        value = value * x + tl.load(c + (DEGREE - 1 - i)).to(x.dtype)
    return value


@jit
def _slope(c, x, DEGREE: tl.constexpr):
    """The derivative of ``_horner``."""
    value = tl.zeros_like(x)
    for i in tl.static_range(DEGREE):
        value = value * x + (DEGREE - i) * tl.load(c + (DEGREE - i)).to(x.dtype)
    return value


@jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(x.dtype)


@jit
def _denominator(b, x, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr):
    """Sign and derivative of the sum in Q, with |b_k| and |x| where each term is absolute; and Q."""
    base = tl.abs(x) if KIND == 0 else x
    slope = tl.zeros_like(x)
    # where the terms may cancel each other, their sum needs more digits than it keeps
    wide = base.to(tl.float64) if KIND == 1 else base
    total = tl.zeros_like(wide)
    for i in tl.static_range(N):
        coefficient = tl.load(b + (N - 1 - i))
        coefficient = tl.abs(coefficient) if KIND == 0 else coefficient
        slope = slope * base + (N - i) * coefficient.to(x.dtype)
        total = (total + coefficient.to(wide.dtype)) * wide
    sign = _sign(total)  # before it can underflow
    total = total.to(x.dtype)
    q = (tl.abs(total) if KIND == 1 else total) + CONSTANT
    return sign.to(x.dtype), slope, q


@jit
def _powers(x, base, i, j, MOST: tl.constexpr):
    """x^i base^j without either power alone, |i + j| <= MOST; base is x or |x|."""
    exponent = i + j
    value = tl.where((x < 0) & (base > 0) & (i % 2 != 0), -1.0, 1.0).to(x.dtype)
    for k in tl.static_range(MOST):
        value = tl.where(k < exponent, value * base, value)
        value = tl.where(k < -exponent, value / base, value)
    return value


@jit
def _degree(c, FIRST: tl.constexpr, LAST: tl.constexpr):
    """The highest power, FIRST ... LAST, whose coefficient is not zero, or 0."""
    degree = 0
    for k in tl.static_range(FIRST, LAST + 1):
        degree = tl.where(tl.load(c + (k - FIRST)) != 0, k, degree)
    return degree


@jit
def _far_fraction(x, a, b, M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr):
    """P/x^m, P'/x^(m-1), Q/B^n, the derivative of the sum in Q over B^n/x, its sign, B, m and n."""
    m = _degree(a, 0, M)
    n = _degree(b, 1, N)
    base = tl.abs(x) if KIND == 0 else x
    z = 1.0 / x
    w = 1.0 / base
    p = tl.zeros_like(x)
    p_slope = tl.zeros_like(x)
    for k in tl.static_range(M + 1):
        coefficient = tl.load(a + k).to(tl.float64)
        p = tl.where(k <= m, p * z + coefficient, p)
        p_slope = tl.where(k <= m, p_slope * z + k * coefficient, p_slope)
    total = tl.zeros_like(x)
    slope = tl.zeros_like(x)
    constant = tl.zeros_like(x) + CONSTANT
    for k in tl.static_range(1, N + 1):
        coefficient = tl.load(b + (k - 1)).to(tl.float64)
        coefficient = tl.abs(coefficient) if KIND == 0 else coefficient
        total = tl.where(k <= n, total * w + coefficient, total)
        slope = tl.where(k <= n, slope * w + k * coefficient, slope)
        constant = tl.where(k <= n, constant * w, constant)
    sign = tl.zeros_like(x) + 1.0
    if KIND == 1:
        is_negative = (w < 0) & (n % 2 != 0)
        sign = tl.where(is_negative, -_sign(total), _sign(total))
    return p, p_slope, constant + sign * total, sign * slope, sign, base, m, n


@jit
def _tile(
    rows, channels, length, x_stride, up_stride, grad_stride, row_blocks,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Group; offsets into x, up, grad and outputs, and which of them are inside, ``[ROWS, COLUMNS]``."""
    columns = tl.cdiv(length, COLUMNS)
    program = tl.program_id(0).to(tl.int64)
    column = (program % columns) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    row = (program // columns % row_blocks) * ROWS + tl.arange(0, ROWS)[:, None]
    group = program // columns // row_blocks
    inside = (row < rows) & (column < length)
    channel = group * length + column
    x_at, up_at, grad_at = row * x_stride + channel, row * up_stride + channel, row * grad_stride + channel
    return group, x_at, up_at, grad_at, row * channels + channel, inside


@jit
def _forward(
    x_ptr, up_ptr, a_ptr, b_ptr, y_ptr, rows, channels, length, x_stride, up_stride, row_blocks, limit,
    M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    group, x_at, up_at, _, y_at, inside = _tile(
        rows, channels, length, x_stride, up_stride, 0, row_blocks, ROWS, COLUMNS
    )
    a, b = a_ptr + group * (M + 1), b_ptr + group * N
    x = tl.load(x_ptr + x_at, mask=inside, other=0.0).to(tl.float64 if WIDE else tl.float32)
    _, _, q = _denominator(b, x, N, KIND, CONSTANT)
    y = _horner(a, x, M) / q
    far = tl.abs(x) > limit
    if tl.max(far.to(tl.int32)) > 0:
        x_far = tl.where(far, x, 2.0).to(tl.float64)
        p, _, q_far, _, _, base, m, n = _far_fraction(x_far, a, b, M, N, KIND, CONSTANT)
        y = tl.where(far, (p / q_far * _powers(x_far, base, m, -n, M + N)).to(x.dtype), y)
    if GATED:
        y = y * tl.load(up_ptr + up_at, mask=inside, other=0.0).to(x.dtype)
    tl.store(y_ptr + y_at, y.to(y_ptr.dtype.element_ty), mask=inside)


@jit
def _backward(
    x_ptr, up_ptr, grad_ptr, a_ptr, b_ptr, grad_x_ptr, grad_up_ptr, table_ptr,
    rows, channels, length, x_stride, up_stride, grad_stride, row_blocks, limit,
    M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr, GATED: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    """``table``: ``[programs, 2, M + 1 + N]``, sums over near and over far elements."""
    group, x_at, up_at, grad_at, out_at, inside = _tile(
        rows, channels, length, x_stride, up_stride, grad_stride, row_blocks, ROWS, COLUMNS
    )
    a, b = a_ptr + group * (M + 1), b_ptr + group * N
    given = tl.load(x_ptr + x_at, mask=inside, other=0.0).to(tl.float64 if WIDE else tl.float32)
    grad = tl.load(grad_ptr + grad_at, mask=inside, other=0.0).to(given.dtype)
    grad_up = grad
    if GATED:
        grad = grad * tl.load(up_ptr + up_at, mask=inside, other=0.0).to(given.dtype)
    far = tl.abs(given) > limit
    x = tl.where(far, 0.0, given)
    g = tl.where(far, 0.0, grad)

    sign_of_sum, q_slope, q = _denominator(b, x, N, KIND, CONSTANT)
    reciprocal = 1.0 / q
    y = _horner(a, x, M) * reciprocal
    if KIND == 0:  # at a kink Q' is the mean of both sides
        q_slope = q_slope * _sign(x)
    if KIND == 1:
        q_slope = q_slope * sign_of_sum
    power = g * reciprocal
    grad_x = power * (_slope(a, x, M) - y * q_slope)

    table = table_ptr + tl.program_id(0).to(tl.int64) * (2 * (M + 1 + N))
    if SUMS:
        h = -y
        if KIND == 1:  # at a kink of the sum from above
            h = tl.where(sign_of_sum < 0, y, -y)
        tl.store(table, tl.sum(power))
        for k in tl.static_range(1, (M if M > N else N) + 1):
            power = power * x
            if k <= M:
                tl.store(table + k, tl.sum(power))
            if k <= N:
                term = h * power
                if KIND == 0 and k % 2 == 1:
                    term = tl.where(x < 0, -term, term)
                tl.store(table + (M + k), tl.sum(term))

    if tl.max(far.to(tl.int32)) > 0:
        x_far = tl.where(far, given, 2.0).to(tl.float64)
        g_far = tl.where(far, grad, 0.0).to(tl.float64)
        p, p_slope, q_far, slope, sign, base, m, n = _far_fraction(x_far, a, b, M, N, KIND, CONSTANT)
        if GATED:
            y = tl.where(far, (p / q_far * _powers(x_far, base, m, -n, M + N)).to(y.dtype), y)
        slope = (p_slope - p / q_far * slope) / q_far * _powers(x_far, base, m - 1, -n, M + N + 1)
        grad_x = tl.where(far, (g_far * slope).to(grad_x.dtype), grad_x)
        if SUMS:
            for k in tl.static_range(M + 1):
                term = tl.where(far, g_far / q_far * _powers(x_far, base, k, -n, M + N), 0.0)
                tl.store(table + (M + 1 + N + k), tl.sum(term).to(given.dtype))
            for k in tl.static_range(1, N + 1):
                scale = _powers(x_far, base, m, k - 2 * n, M + 2 * N)
                term = tl.where(far, -g_far * tl.where(sign < 0, -1.0, 1.0) * p / q_far / q_far * scale, 0.0)
                tl.store(table + (M + 1 + N + M + k), tl.sum(term).to(given.dtype))
    elif SUMS:
        for k in tl.static_range(M + 1 + N):
            tl.store(table + (M + 1 + N + k), 0.0)
    tl.store(grad_x_ptr + out_at, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)
    if GATED:
        tl.store(grad_up_ptr + out_at, (grad_up * y).to(grad_up_ptr.dtype.element_ty), mask=inside)


def runs_on(device_type: str) -> bool:
    """On GPUs where Triton is installed; it comes with torch there."""
    return triton is not None and (device_type == "cuda" or (INTERPRETED and device_type == "cpu"))


def forward(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    """``P(x)/Q(x)``, times ``up``; see ``reference.forward``."""
    y = empty_output(x, numerator)
    tiling = _Tiling(y, numerator, denominator, version, x, x if up is None else up)
    if tiling.programs:
        arguments = (*tiling.inputs, numerator, denominator, y, *tiling.numbers)
        with _on(x.device):
            _forward[(tiling.programs,)](
                *arguments, **tiling.constants, GATED=up is not None, num_warps=WARPS
            )
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
    grad_up = None if up is None else torch.empty_like(grad_x)
    tiling = _Tiling(grad_x, numerator, denominator, version, x, x if up is None else up, grad_output)
    counts = [numerator.shape[-1], denominator.shape[-1]]
    table = numerator.new_empty(tiling.programs if coefficients else 0, 2, sum(counts))
    if tiling.programs:
        outputs = (grad_x, grad_x if grad_up is None else grad_up, table)
        arguments = (*tiling.inputs, numerator, denominator, *outputs, *tiling.numbers)
        with _on(x.device):
            _backward[(tiling.programs,)](
                *arguments, **tiling.constants, GATED=up is not None, SUMS=coefficients, num_warps=WARPS
            )
    if not coefficients:
        return grad_x, None, None, grad_up
    rows = table.view(tiling.groups, tiling.programs // tiling.groups * 2, sum(counts))
    sums = rows.sum(dim=1, dtype=torch.float64).split(counts, dim=-1)
    # copies: an operator's outputs may not share memory
    grad_a, grad_b = (
        each.to(numerator.dtype, copy=True, memory_format=torch.contiguous_format) for each in sums
    )
    if version == "A":
        grad_b = torch.where(denominator.reshape(grad_b.shape) < 0, -grad_b, grad_b)
    return grad_x, grad_a.reshape(numerator.shape), grad_b.reshape(denominator.shape), grad_up


class _Tiling:
    """How a call is cut into programs, and what they are told; ``inputs`` are x, up and grad."""

    def __init__(
        self, y: Tensor, numerator: Tensor, denominator: Tensor, version: str, *inputs: Tensor
    ) -> None:
        self.groups = groups_of(numerator)
        self.inputs: tuple[Tensor, ...] = inputs
        strides = [_row_stride(tensor) for tensor in inputs]
        is_flat = self.groups == 1 and all(tensor.stride() == y.stride() for tensor in inputs)
        if not is_flat and (None in strides or not y.is_contiguous()):
            self.inputs = tuple(torch.empty_like(y).copy_(tensor) for tensor in inputs)
            is_flat, strides = self.groups == 1, [_row_stride(tensor) for tensor in self.inputs]
        channels = y.numel() if is_flat else y.shape[-1]
        rows = y.numel() // channels if channels else 0
        length = channels // self.groups
        columns = min(BLOCK, triton.next_power_of_2(max(length, 1)))
        row_blocks = triton.cdiv(rows, BLOCK // columns)
        self.programs = self.groups * row_blocks * triton.cdiv(length, columns)

        m, n = numerator.shape[-1] - 1, denominator.shape[-1]
        is_wide = y.dtype == torch.float64
        # up to here no power passes 2^60 (2^500): products of two and the reciprocal of one keep their digits
        limit = 2.0 ** ((500 if is_wide else 60) // max(m, n)) if max(m, n) else float("inf")
        self.numbers = (rows, channels, length, *(stride or 0 for stride in strides), row_blocks, limit)
        self.constants = {
            "M": m,
            "N": n,
            "KIND": KINDS[version],
            "CONSTANT": CONSTANT_TERM[version],
            "ROWS": BLOCK // columns,
            "COLUMNS": columns,
            "WIDE": is_wide,
        }


def _row_stride(x: Tensor) -> int | None:
    """Elements between rows of neighbouring channels; None where there is no such number."""
    if x.dim() < 2:
        return x.numel() if x.dim() == 0 or x.stride(0) == 1 else None
    outer = [(size, stride) for size, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True) if size != 1]
    steady = all(stride == size * inner for (_, stride), (size, inner) in pairwise(outer))
    if x.stride(-1) != 1 or not steady:
        return None
    return outer[-1][1] if outer else x.shape[-1]


def _on(device: torch.device) -> Any:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
