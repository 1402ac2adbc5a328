"""The paper's own encoder, known to ``transformers``' Auto classes as ``raft_bert``."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
