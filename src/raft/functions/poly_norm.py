"""PolyNorm, a polynomial of normalised powers."""

from __future__ import annotations

import torch
from torch import Tensor

from raft.coefficients.functions import Array
from raft.functions.parametric import Init, ParametricActivation
from raft.learned_activation import ParametricStart

EPSILON = 1e-6
MAX_DEGREE = 6
"""The norm takes the square of the highest power."""


class PolyNorm(ParametricActivation):
    r"""A polynomial of powers that are each normalised over the last axis:

    .. math:: y_j = a_0 + \sum_{i=1}^{r} a_i \frac{x_j^i}{\sqrt{\frac{1}{d} \sum_k x_k^{2i} + 10^{-6}}}

    It starts as its source has it: 1/r for each power and zero for the constant. It is not elementwise, so
    it can start from no other function, has no groups and no curve.

    NaN or an infinite input makes its whole row NaN, and so do inputs whose power 2r overflows.

    Args:
        init: must be None.
        groups: must be 1.
        degree: r, from 1 to 6.
        dim: axis of the channels; 1 after a convolution.
        device: of the parameters.
        dtype: any floating dtype, for code that gives it to all modules; the parameters are float32.
        inplace: taken and ignored: the backward pass needs the input.

    Shape:
        Input and output: ``[..., channels]``, the same. ``power_weights``: ``[degree]``, from the first
        power on; ``constant``: ``[1]``.

    Source: Zhuo et al., "Polynomial Composition Activations: Unleashing the Dynamics of Large Language
    Models", 2024 (arXiv 2411.03884); the mean of squares, the small number under the root and the start are
    those of the authors' code (``BryceZhuo/PolyCom``).

    Example::

        >>> import torch
        >>> from raft.functions import PolyNorm
        >>> PolyNorm()(torch.tensor([[1.0, 1.0, 0.0, 0.0]])).shape
        torch.Size([1, 4])
    """

    name = "polynorm"
    setting_names = ("degree",)
    is_elementwise = False
    degree: int

    def __init__(
        self,
        init: Init = None,
        groups: int = 1,
        *,
        degree: int = 3,
        dim: int = -1,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        inplace: bool = False,
    ) -> None:
        if groups != 1:
            raise ValueError(f"PolyNorm normalises over all channels: give groups=1, not {groups!r}")
        if isinstance(degree, bool) or not isinstance(degree, int) or not 1 <= degree <= MAX_DEGREE:
            raise ValueError(f"degree must be a whole number from 1 to {MAX_DEGREE}, not {degree!r}")
        self.degree = degree
        super().__init__(init, groups, dim=dim, device=device, dtype=dtype, inplace=inplace)

    def _own_start(self) -> dict[str, tuple[float, ...]]:
        return {"power_weights": (1.0 / self.degree,) * self.degree, "constant": (0.0,)}

    def _find_start(self, init: Init, inputs: Array | None = None) -> ParametricStart:
        if isinstance(init, ParametricStart):
            return init
        if init is not None:
            raise ValueError(
                f"PolyNorm is not elementwise, and cannot start from {init!r}: give init=None, its own start"
            )
        return ParametricStart(self._own_start(), (0.0, 0.0))

    def _evaluate(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        weights, constant = coefficients
        square = even = x * x
        factors = []
        for i in range(self.degree):
            if i:
                even = even * square
            factors.append(weights[i] * (even.mean(-1, keepdim=True) + EPSILON).rsqrt())
        y = factors.pop()
        while factors:  # by Horner's rule
            y = torch.addcmul(factors.pop(), x, y)
        return torch.addcmul(constant, x, y)
