"""All groups of cases."""

from tests.cases import data, forms, machine, options, tensors  # noqa: F401  (each adds its cases)
from tests.cases.replay import CASES

__all__ = ["CASES"]
