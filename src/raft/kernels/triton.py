"""The rational function and its gradient on GPUs, in Triton.

With B = \\|x\\| in version A and B = x elsewhere::

    y = P / Q     dy/dx = (P' - y Q') / Q     dy/da_k = x^k / Q     dy/db_k = -y (dQ/db_k) / Q

A program computes some tiles of one group. It sums its coefficient gradients in registers, thread by thread,
and writes them to its own place in a table; a second kernel adds the table up, in an order that depends on
its shape alone: there are no atomics, and a repeated call gives the same bits. Only the input is kept for the
backward pass. A program that met an input whose powers could overflow goes over its tiles once more, in small
parts, and computes those elements in 1/x and in float64, see ``reference.py``. In the gated form y is
multiplied by ``up``, and the incoming gradient with it.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
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
    # numbers that change with a batch: one program for all of them
    jit: Any = triton.jit(do_not_specialize=["rows", "programs", "steps"])
else:  # this file can be read everywhere
    triton, tl, jit = None, None, lambda function: function


@dataclass(frozen=True)
class Launch:
    """How a kernel is cut into programs.

    Attributes:
        block: elements of a tile, a power of two.
        warps: of a program.
        programs: about how many there are for a large tensor; smaller ones have one for each tile.
        registers: that a thread may have at most; the rare second pass over far elements would have most, and
            leave fewer threads to a processor.
    """

    block: int
    warps: int
    programs: int
    registers: int


FORWARD = {
    2: Launch(block=2048, warps=4, programs=8192, registers=64),
    4: Launch(block=2048, warps=4, programs=1 << 30, registers=64),
    8: Launch(block=256, warps=4, programs=8192, registers=128),
}
BACKWARD = {
    2: Launch(block=2048, warps=4, programs=2048, registers=96),
    4: Launch(block=2048, warps=4, programs=1024, registers=128),
    8: Launch(block=256, warps=4, programs=4096, registers=255),
}
"""For numbers of so many bytes; of two and four the fastest of ``results/gpu-kernel``, of eight a guess."""
# guesses too; all launches leave everything in registers: the start of a kernel with a stack seems to wait
FROZEN_BACKWARD = Launch(block=1024, warps=4, programs=4096, registers=80)
"""Of coefficients that are not trained."""
GATED_BACKWARD = Launch(block=1024, warps=4, programs=4096, registers=96)
LARGE_FORWARD = Launch(block=1024, warps=4, programs=8192, registers=96)
"""Of more than ten coefficients."""
LARGE_BACKWARD = Launch(block=1024, warps=4, programs=4096, registers=160)
MOST_STEPS = 32
"""Tiles of a program: a thread adds one number of each to its sums, and many would lose digits."""
TOTAL = 1024
"""Numbers of the table that are added at once."""
KINDS = {"A": 0, "B": 1, "C": 1, "D": 1, "N": 2}
"""0: absolute value of each term, 1: of their sum, 2: of neither."""
IS_CUDA = torch.version.cuda is not None and not INTERPRETED
if tl is not None:
    HAS_PTX = tl.constexpr(IS_CUDA)


@jit
def _coefficients(c, COUNT: tl.constexpr, DTYPE: tl.constexpr):
    loaded = ()
    for k in tl.static_range(COUNT):
        loaded = loaded + (tl.load(c + k).to(DTYPE),)
    return loaded


@jit
def _numerator(a, x, M: tl.constexpr):
    """P and P'."""
    p = a[M] + tl.zeros_like(x)
    slope = tl.zeros_like(x)
    if M > 0:
        slope = M * a[M] + tl.zeros_like(x)
        for i in tl.static_range(1, M):
            p = p * x + a[M - i]
            slope = slope * x + (M - i) * a[M - i]
        p = p * x + a[0]
    return p, slope


@jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(x.dtype)


