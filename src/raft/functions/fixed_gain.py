"""Rational functions whose gain stays as it was at the start, so that training changes their shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raft.coefficients import fit
from raft.coefficients.functions import Array
from raft.functional import rational
from raft.functions.parametric import Init, ParametricActivation
from raft.learned_activation import ParametricStart
from raft.modules import Rational, fit_start

DEGREES = (5, 4)
OWN_START = "gelu"
STEP, POINTS = 0.125, 97


class FixedGainRational(ParametricActivation):
    r"""A rational function with a fixed gain: :math:`y = f(x)\, g_0 / g(f)`, :math:`f = P/Q` as in a RAF.

    The gain of a function is its root mean square over standard normal inputs,
    :math:`g(f)^2 = \mathbb{E}_{z \sim N(0, 1)} f(z)^2`, and :math:`g_0` is that of the start. The weights
    behind an activation can scale it anyway. Here the gradient has no part along the gain: an optimizer's
    steps go into the shape, and the function cannot grow instead of weights that weight decay keeps small.

    Degrees are (5, 4), and the denominator is that of version A, see :func:`raft.rational`. It is for new
    networks: a conversion gives its coefficients no units (``Rational.scale_to``), so where inputs reach far
    beyond a standard normal's, small rates are needed.

    Args:
        init: the function to start from: a name (``raft.coefficients.NAMED_FUNCTIONS``), a module or a
            function of a float64 tensor; None for GELU.
        groups: groups of neighbouring channels, each with coefficients of its own.
        dim: axis of the channels; 1 after a convolution.
        device: of the parameters.
        dtype: any floating dtype, for code that gives it to all modules; the parameters are float32.
        inplace: taken and ignored: the backward pass needs the input.

    Shape:
        Input and output: any shape, the same. ``numerator``, ``denominator``: those of f, as in
        :class:`raft.Rational`. ``gain``: :math:`g_0`, ``[]`` or ``[groups, 1]``, not trained.

    Raises:
        ValueError: for a start that is zero, which has no gain.

    Source: none; it was first measured in ``results/modular-addition``.

    Example::

        >>> import torch
        >>> from raft.functions import FixedGainRational
        >>> act = FixedGainRational("gelu")
        >>> with torch.no_grad():
        ...     _ = act.numerator.mul_(3.0)
        >>> round(act(torch.tensor(1.0)).item(), 2)
        0.84
    """

    name = "fixed_gain"
    version = "A"
    numerator: nn.Parameter
    denominator: nn.Parameter
    gain: Tensor

    def coefficients(self) -> tuple[Tensor, ...]:
        """Those of y, of the shapes of ``numerator`` and ``denominator``; differentiable."""
        numerator, denominator = super().coefficients()
        return numerator * (self.gain / measure_gain(numerator, denominator)), denominator

    def initial_state(self) -> dict[str, Tensor]:
        """What each of the module's own parameters and buffers holds at the start, by name, on the CPU."""
        state = super().initial_state()
        return {**state, "gain": measure_gain(state["numerator"], state["denominator"])}

    def _find_start(self, init: Init, inputs: Array | None = None) -> ParametricStart:
        if isinstance(init, ParametricStart):
            return init
        target = OWN_START if init is None else init
        fitted = (
            fit_start(target, DEGREES, self.version)
            if inputs is None
            else fit(target, DEGREES, samples=inputs)
        )
        start = {"numerator": fitted.numerator, "denominator": fitted.denominator}
        if not any(fitted.numerator):
            raise ValueError("the function to start from is zero, and has no gain to hold")
        return ParametricStart(start, fitted.interval, fitted.max_error, fitted.rms_error)

    def _value(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        numerator, denominator = coefficients
        return rational(x, numerator, denominator)


@torch.no_grad()
def set_gain(act: Rational | FixedGainRational, gain: float) -> None:
    """Scale a rational function to a gain, in place.

    With AdamW that is nearly the same as a second projection whose weights start smaller, and are trained at
    a rate smaller, by the same factor.

    Args:
        act: such as a new model starts with: the function of a converted one is what its weights know.
        gain: the root mean square over standard normal inputs, above 0; GELU's is 0.65.

    Raises:
        ValueError: for a function that is zero, or a gain that is not above 0.

    Source: none; ``results/gain`` measures it.

    Example::

        >>> import raft
        >>> from raft.functions import save_functions, set_gain
        >>> act = raft.Rational("gelu")
        >>> set_gain(act, 0.15)
        >>> round(act(torch.tensor(1.0)).item(), 2)
        0.19
    """
    numerator, denominator = act.coefficients()
    factor = gain / measure_gain(numerator, denominator, version=act.version)
    if not gain > 0 or not factor.isfinite().all():
        raise ValueError(f"{act!r} cannot have the gain {gain!r}")
    (act.gain if isinstance(act, FixedGainRational) else act.numerator).mul_(factor)


def measure_gain(numerator: Tensor, denominator: Tensor, *, version: str = "A") -> Tensor:
    """The root mean square of P/Q over standard normal inputs, by Simpson's rule; differentiable.

    Zero, where most versions have a kink, is the point between two of its intervals.

    Args:
        numerator: ``[m + 1]`` or ``[groups, m + 1]``.
        denominator: ``[n]`` or ``[groups, n]``.
        version: of P/Q; D without its noise.

    Returns:
        ``[]`` or ``[groups, 1]``.
    """
    number = torch.arange(POINTS, device=numerator.device, dtype=numerator.dtype)
    z = STEP * (number - POINTS // 2)
    density = (1 + number % 2) * (-z.square() / 2).exp()
    density = density / density.sum()
    if numerator.dim() == 1:  # products of matrices would be in the precision of autocast
        return (density * rational(z, numerator, denominator, version).square()).sum().sqrt()
    points = z[:, None].expand(-1, len(numerator)).contiguous()
    values = rational(points, numerator, denominator, version)
    return (density[:, None] * values.square()).sum(0).sqrt()[:, None]
