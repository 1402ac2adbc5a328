"""The leaky ReLU whose slope is learned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from raft.functions.parametric import ParametricActivation

SLOPES = {"relu": 0.0, "leaky_relu": 0.01, "identity": 1.0}


class PReLU(ParametricActivation):
    r"""A ReLU with a learned slope for negative inputs: :math:`y = \max(x, 0) + a \min(x, 0)`.

    ``torch.nn.PReLU`` with its parameter in float32, and channels on the last axis. It starts as its source
    has it, a = 0.25, and as ``relu``, ``leaky_relu`` and ``identity`` exactly. At zero the derivative is a.

    NaN gives NaN; infinite inputs give the limits, and NaN where a is zero.

    Args:
        init: the function to start from: None for the start of the source; a name
            (``raft.coefficients.NAMED_FUNCTIONS``), a module or a function of a float64 tensor, which is
            matched with the least squared error on [-5, 5].
        groups: groups of neighbouring channels, each with a slope of its own.
        dim: axis of the channels; 1 after a convolution.
        device: of the parameters.
        dtype: any floating dtype, for code that gives it to all modules; the parameters are float32.
        inplace: taken and ignored: the backward pass needs the input.

    Shape:
        Input and output: any shape, the same. ``slope``: ``[groups]``.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 1.

    Example::

        >>> import torch
        >>> from raft.functions import PReLU
        >>> PReLU()(torch.tensor([-4.0, 2.0])).tolist()
        [-1.0, 2.0]
    """

    name = "prelu"

    def _own_start(self) -> dict[str, tuple[float, ...]]:
        return {"slope": (0.25,)}

    def _exact_start(self, name: str) -> dict[str, tuple[float, ...]] | None:
        return {"slope": (SLOPES[name],)} if name in SLOPES else None

    def _evaluate(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        (slope,) = coefficients
        if self.groups > 1 or x.is_meta:  # where there is no autocast
            return torch.where(x > 0, x, slope * x)
        with torch.autocast(x.device.type, enabled=False):  # on GPUs it would round both to half precision
            return F.prelu(x, slope)
