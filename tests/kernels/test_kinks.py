"""Gradients where an absolute value in the denominator has its kink: coefficients, sums, inputs of zero."""

from __future__ import annotations

import pytest
import torch

from raft.kernels import dispatch, reference
from tests.kernels.oracle import coefficients, exact

DENOMINATORS = [[0.0, 0.0, 0.0], [0.0, -0.5, 0.0], [0.5, -0.5, 0.0], [-0.25, 0.0, 0.25]]
"""The sums of the last two are zero at 1, those of the last at -1 too."""


@pytest.mark.parametrize(
    "name", [name for name in dispatch.BACKENDS if dispatch.BACKENDS[name].runs_on("cpu")]
)
@pytest.mark.parametrize("version", [version for version in reference.VERSIONS if version != "N"])
@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coefficients_move_from_above_and_inputs_by_the_mean(
    name: str, version: str, denominator: list[float], dtype: torch.dtype
) -> None:
    a = torch.tensor([[0.5, -1.0, 0.25, 2.0]], dtype=dtype)
    b = torch.tensor([denominator], dtype=dtype)
    # alone, so that no element hides another; far ones, which take another way, among them
    far = 2.0**100 if dtype == torch.float64 else 2.0**30
    for value in (0.0, -0.0, 1.0, -1.0, 0.75, -3.0, far, -far):
        x, g = torch.tensor([[value]], dtype=dtype), torch.tensor([[1.5]], dtype=dtype)
        true = exact(g, x, a, b, version)
        actual = dispatch.BACKENDS[name].backward(g, x, a, b, version)
        for mine, theirs in zip(actual[:3], (true.grad_x, true.grad_a, true.grad_b), strict=True):
            assert mine is not None
            if abs(theirs).max() < torch.finfo(dtype).max:
                expected = torch.tensor(theirs.astype("float64"), dtype=dtype)
                torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name", [name for name in dispatch.BACKENDS if dispatch.BACKENDS[name].runs_on("cpu")]
)
@pytest.mark.parametrize("version", reference.VERSIONS)
@pytest.mark.parametrize("count", [1, 2])
def test_coefficients_of_zero_are_no_degree(name: str, version: str, count: int) -> None:
    a, b = torch.zeros(1, 13), torch.zeros(1, 12)
    a[0, : count + 1] = torch.tensor([0.5, -1.0, 0.25])[: count + 1]
    b[0, :count] = torch.tensor([0.5, 0.75])[:count]
    x = torch.tensor([[1e30, -1e30, 3e38, -3e38, 3.0, -3.0]])
    true = exact(torch.ones_like(x), x, a, b, version)
    actual = dispatch.BACKENDS[name].forward(x, a, b, version)
    torch.testing.assert_close(actual.double(), torch.tensor(true.y.astype("float64")), rtol=1e-5, atol=1e-6)
    grad_x = dispatch.BACKENDS[name].backward(torch.ones_like(x), x, a, b, version)[0]
    expected = torch.tensor(true.grad_x.astype("float64"))
    torch.testing.assert_close(grad_x.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name", [name for name in dispatch.BACKENDS if dispatch.BACKENDS[name].runs_on("cpu")]
)
@pytest.mark.parametrize("version", reference.VERSIONS)
@pytest.mark.parametrize("exponent", [8, 17, 40, 99, 120])
def test_powers_that_leave_float64_are_not_formed(name: str, version: str, exponent: int) -> None:
    a, b = coefficients(1, (12, 12), version, 3)
    x = torch.tensor([[2.0**exponent, -(2.0**exponent)]])
    true = exact(torch.ones_like(x), x, a, b, version)
    y = dispatch.BACKENDS[name].forward(x, a, b, version)
    grads = dispatch.BACKENDS[name].backward(torch.ones_like(x), x, a, b, version)
    for mine, theirs in zip((y, *grads[:3]), (true.y, true.grad_x, true.grad_a, true.grad_b), strict=True):
        assert mine is not None
        expected = torch.tensor(theirs.astype("float64"))
        torch.testing.assert_close(mine.double(), expected, rtol=1e-4, atol=1e-6)
