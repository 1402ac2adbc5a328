"""English text that is on every machine: the docstrings of the installed Python packages.

Worker processes run this file by its path, with the standard library alone: one that imports raft, and so
torch, takes 420 MB and five seconds.

Files are parsed, never imported. Only prose is kept: no doctests, code blocks, tables, directives, field
lists. Duplicate paragraphs are dropped, so that no validation paragraph occurs in training.
"""

from __future__ import annotations

import ast
import hashlib
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "sympy",
)
"""Packages whose docstrings make up the corpus, where they are installed."""

CLEANING = 2
"""Increase when the cleaning changes, to invalidate old caches."""

VALIDATION_SHARE = 0.05
MIN_WORDS = 6

_SECTION = re.compile(
    r"^(parameters|args|arguments|returns?|yields?|raises|attributes|methods|see also|references|examples?|"
    r"shape|keyword args|keyword arguments|other parameters|warns|inputs?|outputs?)\s*:?\s*$",
    re.IGNORECASE,
)
_UNDERLINE = re.compile(r"^\s*([=\-~^\"'*+#.`])\1{2,}\s*$")
_TABLE = re.compile(r"^\s*(\||\+[-=]|[=\-]{2,}\s+[=\-]{2,})")
_ITEM = re.compile(r"^([-*•]|\d+[.)])\s+")
_NUMPY_FIELD = re.compile(r"^[*\w][\w*., ]* : \S")  # x : array_like
_GOOGLE_FIELD = re.compile(r"^[*\w]+(, [*\w]+)* \([^)]*(\([^)]*\)[^)]*)*\):\s*")  # x (`Tensor`, *optional*):
_SUBSTITUTIONS = [
    (re.compile(r":[\w:.+-]+:`[~.!]*([^`<]*?)\s*(?:<[^`]*>)?`"), r"\1"),  # :func:`name <target>`
    (re.compile(r"`([^`<]+?)\s*<[^`]*>`_{0,2}"), r"\1"),  # `text <link>`_
    (re.compile(r"\[([^\]]+)\]\(\s*[^)]*\)"), r"\1"),  # [text](link)
    (re.compile(r"`{1,3}"), ""),
    (re.compile(r"\*{1,2}(\S(?:[^*]*\S)?)\*{1,2}"), r"\1"),
    (re.compile(r"\[#?\w+\]_"), ""),
    (re.compile(r"https?://\S+"), ""),
    (re.compile(r"(?<=\w)_(?=[\s.,;)])"), ""),
    (re.compile(r"\s+"), " "),
    (re.compile(r"\s([.,;:])"), r"\1"),
]


def installed_packages() -> dict[str, str]:
    """The packages of ``PACKAGES`` that are installed, with their versions."""
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def python_docs(packages: list[str], processes: int = 1) -> tuple[list[str], list[str]]:
    """Documents (one a source file) for training and for validation, split by the hash of the file's path.

    Args:
        packages: names of importable packages.
        processes: number of workers that parse the files.
    """
    files = []
    for package in packages:
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            paths = sorted(Path(root).rglob("*.py"))
            files += [(f"{package}/{path.relative_to(root).as_posix()}", path) for path in paths]
    paths = [path for _, path in files]
    prose: list[list[str]] = [[] for _ in paths]
    # one thread waits for each process; every n-th file, as files of one package are similar in size
    with ThreadPoolExecutor(processes) as threads:
        parsed = threads.map(_parse_in_process, (paths[start::processes] for start in range(processes)))
        for start, paragraphs_of_files in enumerate(parsed):
            prose[start::processes] = paragraphs_of_files

    train: list[str] = []
    validation: list[str] = []
    seen: set[bytes] = set()
    named = [(name, paragraphs) for (name, _), paragraphs in zip(files, prose, strict=True)]
    for held_out, documents in ((False, train), (True, validation)):  # a shared paragraph goes to training
        for name, paragraphs in named:
            if is_validation(name) == held_out and (fresh := list(_unseen(paragraphs, seen))):
                documents.append("\n".join(fresh))
    return train, validation


def is_validation(name: str, share: float = VALIDATION_SHARE) -> bool:
    """Whether a document is held out, by the hash of its name or text.

    Args:
        name: or text.
        share: of all documents, from 0 to 1.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    percent, fraction = int.from_bytes(digest[:4], "big") % 100, int.from_bytes(digest[4:8], "big") / 2**32
    return (percent + fraction) / 100 < share


def _unseen(paragraphs: list[str], seen: set[bytes]) -> Iterator[str]:
    for paragraph in paragraphs:
        key = hashlib.sha256(re.sub(r"\W+", " ", paragraph.lower()).encode()).digest()[:12]
        if key not in seen:
            seen.add(key)
            yield paragraph


def _parse_in_process(paths: Sequence[Path]) -> list[list[str]]:
    """``file_paragraphs`` of files, in another process."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # do not import from this file's folder
    words = [sys.executable, __file__]
    done = subprocess.run(
        words, input=pickle.dumps(list(paths)), stdout=subprocess.PIPE, env=environment, check=True
    )
    parsed: list[list[str]] = pickle.loads(done.stdout)
    return parsed


def file_paragraphs(path: Path) -> list[str]:
    """The prose paragraphs of all docstrings in a Python file; none where it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
        return []
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, nodes))
    return [paragraph for text in docstrings if text for paragraph in clean_docstring(text)]


def clean_docstring(text: str) -> list[str]:
    """The paragraphs of a docstring that are prose, each on one line, without markup."""
    paragraphs: list[str] = []
    lines: list[str] = []
    block_indent: int | None = None  # of a directive or literal block whose deeper lines are skipped
    fenced = False
    for line in [*text.expandtabs().splitlines(), ""]:
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if stripped.startswith("```"):
            fenced = not fenced
            continue
        if fenced:
            continue
        if block_indent is not None:
            if not stripped or indent > block_indent:
                continue
            block_indent = None
        if stripped.startswith((".. ", "__ http", "@")):
            block_indent = indent
        is_break = (
            block_indent is not None
            or not stripped
            or stripped.startswith((">>>", "... ", ":", "$"))
            or _SECTION.match(stripped) is not None
            or _UNDERLINE.match(line) is not None
            or _TABLE.match(line) is not None
            or _NUMPY_FIELD.match(stripped) is not None
        )
        if is_break or _ITEM.match(stripped) or _GOOGLE_FIELD.match(stripped):
            paragraphs += _prose(lines)
            lines = []
        if not is_break:
            lines.append(stripped)
        if stripped.endswith("::") and block_indent is None:
            paragraphs += _prose(lines)
            lines = []
            block_indent = indent
    return paragraphs


def _prose(lines: list[str]) -> list[str]:
    """The paragraph as one line of plain text, or nothing where it does not read like sentences."""
    text = _GOOGLE_FIELD.sub("", _ITEM.sub("", " ".join(lines), count=1))
    for pattern, replacement in _SUBSTITUTIONS:
        text = pattern.sub(replacement, text)
    text = text.strip()
    words = text.split()
    if len(words) < MIN_WORDS or not text[0].isalpha() or text[-1] not in ".!?:":
        return []
    plain = sum(word.strip("\"'().,;:!?-").isalpha() for word in words)
    return [text.rstrip(":") + ("." if text.endswith(":") else "")] if plain >= 0.75 * len(words) else []


if __name__ == "__main__":
    pickle.dump([file_paragraphs(path) for path in pickle.load(sys.stdin.buffer)], sys.stdout.buffer)
