"""xIELU, the expanded integral of the exponential linear unit."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from raft.functions.parametric import Init, ParametricActivation

ALPHA = 0.8
"""Of both sides at the start of the source."""


class XIELU(ParametricActivation):
    r"""The integral of an ELU with learned slopes for each side:

    .. math:: y = \beta x + \alpha_p x^2 \; (x > 0), \quad y = \beta x + \alpha_n (e^x - 1 - x) \; (x \le 0)

    with :math:`\alpha_p = \mathrm{softplus}(` ``alpha_p`` :math:`)` and :math:`\alpha_n = \beta +
    \mathrm{softplus}(` ``alpha_n`` :math:`)`. It starts as its source has it, with 0.8 for both. The
    ``XIELUActivation`` of ``transformers`` has parameters of the same names and sizes; it cuts inputs at
    −10⁻⁶ within the exponential, which moves its values by that much at most.

    NaN gives NaN, and so does minus infinity.

    Args:
        init: the function to start from: None for the start of the source; a name
            (``raft.coefficients.NAMED_FUNCTIONS``), a module or a function of a float64 tensor, which is
            matched with the least squared error on [-5, 5].
        groups: groups of neighbouring channels, each with parameters of its own.
        beta: slope at zero, which is not trained; above zero, and below 0.8 for the start of the source.
        dim: axis of the channels; 1 after a convolution.
        device: of the parameters.
        dtype: any floating dtype, for code that gives it to all modules; the parameters are float32.
        inplace: taken and ignored: the backward pass needs the input.

    Shape:
        Input and output: any shape, the same. ``alpha_p``, ``alpha_n``: ``[groups]``.

    Source: Huang and Schlag, "Deriving Activation Functions Using Integration", 2024 (arXiv 2411.13010).

    Example::

        >>> import torch
        >>> from raft.functions import XIELU
        >>> XIELU()(torch.tensor([-1.0, 0.0, 1.0])).tolist()
        [-0.205..., 0.0, 1.29...]
    """

    name = "xielu"
    setting_names = ("beta",)
    beta: float

    def __init__(
        self,
        init: Init = None,
        groups: int = 1,
        *,
        beta: float = 0.5,
        dim: int = -1,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        inplace: bool = False,
    ) -> None:
        if not 0 < beta < ALPHA:
            raise ValueError(f"beta must be above 0 and below {ALPHA}, not {beta!r}")
        self.beta = float(beta)
        super().__init__(init, groups, dim=dim, device=device, dtype=dtype, inplace=inplace)

    def _own_start(self) -> dict[str, tuple[float, ...]]:
        return {
            "alpha_p": (math.log(math.expm1(ALPHA)),),
            "alpha_n": (math.log(math.expm1(ALPHA - self.beta)),),
        }

    def _evaluate(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        alpha_p, alpha_n = (F.softplus(raw) for raw in coefficients)
        positive, negative = F.relu(x), F.relu(-x)  # of which 0 has no part: its slope is beta
        below = (-negative).expm1() + negative
        return self.beta * x + alpha_p * positive.square() + (self.beta + alpha_n) * below
