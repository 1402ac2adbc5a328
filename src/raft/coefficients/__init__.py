"""What a rational activation starts from: fits of other functions."""

from raft.coefficients.fitting import Fit, fit
from raft.coefficients.named import NAMED_FUNCTIONS, named_fit
from raft.coefficients.sensitivity import sensitivities

__all__ = ["NAMED_FUNCTIONS", "Fit", "fit", "named_fit", "sensitivities"]
