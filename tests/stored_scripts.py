"""The scripts of ``scripts/`` and ``results/`` as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
needs_results = pytest.mark.skipif(
    not (ROOT / "results").is_dir(), reason="results/ is in the repository and not in the sdist"
)
sys.path.append(str(ROOT / "scripts"))  # as where one of them is run: they may import each other


def load_script(name: str) -> ModuleType:
    """Execute ``NAME.py`` of ``scripts/`` or of a folder of ``results/``."""
    (file,) = [*ROOT.glob(f"scripts/{name}.py"), *ROOT.glob(f"results/*/{name}.py")]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module
