"""Comparisons of a RAFT with its FAFT, in one process or in many; statistics over seeds."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
