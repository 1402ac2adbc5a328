"""Transformers with learnable (rational) activation functions."""

import lazy_loader

from raft.hf.saving.installation import install_when_imported
from raft.models.registration import register_when_imported

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

install_when_imported()
register_when_imported()
