"""PEFT finds the kind of a saved adapter by its name: the methods that it gets once it has been imported."""

from __future__ import annotations

import warnings
from importlib import import_module, metadata

from packaging.version import Version

OLDEST = "0.20"


def register_methods() -> None:
    """Add our methods to PEFT; an older one keeps its own, and a warning says so."""
    installed = metadata.version("peft")
    if Version(installed) < Version(OLDEST):
        warnings.warn(
            f"adapters of RAFs need peft {OLDEST} or newer, and {installed} is installed", stacklevel=2
        )
        return
    import_module("raft.hf.raf_adapters")
    import_module("raft.hf.raf_bottleneck")
