"""Where one of both kinds of coefficients is frozen, the other gets its gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import raft
from tests.kernels.oracle import coefficients


@pytest.mark.parametrize("function", [raft.rational, torch.ops.raft.rational], ids=["eager", "operator"])
@pytest.mark.parametrize("is_input_frozen", [False, True])
@pytest.mark.parametrize("is_twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("which", ["numerator", "denominator"])
def test_the_other_is_trained(
    function: Callable[..., Tensor], which: str, is_input_frozen: bool, is_twice: bool
) -> None:
    a, b = coefficients(1, (5, 4), "A", 0)
    x = torch.linspace(-3, 3, 40)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, a[0], b[0])]
    expected = torch.autograd.grad(function(*leaves, "A").square().sum(), leaves)
    trained = {"numerator": 1, "denominator": 2}[which]
    chosen = [trained] if is_input_frozen else [0, trained]
    others = [leaf.detach().requires_grad_(place in chosen) for place, leaf in enumerate(leaves)]
    wanted = [others[place] for place in chosen]
    grads = torch.autograd.grad(function(*others, "A").square().sum(), wanted, create_graph=is_twice)
    for place, grad in zip(chosen, grads, strict=True):
        torch.testing.assert_close(grad, expected[place])
        assert grad.requires_grad == is_twice
