"""The rational function as operations on tensors: plain, and gated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from raft.coefficients.fitting import MAX_DEGREE
from raft.kernels import dispatch, reference


def check_version(version: str) -> None:
    """Raise ``ValueError`` unless ``version`` is one of A, B, C, D, N."""
    if version not in reference.VERSIONS:
        raise ValueError(f"version must be one of {', '.join(reference.VERSIONS)}, not {version!r}")


def check_groups(x: Tensor, groups: int, dim: int = -1) -> None:
    """Raise ``ValueError`` unless groups of neighbouring channels divide an axis of ``x``."""
    if not -x.dim() <= dim < x.dim() or x.size(dim) % groups:
        axis = "the last axis" if dim == -1 else f"axis {dim}"
        raise ValueError(f"{groups} groups do not divide {axis} of x, whose shape is {list(x.shape)}")


def rational(x: Tensor, numerator: Tensor, denominator: Tensor, version: str = "A") -> Tensor:
    r"""Apply a rational function to every element of ``x``.

    .. math:: y = P(x)/Q(x), \quad P(x) = \sum_{k=0}^{m} a_k x^k, \quad Q(x) = 1 + \sum_{k=1}^{n} |b_k x^k|

    for version A; B is :math:`Q = 1 + |\sum_k b_k x^k|`, C is :math:`Q = 0.1 + |\sum_k b_k x^k|`, D is B (the
    module adds its noise), and N is :math:`Q = 1 + \sum_k b_k x^k`, which may have poles.

    Computed in float32, in float64 where ``x`` or a coefficient is float64, and rounded once to the dtype of
    ``x``. Differentiable any number of times; in ``torch.compile``, ``torch.func`` and ``torch.export`` too.
    The sums of the coefficients' gradients do not depend on the number of threads. A coefficient at a kink
    of an absolute value takes the derivative from above, so that a denominator that starts at zero can move.

    Args:
        x: floating, any shape, strides and device.
        numerator: ``[m + 1]``, the coefficients :math:`a_0 … a_m`, m ≤ 12; or ``[groups, m + 1]`` for groups
            of neighbouring channels of the last axis.
        denominator: ``[n]`` or ``[groups, n]``, the coefficients :math:`b_1 … b_n`, n ≤ 12; empty for a
            polynomial. One row for all groups may stand beside several of the numerator, or the reverse.
        version: the denominator's form.

    Returns:
        A tensor of the shape, dtype and device of ``x``.

    Raises:
        ValueError: for an unknown version, coefficients of a wrong shape or on another device, or groups that
            do not divide the last axis.
        TypeError: for an ``x`` that is not floating.

    Source: Molina, Schramowski and Kersting, "Padé Activation Units", ICLR 2020, equations 2 and 3; groups:
    Yang and Wang, "Kolmogorov-Arnold Transformer", ICLR 2025.

    Example::

        >>> import torch, raft
        >>> raft.rational(torch.tensor([-1.0, 2.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0]))
        tensor([-0.5000,  0.6667])
    """
    tensors = (x, numerator, denominator)
    if x.is_nested is True:  # of a Proxy it is one more
        return _map_nested((x,), lambda part: rational(part, numerator, denominator, version))
    if has_torch_function(tensors):
        overridden: Tensor = handle_torch_function(rational, tensors, x, numerator, denominator, version)
        return overridden
    return _evaluate(x, numerator, denominator, version)


def rational_by_sample(x: Tensor, numerator: Tensor, denominator: Tensor, version: str = "A") -> Tensor:
    """Apply a rational function with coefficients of its own to each sample of a batch.

    In memory a sample is a group of neighbouring channels, so the kernels for groups do it in one pass.

    Args:
        x: floating, ``[B, …, C]``.
        numerator: ``[B, m + 1]``; or ``[B, groups, m + 1]`` for groups of neighbouring channels of the last
            axis.
        denominator: ``[B, n]`` or ``[B, groups, n]``; either may have one row a sample beside several.
        version: see :func:`raft.rational`.

    Returns:
        A tensor of the shape, dtype and device of ``x``.

    Raises:
        ValueError: for rows of another number than the samples', and as :func:`raft.rational`.

    Example::

        >>> import torch, raft
        >>> act = raft.Rational("gelu")
        >>> rows = [values.expand(2, -1) for values in act.coefficients()]
        >>> x = torch.randn(2, 7, 16)
        >>> torch.allclose(raft.rational_by_sample(x, *rows), act(x))
        True
    """
    for rows in (numerator, denominator):
        if x.dim() < 2 or rows.dim() not in (2, 3) or len(rows) != len(x):
            raise ValueError(
                f"the coefficients have the shape {list(rows.shape)}: give one row, or rows of groups, for "
                f"each of the samples of x, whose shape is {list(x.shape)}"
            )
    if x.numel() == 0:  # the sum of no rows, or of any, has the right shape
        return rational(x, numerator.sum(0), denominator.sum(0), version)
    if 3 in (numerator.dim(), denominator.dim()):
        numerator, denominator = (
            rows if rows.dim() == 3 else rows[:, None] for rows in (numerator, denominator)
        )
        counts = {numerator.shape[1], denominator.shape[1]}
        groups = max(counts)
        if counts - {1, groups} or 0 in counts:
            raise ValueError(
                f"the rows of a sample must be as many in numerator and denominator, or one, not {counts}"
            )
        check_groups(x, groups)
        positions = x[0].numel() // x.shape[-1]
        # in memory, each position of a sample is a row of all its groups
        numerator, denominator = (
            rows[:, None].expand(-1, positions, groups, -1).flatten(0, 2) for rows in (numerator, denominator)
        )
    return rational(x.reshape(1, -1), numerator, denominator, version).view(x.shape)


def rational_glu(
    gate: Tensor, up: Tensor, numerator: Tensor, denominator: Tensor, version: str = "A"
) -> Tensor:
    r"""The gated form, :math:`y = P(g)/Q(g) · u`, in one pass forward and one backward.

    For feed-forward layers of the SwiGLU kind, where a rational function stands in for SiLU or GELU. Nothing
    but ``gate`` and ``up`` is kept for the backward pass, and both may be views, such as the halves of
    ``projection(x).chunk(2, dim=-1)``. The product is rounded once; the rest is as in :func:`raft.rational`.

    Args:
        gate: what the rational function is applied to; floating, any shape, strides and device.
        up: of the shape, dtype and device of ``gate``.
        numerator: ``[m + 1]`` or ``[groups, m + 1]``.
        denominator: ``[n]`` or ``[groups, n]``.
        version: the denominator's form, see :func:`raft.rational`.

    Returns:
        A tensor of the shape, dtype and device of ``gate``.

    Raises:
        ValueError: as :func:`raft.rational`; or where ``up`` is of another shape or on another device.
        TypeError: for a ``gate`` that is not floating, or an ``up`` of another dtype.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020, section 2.

    Example::

        >>> import torch, raft
        >>> act = raft.Rational("silu")
        >>> gate, up = torch.randn(8, 2 * 64).chunk(2, dim=-1)
        >>> raft.rational_glu(gate, up, act.numerator, act.denominator).shape
        torch.Size([8, 64])
    """
    tensors = (gate, up, numerator, denominator)
    if gate.is_nested is True and up.is_nested is True:
        return _map_nested((gate, up), lambda g, u: rational_glu(g, u, numerator, denominator, version))
    if has_torch_function(tensors):
        overridden: Tensor = handle_torch_function(
            rational_glu, tensors, gate, up, numerator, denominator, version
        )
        return overridden
    if up.is_nested or gate.is_nested:
        raise TypeError("gate and up must both be nested tensors, or neither")
    if up.shape != gate.shape or up.device != gate.device:
        raise ValueError(
            f"gate and up must have one shape and device, not {list(gate.shape)} on {gate.device} and "
            f"{list(up.shape)} on {up.device}"
        )
    if up.dtype != gate.dtype:
        raise TypeError(f"gate and up must have one dtype, not {gate.dtype} and {up.dtype}")
    return _evaluate(gate, numerator, denominator, version, up)


def _map_nested(nested: tuple[Tensor, ...], function: Callable[..., Tensor]) -> Tensor:
    """Apply a pointwise function to the parts of nested tensors of one structure."""
    first = nested[0]
    if any(other.layout != first.layout for other in nested):
        layouts = " and ".join(str(tensor.layout) for tensor in nested)
        raise TypeError(f"gate and up must have one layout, not {layouts}")
    if first.layout != torch.jagged:
        parts = zip(*(tensor.unbind() for tensor in nested), strict=True)
        return torch.nested.as_nested_tensor([function(*part) for part in parts])
    if any(other.shape != first.shape for other in nested):
        shapes = " and ".join(str(list(tensor.shape)) for tensor in nested)
        raise ValueError(
            f"gate and up must have one shape, not {shapes}; jagged tensors have one where they were made "
            "with the same offsets"
        )
    ragged: Any = first
    return torch.nested.nested_tensor_from_jagged(
        function(*(tensor.values() for tensor in nested)),
        offsets=ragged.offsets(),
        lengths=ragged.lengths(),
        jagged_dim=ragged._ragged_idx,
    )


def _evaluate(
    x: Tensor, numerator: Tensor, denominator: Tensor, version: str, up: Tensor | None = None
) -> Tensor:
    if version not in reference.VERSIONS or not _is_plain(x, numerator, denominator):
        check_version(version)
        numerator, denominator = _prepared(x, numerator, denominator)
        if numerator.dtype == torch.float64 != x.dtype:
            wide = None if up is None else up.to(torch.float64)
            return dispatch.rational(x.to(torch.float64), numerator, denominator, version, wide).to(x.dtype)
    return dispatch.rational(x, numerator, denominator, version, up)


def _is_plain(x: Tensor, numerator: Tensor, denominator: Tensor) -> bool:
    """Whether the kernels can take these as they are: the usual case, checked quickly."""
    return (
        numerator.dim() == denominator.dim() == 1
        and numerator.dtype == denominator.dtype == torch.float32
        and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and x.device == numerator.device == denominator.device
        and 1 <= numerator.shape[0] <= MAX_DEGREE + 1
        and denominator.shape[0] <= MAX_DEGREE
        and numerator.is_contiguous()
        and denominator.is_contiguous()
    )


def _prepared(x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor]:
    """The coefficients contiguous, of one dtype and with equally many rows; or the error's reason."""
    if x.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"x must be a 16-bit or wider floating tensor, not {x.dtype}")
    if x.device != numerator.device or x.device != denominator.device:
        raise ValueError(
            f"x, numerator and denominator must be on one device, not {x.device}, {numerator.device} and "
            f"{denominator.device}"
        )
    rows = {c.shape[0] for c in (numerator, denominator) if c.dim() == 2}
    shapes = f"{list(numerator.shape)} and {list(denominator.shape)}"
    if (
        not {numerator.dim(), denominator.dim()} <= {1, 2}
        or len(rows - {1}) > 1
        or 0 in (*rows, numerator.shape[-1])
    ):
        raise ValueError(
            "numerator must have shape [m + 1] or [groups, m + 1] and denominator [n] or [groups, n], "
            f"not {shapes}"
        )
    if numerator.shape[-1] > MAX_DEGREE + 1 or denominator.shape[-1] > MAX_DEGREE:
        raise ValueError(f"degrees must be from 0 to {MAX_DEGREE}, but the coefficients have shapes {shapes}")
    groups = max(rows, default=1)
    if groups > 1:
        check_groups(x, groups)
    is_wide = torch.float64 in (x.dtype, numerator.dtype, denominator.dtype)
    dtype = torch.float64 if is_wide else torch.float32
    numerator, denominator = (
        c.to(dtype).expand(groups, -1).contiguous() if rows else c.to(dtype).contiguous()
        for c in (numerator, denominator)
    )
    return numerator, denominator
