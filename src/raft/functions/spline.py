"""Piecewise linear functions on fixed knots."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from raft.coefficients.functions import Array, Function
from raft.functions.parametric import Init, ParametricActivation

MAX_KNOTS = 4096
OWN_VALUE = 0.01


class Spline(ParametricActivation):
    r"""A linear spline: values at evenly spaced knots are learned, and lines connect them.

    .. math:: y = v_i + \left(\frac{x - l}{h} - i\right) (v_{i+1} - v_i), \quad
        i = \min\left(\max\left(\left\lfloor\frac{x - l}{h}\right\rfloor, 0\right), k - 2\right)

    on k knots from l to u, with :math:`h = (u - l)/(k - 1)`. Beyond them the outer lines go on. It starts
    with the values of any function at the knots; its source starts at 0.01 everywhere. At a knot the
    derivative is that of the line above it, at the last knot of the one below.

    NaN gives NaN; infinite inputs give the limits, and NaN where an outer line is flat.

    Args:
        init: the function to start from: a name (``raft.coefficients.NAMED_FUNCTIONS``), a module or a
            function of a float64 tensor; None for the start of the source.
        groups: groups of neighbouring channels, each with values of its own.
        knots: their number, from 2 to 4096.
        interval: first and last knot.
        dim: axis of the channels; 1 after a convolution.
        device: of the parameters.
        dtype: any floating dtype, for code that gives it to all modules; the parameters are float32.
        inplace: taken and ignored: the backward pass needs the input.

    Shape:
        Input and output: any shape, the same. ``knot_values``: ``[knots]``, or ``[groups, knots]`` where
        there are several groups.

    Source: the code of Teney et al., "Can Transformers Really Do It All? On the Compatibility of Inductive
    Biases Across Tasks", ICLR 2026 (``idiap/lm-afs``), whose splines are constant beyond the knots.

    Example::

        >>> import torch
        >>> from raft.functions import Spline
        >>> Spline("relu")(torch.tensor([-100.0, 0.0, 0.6, 100.0])).tolist()
        [0.0, 0.0, 0.6..., 100.0]
    """

    name = "spline"
    setting_names = ("knots", "interval")
    knots: int
    interval: tuple[float, float]

    def __init__(
        self,
        init: Init = "gelu",
        groups: int = 1,
        *,
        knots: int = 65,
        interval: Sequence[float] = (-8.0, 8.0),
        dim: int = -1,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        inplace: bool = False,
    ) -> None:
        if isinstance(knots, bool) or not isinstance(knots, int) or not 2 <= knots <= MAX_KNOTS:
            raise ValueError(f"knots must be a whole number from 2 to {MAX_KNOTS}, not {knots!r}")
        are_numbers = isinstance(interval, Sequence) and all(isinstance(end, Real) for end in interval)
        if not are_numbers or len(interval) != 2 or not np.isfinite(interval).all():
            raise ValueError(f"interval must be two finite numbers, the lower first, not {interval!r}")
        low, high = float(interval[0]), float(interval[1])
        if not low < high:
            raise ValueError(f"interval must be two finite numbers, the lower first, not {interval!r}")
        self.knots, self.interval = knots, (low, high)
        super().__init__(init, groups, dim=dim, device=device, dtype=dtype, inplace=inplace)

    def _own_start(self) -> dict[str, tuple[float, ...]]:
        return {"knot_values": (OWN_VALUE,) * self.knots}

    def _start_interval(self) -> tuple[float, float]:
        return self.interval

    def _fit(self, target: Function, inputs: Array | None = None) -> dict[str, tuple[float, ...]]:
        return {"knot_values": tuple(target(np.linspace(*self.interval, self.knots)).tolist())}

    def _evaluate(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        (values,) = coefficients
        low, high = self.interval
        place = (x - low) * ((self.knots - 1) / (high - low))
        # the second clamp is for NaN, which no integer stands for
        line = place.detach().clamp(0, self.knots - 2).to(torch.int32).clamp_(0, self.knots - 2)
        rise = values.diff(dim=-1)
        left = values[..., :-1]
        index = line
        if values.dim() == 2:  # [groups, knots]
            first = torch.arange(0, rise.numel(), self.knots - 1, dtype=torch.int32, device=x.device)
            index = line + first[:, None]
        index = index.flatten()
        # index_select's backward pass is faster than that of indexing
        at_left = left.flatten().index_select(0, index).view(x.shape)
        return torch.addcmul(at_left, place - line, rise.flatten().index_select(0, index).view(x.shape))
