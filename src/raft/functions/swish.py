"""Swish with a learned slope of its gate."""

from __future__ import annotations

from torch import Tensor

from raft.functions.parametric import ParametricActivation


class Swish(ParametricActivation):
    r"""Swish with learned β: :math:`y = x\,\sigma(\beta x)`.

    It starts as its source has it, β = 1, which is ``silu``. From ``gelu`` it starts with the β that comes
    nearest.

    NaN gives NaN, and so does minus infinity, as in SiLU.

    Args:
        init: the function to start from: None for the start of the source; a name
            (``raft.coefficients.NAMED_FUNCTIONS``), a module or a function of a float64 tensor, which is
            matched with the least squared error on [-5, 5].
        groups: groups of neighbouring channels, each with a β of its own.
        dim: axis of the channels; 1 after a convolution.
        device: of the parameters.
        dtype: any floating dtype, for code that gives it to all modules; the parameters are float32.
        inplace: taken and ignored: the backward pass needs the input.

    Shape:
        Input and output: any shape, the same. ``beta``: ``[groups]``.

    Source: Ramachandran, Zoph and Le, "Searching for Activation Functions", 2017 (arXiv 1710.05941),
    section 4.

    Example::

        >>> from raft.functions import Swish
        >>> round(Swish("gelu").beta.item(), 1)
        1.8
    """

    name = "swish"

    def _own_start(self) -> dict[str, tuple[float, ...]]:
        return {"beta": (1.0,)}

    def _exact_start(self, name: str) -> dict[str, tuple[float, ...]] | None:
        return {"beta": (1.0,)} if name == "silu" else None

    def _evaluate(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        (beta,) = coefficients
        return x * (beta * x).sigmoid()
