"""All learned activation functions by name, as configurations and comparisons name them."""

from __future__ import annotations

from typing import Any

from raft.errors import suggest
from raft.functions.fixed_gain import FixedGainRational
from raft.functions.poly_norm import PolyNorm
from raft.functions.prelu import PReLU
from raft.functions.spline import Spline
from raft.functions.swish import Swish
from raft.functions.xielu import XIELU
from raft.learned_activation import LearnedActivation
from raft.modules import Rational

__all__ = ["FUNCTIONS", "LearnedActivation", "make"]

FUNCTIONS: dict[str, type[LearnedActivation]] = {
    kind.name: kind for kind in (Rational, FixedGainRational, XIELU, PReLU, Swish, PolyNorm, Spline)
}
"""The classes of learned activation functions by name: ``rational``, ``fixed_gain``, ``xielu``,
``prelu``, ``swish``, ``polynorm``, ``spline``."""


def make(name: str, **settings: Any) -> LearnedActivation:
    """Make a learned activation function by its name.

    Args:
        name: one of ``FUNCTIONS``.
        settings: arguments of its class, such as those that ``settings()`` of another one gives.

    Raises:
        ValueError: for an unknown name, or values that the class refuses.
        TypeError: for arguments that the class does not have.

    Example::

        >>> from raft.functions import make
        >>> act = make("spline", knots=33, init="gelu")
        >>> act.settings()
        {'knots': 33, 'interval': [-8.0, 8.0], 'groups': 1}
        >>> again = make(act.name, **act.settings())
        >>> again.load_state_dict(act.state_dict())
        <All keys matched successfully>
    """
    if name not in FUNCTIONS:
        raise ValueError(
            f"unknown learned function {name!r}; known are {', '.join(FUNCTIONS)}{suggest(name, FUNCTIONS)}"
        )
    return FUNCTIONS[name](**settings)
