"""Extension of griffe: docstrings in the form of ``torch.nn``, as the Markdown that the site shows.

``help()`` and editors get the reStructuredText of PyTorch's documentation: roles such as ``:math:`` and
``:func:``, directives such as ``.. math::``, and literal blocks after a double colon.
"""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|mod|attr):`([^`]+)`")
INLINE_MATH = re.compile(r":math:`([^`]+)`")
MATH = re.compile(r"^\.\. math:: *(.*(?:\n(?:[ ]+\S.*))*)", re.MULTILINE)
LITERAL = re.compile(r"^(\S.*[^:\n])::\n\n?((?:(?:[ ]{4}.*)?\n)*[ ]{4}.*)", re.MULTILINE)
SHAPE = re.compile(r"^Shape:\n((?:[ ]{4}.*\n?)+)", re.MULTILINE)
SOURCE = re.compile(r"^Source: ", re.MULTILINE)


class TorchDocstrings(griffe.Extension):
    """Rewrites the docstrings of a package when it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite all docstrings of a package."""
        _rewrite(pkg)


def _rewrite(documented: griffe.Object) -> None:
    if documented.docstring is not None:
        documented.docstring.value = as_markdown(documented.docstring.value, documented.module.path)
    for member in documented.members.values():
        if not member.is_alias:
            _rewrite(member)  # type: ignore[arg-type, unused-ignore]


def as_markdown(text: str, module: str) -> str:
    """Convert a docstring to Markdown; short names of roles are resolved in the module."""
    text = MATH.sub(lambda match: f"$$\n{' '.join(match[1].split())}\n$$", text)
    text = INLINE_MATH.sub(r"$\1$", text)
    text = ROLE.sub(lambda match: _reference(match[1], module), text)
    text = LITERAL.sub(_code, text)
    text = SHAPE.sub(lambda match: f"**Shape:**\n\n{textwrap.dedent(match[1])}", text)
    return SOURCE.sub("**Source:** ", text)


def _reference(name: str, module: str) -> str:
    target = name if "." in name else f"{module}.{name}"
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'


def _code(match: re.Match[str]) -> str:
    code = textwrap.dedent(match[2])
    title = f"**{match[1]}:**" if match[1].startswith("Example") else f"{match[1]}:"
    return f"{title}\n\n```{_language(code)}\n{code}\n```"


def _language(code: str) -> str:
    if code.lstrip().startswith(">>>"):
        return "pycon"
    try:
        ast.parse(code)
    except SyntaxError:
        return "text"
    return "python"
