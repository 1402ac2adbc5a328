"""The copied ``forward`` of each adapter is compared with upstream again when that changes."""

from __future__ import annotations

import hashlib
import inspect
from importlib import import_module

import pytest

from raft.hf.sites.adapters import ADAPTERS


@pytest.mark.parametrize("path", ADAPTERS)
def test_upstream_is_what_the_adapter_copied(path: str) -> None:
    # several hashes may be known: those here hold from transformers 5.18 to 5.23
    module, _, name = path.rpartition(".")
    source = inspect.getsource(getattr(import_module(module), name).forward)
    digest = hashlib.sha256(" ".join(source.split()).encode()).hexdigest()[:12]
    adapter = ADAPTERS[path]
    assert digest in adapter.sources, (
        f"{name}.forward ({digest}), which the adapter {adapter.forward.__name__} copies: "
        "upstream changed; compare and renew"
    )
