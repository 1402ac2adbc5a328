"""Backends of the one operator, ``P(x)/Q(x)``; they know nothing of modules or models.

For those who write a backend: ``dispatch`` (the table of backends), ``layout`` (what a backend returns),
``reference`` (the float64 oracle) and ``formula`` (plain float32 operations).
"""

from raft.kernels import dispatch, formula, layout, reference

__all__ = ["dispatch", "formula", "layout", "reference"]
