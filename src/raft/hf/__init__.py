"""Rational activations in Hugging Face models; ``raft`` itself has ``convert`` and what belongs to it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
