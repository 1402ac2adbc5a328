"""The repository stays light: what git has of ``results/`` is bounded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_BYTES, MAX_FILES = 20_000_000, 600


def test_results_are_few_and_small() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout: files of results/ that git ignores do not count")
    listed = subprocess.run(["git", "ls-files", "-z", "results"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    files = [file for file in files if file.is_file()]
    assert 0 < len(files) <= MAX_FILES
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES
