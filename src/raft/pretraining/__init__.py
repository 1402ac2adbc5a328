"""Pretraining of language models: what is pretrained on which text, and one run as a folder."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