@jit
def _denominator(b, x, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr):
    """Q, the derivative of the sum in Q, 0 at a kink, and the sum's sign, 1 where it has none.

    The derivative is that by |x| where each term is absolute.
    """
    base = tl.abs(x) if KIND == 0 else x
    slope = tl.zeros_like(x)
    # where the terms may cancel each other, their sum needs more digits than it keeps
    wide = base.to(tl.float64) if KIND == 1 else base
    total = tl.zeros_like(wide)
    for i in tl.static_range(N):
        coefficient = tl.abs(b[N - 1 - i]) if KIND == 0 else b[N - 1 - i]
        if i == 0:
            slope = N * coefficient + tl.zeros_like(x)
            total = coefficient.to(wide.dtype) + tl.zeros_like(wide)
        else:
            slope = slope * base + (N - i) * coefficient
            total = total * wide + coefficient.to(wide.dtype)
    sign = tl.zeros_like(x) + 1.0
    if KIND == 0:
        q = total * base + CONSTANT
        slope = tl.where(x == 0, 0.0, slope)
    elif KIND == 1:
        total *= wide
        sign = _sign(total).to(x.dtype)  # before it can underflow
        q = tl.abs(total.to(x.dtype)) + CONSTANT
        slope = tl.where(sign == 0, 0.0, slope)
    else:
        q = total * base + CONSTANT
    return q, slope, sign


@jit
def _dq_db_terms(x, y, sign, KIND: tl.constexpr):
    """-y times Q's derivative by an even, and by an odd power's term in its sum; at a kink from above."""
    if KIND == 0:
        return -y, tl.where(x < 0, y, -y)
    if KIND == 1:
        return tl.where(sign < 0, y, -y), tl.where(sign < 0, y, -y)
    return -y, -y


@jit
def _reciprocal(q):
    """Within one unit in the last place; 0 where it would be subnormal."""
    if HAS_PTX and q.dtype == tl.float32:
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [q], dtype=tl.float32, is_pure=True, pack=1
        )
    return 1.0 / q


@jit
def _times_powers(value, x, base, i, j, MOST: tl.constexpr):
    """value x^i base^j without either power alone, |i + j| <= MOST; base is x or |x|. Zero stays zero."""
    exponent = i + j
    is_zero = value == 0
    value = tl.where((x < 0) & (base > 0) & (i % 2 != 0), -value, value)
    for k in tl.static_range(MOST):
        value = tl.where(k < exponent, value * base, value)
        value = tl.where(k < -exponent, value / base, value)
    return tl.where(is_zero, 0.0, value)


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
        is_negative = (base < 0) & (n % 2 != 0)  # w of -inf is -0.0
        sign = tl.where(is_negative, -_sign(total), _sign(total))
    return p, p_slope, constant + sign * total, sign * slope, sign, base, m, n


