"""Transformers with learnable (rational) activation functions."""

from raft.coefficients import Fit, fit, named_fit
from raft.functional import rational
from raft.modules import Rational

__version__ = "0.1.0"
__all__ = ["Fit", "Rational", "fit", "named_fit", "rational"]
