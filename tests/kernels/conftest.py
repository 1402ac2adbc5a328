"""Triton's interpreter beside a NumPy that is newer than it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from raft.kernels import triton

if triton.INTERPRETED and find_spec("triton") is not None:
    interpreter: Any = import_module("triton.runtime.interpreter")
    patch_tensor = interpreter._patch_lang_tensor

    def patch_tensor_and_index(tensor: Any, scope: Any) -> None:
        """NumPy 2.4 takes no array of one element for a number, as ``range`` of a kernel's argument would."""
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch_tensor_and_index