@jit
def _first_tile(program, programs, steps, length, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Group, and first row and column of a program's first tile."""
    columns = (length - 1) // COLUMNS + 1  # cdiv's sum could pass 2^31
    first = (program % programs).to(tl.int64) * steps
    return program // programs, first // columns * ROWS, first % columns * COLUMNS


@jit
def _next_tile(row, column, length, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """First row and column of the tile after this one."""
    column += COLUMNS
    is_over = column >= length
    return tl.where(is_over, row + ROWS, row), tl.where(is_over, 0, column)


@jit
def _sum_per_thread(v, ROWS: tl.constexpr, COLUMNS: tl.constexpr, VECTOR: tl.constexpr):
    """Sums over what a thread has loaded at once."""
    return tl.sum(tl.reshape(v, [ROWS, COLUMNS // VECTOR, VECTOR]), axis=2)


@jit
def _max_per_thread(farthest, x, ROWS: tl.constexpr, COLUMNS: tl.constexpr, VECTOR: tl.constexpr):
    """The largest |x| that each thread has seen."""
    return tl.maximum(farthest, tl.max(tl.reshape(tl.abs(x), [ROWS, COLUMNS // VECTOR, VECTOR]), axis=2))


@jit
def _accumulate_coefficient_grads(
    sums, power, x, even, odd, M: tl.constexpr, N: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The sums of all coefficients' gradients, of b as if b were positive, and these elements' to them.

    ``power``: the incoming gradient over Q.
    """
    of_a = (sums[0] + _sum_per_thread(power, ROWS, COLUMNS, VECTOR),)
    of_b = ()
    for k in tl.static_range(1, (M if M > N else N) + 1):
        power *= x
        if k <= M:
            of_a = of_a + (sums[k] + _sum_per_thread(power, ROWS, COLUMNS, VECTOR),)
        if k <= N:
            term = power * (odd if k % 2 == 1 else even)
            of_b = of_b + (sums[M + k] + _sum_per_thread(term, ROWS, COLUMNS, VECTOR),)
    return of_a + of_b


@jit
def _near_term(
    x, g, a_ptr, b_ptr, k, M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr
):  # fmt: skip
    """The gradient of the k-th coefficient by each element, of b as if b were positive."""
    a, b = _coefficients(a_ptr, M + 1, x.dtype), _coefficients(b_ptr, N, x.dtype)
    q, _slope, sign = _denominator(b, x, N, KIND, CONSTANT)
    even, odd = _dq_db_terms(x, _numerator(a, x, M)[0] / q, sign, KIND)
    power = tl.where(k <= M, k, k - M)
    of_b = tl.where(power % 2 == 0, even, odd)
    return _times_powers(g / q * tl.where(k <= M, 1.0, of_b), x, x, power, 0, M + N)


@jit
def _far_term(
    x, g, a_ptr, b_ptr, k, M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr
):  # fmt: skip
    """``_near_term`` where a power of x could overflow."""
    p, _p_slope, q, _slope, sign, base, m, n = _far_fraction(x, a_ptr, b_ptr, M, N, KIND, CONSTANT)
    of_b = tl.where(sign < 0, p, -p) / q
    i, j = tl.where(k <= M, k, m), tl.where(k <= M, -n, k - M - 2 * n)
    return _times_powers(g / q * tl.where(k <= M, 1.0, of_b), x, base, i, j, M + 2 * N)


@jit
def _forward(
    x_ptr, up_ptr, a_ptr, b_ptr, y_ptr, rows, channels, length, x_stride, up_stride, programs, steps, limit,
    M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, VECTOR: tl.constexpr, PART: tl.constexpr, DTYPE: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    group, row, column = _first_tile(tl.program_id(0), programs, steps, length, ROWS, COLUMNS)
    a_ptr, b_ptr, from_channel = a_ptr + group * (M + 1), b_ptr + group * N, group.to(tl.int64) * length
    a, b = _coefficients(a_ptr, M + 1, DTYPE), _coefficients(b_ptr, N, DTYPE)
    line, lane = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    farthest = tl.zeros([ROWS, COLUMNS // VECTOR], DTYPE)
    first_row, first_column = row, column
    for _step in range(steps):
        inside = (row + line < rows) & (column + lane < length)
        at = from_channel + column + lane
        x = tl.load(x_ptr + (row + line) * x_stride + at, mask=inside, other=0.0).to(DTYPE)
        y = _numerator(a, x, M)[0] * _reciprocal(_denominator(b, x, N, KIND, CONSTANT)[0])
        if GATED:
            y *= tl.load(up_ptr + (row + line) * up_stride + at, mask=inside, other=0.0).to(DTYPE)
        tl.store(y_ptr + (row + line) * channels + at, y.to(y_ptr.dtype.element_ty), mask=inside)
        farthest = _max_per_thread(farthest, x, ROWS, COLUMNS, VECTOR)
        row, column = _next_tile(row, column, length, ROWS, COLUMNS)
    if tl.max(farthest) > limit:
        tl.debug_barrier()  # what is stored above lies under what is stored below
        _mend_forward(
            x_ptr, up_ptr, a_ptr, b_ptr, y_ptr, first_row, first_column, from_channel,
            rows, channels, length, x_stride, up_stride, steps, limit,
            M, N, KIND, CONSTANT, ROWS, COLUMNS, PART, DTYPE, GATED,
        )  # fmt: skip


@jit
def _mend_forward(
    x_ptr, up_ptr, a_ptr, b_ptr, y_ptr, row, column, from_channel,
    rows, channels, length, x_stride, up_stride, steps, limit,
    M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, PART: tl.constexpr, DTYPE: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    """Compute the far elements of a program's tiles again."""
    line, lane = tl.arange(0, ROWS)[:, None], tl.arange(0, PART)[None, :]
    for _step in range(steps):
        for start in range(0, COLUMNS, PART):
            inside = (row + line < rows) & (column + start + lane < length)
            at = from_channel + column + start + lane
            x = tl.load(x_ptr + (row + line) * x_stride + at, mask=inside, other=0.0).to(tl.float64)
            far = tl.abs(x) > limit
            x = tl.where(far, x, 2.0)
            p, _p_slope, q, _slope, _sign, base, m, n = _far_fraction(x, a_ptr, b_ptr, M, N, KIND, CONSTANT)
            y = p / q
            if GATED:
                y *= tl.load(up_ptr + (row + line) * up_stride + at, mask=far, other=0.0).to(tl.float64)
            y = _times_powers(y, x, base, m, -n, M + N)
            tl.store(y_ptr + (row + line) * channels + at, y.to(DTYPE).to(y_ptr.dtype.element_ty), mask=far)
        row, column = _next_tile(row, column, length, ROWS, COLUMNS)


@jit
def _backward(
    x_ptr, up_ptr, grad_ptr, a_ptr, b_ptr, grad_x_ptr, grad_up_ptr, table_ptr,
    rows, channels, length, x_stride, up_stride, grad_stride, programs, steps, limit,
    M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, VECTOR: tl.constexpr, PART: tl.constexpr, DTYPE: tl.constexpr,
    GATED: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    """``table``: ``[groups, M + 1 + N, programs]``."""
    group, row, column = _first_tile(tl.program_id(0), programs, steps, length, ROWS, COLUMNS)
    a_ptr, b_ptr, from_channel = a_ptr + group * (M + 1), b_ptr + group * N, group.to(tl.int64) * length
    a, b = _coefficients(a_ptr, M + 1, DTYPE), _coefficients(b_ptr, N, DTYPE)
    line, lane = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    farthest = tl.zeros([ROWS, COLUMNS // VECTOR], DTYPE)
    sums = ()
    if SUMS:
        for _k in tl.static_range(M + 1 + N):
            sums = sums + (tl.zeros([ROWS, COLUMNS // VECTOR], DTYPE),)
    first_row, first_column = row, column
    for _step in range(steps):
        inside = (row + line < rows) & (column + lane < length)
        at = from_channel + column + lane
        to = (row + line) * channels + at
        x = tl.load(x_ptr + (row + line) * x_stride + at, mask=inside, other=0.0).to(DTYPE)
        g = tl.load(grad_ptr + (row + line) * grad_stride + at, mask=inside, other=0.0).to(DTYPE)
        p, p_slope = _numerator(a, x, M)
        q, q_slope, sign = _denominator(b, x, N, KIND, CONSTANT)
        reciprocal = _reciprocal(q)
        y = p * reciprocal
        even, odd = _dq_db_terms(x, y, sign, KIND)
        if GATED:
            tl.store(grad_up_ptr + to, (g * y).to(grad_up_ptr.dtype.element_ty), mask=inside)
            g *= tl.load(up_ptr + (row + line) * up_stride + at, mask=inside, other=0.0).to(DTYPE)
        power = g * reciprocal
        grad_x = power * (p_slope + odd * q_slope)
        tl.store(grad_x_ptr + to, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)
        farthest = _max_per_thread(farthest, x, ROWS, COLUMNS, VECTOR)
        if SUMS:
            sums = _accumulate_coefficient_grads(sums, power, x, even, odd, M, N, ROWS, COLUMNS, VECTOR)
        row, column = _next_tile(row, column, length, ROWS, COLUMNS)
    table_ptr += group.to(tl.int64) * (M + 1 + N) * programs + tl.program_id(0) % programs
    if SUMS:
        for k in tl.static_range(M + 1 + N):
            tl.store(table_ptr + k * programs, tl.sum(sums[k]))
    if tl.max(farthest) > limit:
        tl.debug_barrier()  # what is stored above lies under what is stored below
        _mend_backward(
            x_ptr, up_ptr, grad_ptr, a_ptr, b_ptr, grad_x_ptr, grad_up_ptr, first_row, first_column,
            from_channel, rows, channels, length, x_stride, up_stride, grad_stride, steps, limit,
            M, N, KIND, CONSTANT, ROWS, COLUMNS, PART, DTYPE, GATED,
        )  # fmt: skip
        for which in range(M + 1 + N if SUMS else 0):
            total = _sum_again(
                x_ptr, up_ptr, grad_ptr, a_ptr, b_ptr, which, first_row, first_column,
                from_channel, rows, length, x_stride, up_stride, grad_stride, steps, limit,
                M, N, KIND, CONSTANT, ROWS, COLUMNS, PART, GATED,
            )  # fmt: skip
            tl.store(table_ptr + which * programs, total.to(DTYPE))


@jit
def _mend_backward(
    x_ptr, up_ptr, grad_ptr, a_ptr, b_ptr, grad_x_ptr, grad_up_ptr, row, column,
    from_channel, rows, channels, length, x_stride, up_stride, grad_stride, steps, limit,
    M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, PART: tl.constexpr, DTYPE: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of the far elements of a program's tiles again."""
    line, lane = tl.arange(0, ROWS)[:, None], tl.arange(0, PART)[None, :]
    for _step in range(steps):
        for start in range(0, COLUMNS, PART):
            inside = (row + line < rows) & (column + start + lane < length)
            at = from_channel + column + start + lane
            to = (row + line) * channels + at
            x = tl.load(x_ptr + (row + line) * x_stride + at, mask=inside, other=0.0).to(tl.float64)
            far = tl.abs(x) > limit
            g = tl.load(grad_ptr + (row + line) * grad_stride + at, mask=far, other=0.0).to(tl.float64)
            x = tl.where(far, x, 2.0)
            p, p_slope, q, slope, _sign, base, m, n = _far_fraction(x, a_ptr, b_ptr, M, N, KIND, CONSTANT)
            if GATED:
                grad_up = _times_powers(g * p / q, x, base, m, -n, M + N).to(DTYPE)
                tl.store(grad_up_ptr + to, grad_up.to(grad_up_ptr.dtype.element_ty), mask=far)
                g *= tl.load(up_ptr + (row + line) * up_stride + at, mask=far, other=0.0).to(tl.float64)
            grad_x = _times_powers(g * (p_slope - p / q * slope) / q, x, base, m - 1, -n, M + N + 1)
            tl.store(grad_x_ptr + to, grad_x.to(DTYPE).to(grad_x_ptr.dtype.element_ty), mask=far)
        row, column = _next_tile(row, column, length, ROWS, COLUMNS)


@jit
def _sum_again(
    x_ptr, up_ptr, grad_ptr, a_ptr, b_ptr, k, row, column,
    from_channel, rows, length, x_stride, up_stride, grad_stride, steps, limit,
    M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, CONSTANT: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, PART: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    """The gradient of the k-th coefficient by a program's tiles, near and far elements."""
    line, lane = tl.arange(0, ROWS)[:, None], tl.arange(0, PART)[None, :]
    total = tl.zeros([ROWS, PART], tl.float64)
    for _step in range(steps):
        for start in range(0, COLUMNS, PART):
            inside = (row + line < rows) & (column + start + lane < length)
            at = from_channel + column + start + lane
            x = tl.load(x_ptr + (row + line) * x_stride + at, mask=inside, other=0.0).to(tl.float64)
            g = tl.load(grad_ptr + (row + line) * grad_stride + at, mask=inside, other=0.0).to(tl.float64)
            if GATED:
                g *= tl.load(up_ptr + (row + line) * up_stride + at, mask=inside, other=0.0).to(tl.float64)
            far = tl.abs(x) > limit
            if tl.max(far.to(tl.int32)) > 0:
                x_far, g_far = tl.where(far, x, 2.0), tl.where(far, g, 0.0)
                total += _far_term(x_far, g_far, a_ptr, b_ptr, k, M, N, KIND, CONSTANT)
            x_near, g_near = tl.where(far, 0.0, x), tl.where(far, 0.0, g)
            total += _near_term(x_near, g_near, a_ptr, b_ptr, k, M, N, KIND, CONSTANT)
        row, column = _next_tile(row, column, length, ROWS, COLUMNS)
    return tl.sum(total)


@jit
def _add_up(
    table_ptr, b_ptr, grad_a_ptr, grad_b_ptr, programs,
    M: tl.constexpr, N: tl.constexpr, KIND: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """One coefficient's gradient in each program, from the sums of all programs of ``_backward``."""
    row = tl.program_id(0).to(tl.int64)
    group, k = row // (M + 1 + N), row % (M + 1 + N)
    sums = tl.zeros([AT_ONCE], tl.float64)
    for start in range(0, programs, AT_ONCE):
        column = start + tl.arange(0, AT_ONCE)
        sums += tl.load(table_ptr + row * programs + column, mask=column < programs, other=0.0).to(tl.float64)
    total = tl.sum(sums)
    if k <= M:
        tl.store(grad_a_ptr + group * (M + 1) + k, total.to(grad_a_ptr.dtype.element_ty))
    else:
        at = group * N + k - M - 1
        if KIND == 0:  # at a kink of |b| from above
            total = tl.where(tl.load(b_ptr + at) < 0, -total, total)
        tl.store(grad_b_ptr + at, total.to(grad_b_ptr.dtype.element_ty))


def runs_on(device_type: str) -> bool:
    """On GPUs where Triton is installed; it comes with torch there."""
    return triton is not None and (device_type == "cuda" or (INTERPRETED and device_type == "cpu"))


def forward(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    """``P(x)/Q(x)``, times ``up``; see ``reference.forward``."""
    y = empty_output(x, numerator)
    launch = forward_launch(y.element_size(), numerator.shape[-1] + denominator.shape[-1])
    tiling = _Tiling(launch, y, numerator, denominator, version, x, x if up is None else up)
    if tiling.grid:
        arguments = (*tiling.inputs, numerator, denominator, y, *tiling.numbers)
        with _on(x.device):
            _forward[(tiling.grid,)](*arguments, **tiling.constants, GATED=up is not None)
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
    m, n = numerator.shape[-1] - 1, denominator.shape[-1]
    launch = backward_launch(grad_x.element_size(), m + 1 + n, coefficients, up is not None)
    inputs = (x, x if up is None else up, grad_output)
    tiling = _Tiling(launch, grad_x, numerator, denominator, version, *inputs)
    grad_a, grad_b = (
        torch.empty_like(c, memory_format=torch.contiguous_format) for c in (numerator, denominator)
    )
    table = numerator.new_empty(tiling.groups, m + 1 + n, tiling.programs) if coefficients else grad_x
    outputs = (grad_x, grad_x if grad_up is None else grad_up, table)
    arguments = (*tiling.inputs, numerator, denominator, *outputs, *tiling.numbers)
    with _on(x.device):
        if tiling.grid:
            _backward[(tiling.grid,)](*arguments, **tiling.constants, GATED=up is not None, SUMS=coefficients)
        if coefficients:
            _add_up[(tiling.groups * (m + 1 + n),)](
                table,
                denominator,
                grad_a,
                grad_b,
                tiling.programs,
                M=m,
                N=n,
                KIND=KINDS[version],
                AT_ONCE=TOTAL,
            )
    return (grad_x, grad_a, grad_b, grad_up) if coefficients else (grad_x, None, None, grad_up)


def forward_launch(size: int, count: int) -> Launch:
    """For numbers of ``size`` bytes and ``count`` coefficients."""
    return FORWARD[size] if count <= 10 or size == 8 else LARGE_FORWARD


def backward_launch(size: int, count: int, coefficients: bool, is_gated: bool) -> Launch:
    """For numbers of ``size`` bytes and ``count`` coefficients, trained or not."""
    if size == 8:
        return BACKWARD[size]
    if count > 10:
        return LARGE_BACKWARD
    if is_gated:
        return GATED_BACKWARD
    return BACKWARD[size] if coefficients else FROZEN_BACKWARD


class _Tiling:
    """How a call is cut into programs, and what they are told; ``inputs`` are x, up and grad."""

    def __init__(
        self,
        launch: Launch,
        y: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        version: str,
        *inputs: Tensor,
    ) -> None:
        self.groups = groups_of(numerator)
        self.inputs: tuple[Tensor, ...] = inputs
        is_flat = self.groups == 1 and all(tensor.stride() == y.stride() for tensor in inputs)
        strides = [] if is_flat else [_row_stride(tensor) for tensor in inputs]
        if not is_flat and (None in strides or not y.is_contiguous()):
            self.inputs = tuple(torch.empty_like(y).copy_(tensor) for tensor in inputs)
            is_flat, strides = self.groups == 1, [_row_stride(tensor) for tensor in self.inputs]
        channels = y.numel() if is_flat else y.shape[-1]
        rows = y.numel() // channels if channels else 0
        length = channels // self.groups
        columns = min(launch.block, 1 << (max(length, 1) - 1).bit_length())
        # in plain Python: Triton's own functions for this take longer than a launch
        constants = tile_constants(launch, columns, y.dtype)
        tiles = -(-rows // constants["ROWS"]) * -(-length // columns)
        steps = max(1, min(tiles, MOST_STEPS, tiles * self.groups // launch.programs))
        self.programs = -(-tiles // steps)
        """Of each group."""
        self.grid = self.groups * self.programs

        m, n = numerator.shape[-1] - 1, denominator.shape[-1]
        is_wide = y.dtype == torch.float64
        # up to here no power passes 2^60 (2^500): products of two and the reciprocal of one keep their digits
        # a kernel gets it in float32
        limit = 2.0 ** min(120, (500 if is_wide else 60) // max(m, n, 1))
        strides = [channels] * len(inputs) if is_flat else [stride or 0 for stride in strides]
        self.numbers = (rows, channels, length, *strides, self.programs, steps, limit)
        self.constants = {
            "M": m,
            "N": n,
            "KIND": KINDS[version],
            "CONSTANT": CONSTANT_TERM[version],
            "num_warps": launch.warps,
            **({"maxnreg": launch.registers} if IS_CUDA else {}),
            **constants,
        }


def tile_constants(launch: Launch, columns: int, dtype: torch.dtype) -> dict[str, Any]:
    """Of a tile with so many columns, for inputs of a dtype."""
    vector = 16 // dtype.itemsize
    # where rows are shorter than what a thread loads at once, it has one of them
    block = launch.block if columns >= vector else 32 * launch.warps * columns
    return {
        "ROWS": block // columns,
        "COLUMNS": columns,
        "VECTOR": min(columns, vector),
        "PART": columns if INTERPRETED else max(1, columns * 32 * launch.warps // block),
        "DTYPE": tl.float64 if dtype == torch.float64 else tl.float32,
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
    is_elsewhere = device.type == "cuda" and device.index != torch.cuda.current_device()
    return torch.cuda.device(device) if is_elsewhere else nullcontext()
