"""What users may rely on: few names in few packages, and nothing else on the pages."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "raft"
PUBLIC = (
    "raft",
    "raft.analysis",
    "raft.callbacks",
    "raft.coefficients",
    "raft.experiments",
    "raft.finetuning",
    "raft.functions",
    "raft.hf",
    "raft.kernels",
    "raft.models",
    "raft.pretraining",
    "raft.training",
)
MOST_NAMES = 14
MOST_FILES = 13


def python_of(file: Path) -> str:
    """The examples of a module's docstrings, or the Python on a page."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        blocks = re.findall(r"^ *```(?:python|pycon)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    else:
        nodes = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        ]
        blocks = [ast.get_docstring(node) or "" for node in nodes]
    parser = doctest.DocTestParser()
    sources = []
    for block in map(textwrap.dedent, blocks):
        examples = parser.get_examples(block)
        is_page = file.suffix == ".md" and not examples
        sources.append(block if is_page else "".join(example.source for example in examples))
    return "\n".join(sources)


def imported_names(code: str) -> set[str]:
    """``raft.hf.convert`` of ``from raft.hf import convert``; and what is reached as ``raft.hf.convert``."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and re.match(r"raft(\.\w+)+$", ast.unparse(node)):
            names.add(ast.unparse(node))
    return {name for name in names if name.split(".")[0] == "raft"}


def is_public(name: str) -> bool:
    """Whether a dotted name leads to a public package, or begins with one and a name of its ``__all__``."""
    if name in PUBLIC:
        return True
    package = max((p for p in PUBLIC if name.startswith(f"{p}.")), key=len)
    return name[len(package) + 1 :].split(".")[0] in importlib.import_module(package).__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_a_package_offers_few_names_that_exist(name: str) -> None:
    module = importlib.import_module(name)
    names = module.__all__
    assert len(names) == len(set(names))
    assert len(names) <= MOST_NAMES or name == "raft"  # which hands on what most users need of the others
    for public in names:
        assert not public.startswith("_")
        assert getattr(module, public).__doc__


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_pages_use_only_public_names(page: Path) -> None:
    assert {name for name in imported_names(python_of(page)) if not is_public(name)} == set()


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda script: script.name)
def test_example_scripts_use_only_public_names(script: Path) -> None:
    names = imported_names(script.read_text(encoding="utf-8"))
    assert names
    assert {name for name in names if not is_public(name)} == set()


def test_examples_in_docstrings_use_only_public_names() -> None:
    private = {
        (str(file.relative_to(SOURCE)), name)
        for file in SOURCE.rglob("*.py")
        for name in imported_names(python_of(file))
        if not is_public(name)
    }
    assert private == set()


def test_folders_stay_small() -> None:
    folders = [folder for folder in (SOURCE, *SOURCE.rglob("*/")) if any(folder.glob("*.py"))]
    sizes = {str(folder.relative_to(SOURCE)): len(list(folder.glob("[!_]*.py"))) for folder in folders}
    assert {folder: size for folder, size in sizes.items() if size > MOST_FILES} == {}


def test_private_names_are_caught() -> None:
    code = "from raft.hf.conversion import convert\nraft.kernels.cpu.library()\nraft.Rational.from_json('')"
    assert {name for name in imported_names(code) if not is_public(name)} == {
        "raft.hf.conversion.convert",
        "raft.kernels.cpu",
        "raft.kernels.cpu.library",
    }
