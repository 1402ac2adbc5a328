"""Transformers with learnable (rational) activation functions."""

from importlib import import_module

import lazy_loader

from raft.after_import import call_after_import
from raft.hf.saving.installation import install_when_imported
from raft.models.registration import register_when_imported

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# a saved program that holds the operator needs no other import than this package's
call_after_import("torch", lambda: import_module("raft.kernels"))
install_when_imported()
register_when_imported()
call_after_import("peft", lambda: import_module("raft.hf.peft_registration").register_methods())
