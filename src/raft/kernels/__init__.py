"""Backends of the one operator, ``P(x)/Q(x)``; they know nothing of modules or models."""
