"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads of tiny models wait for one another

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Folder of real Wikipedia and GLUE beside the project; tests that need it are skipped elsewhere."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the real corpora in ../shared/data")
    return SHARED_DATA
