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
    """Rewrites each docstring of a package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Go through the package."""
        _rewrite(pkg)


def _rewrite(found: griffe.Object) -> None:
    if found.docstring is not None:
        found.docstring.value = as_markdown(found.docstring.value, found.module.path)
    for member in found.members.values():
        if not member.is_alias:
            _rewrite(member)  # type: ignore[arg-type, unused-ignore]


def as_markdown(text: str, module: str) -> str:
    """A docstring as Markdown; short names of roles are looked for in the module."""
    text = MATH.sub(lambda found: f"$$\n{' '.join(found[1].split())}\n$$", text)
    text = INLINE_MATH.sub(r"$\1$", text)
    text = ROLE.sub(lambda found: _reference(found[1], module), text)
    text = LITERAL.sub(_code, text)
    text = SHAPE.sub(lambda found: f"**Shape:**\n\n{textwrap.dedent(found[1])}", text)
    return SOURCE.sub("**Source:** ", text)


def _reference(name: str, module: str) -> str:
    target = name if "." in name else f"{module}.{name}"
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'


def _code(found: re.Match[str]) -> str:
    code = textwrap.dedent(found[2])
    title = f"**{found[1]}:**" if found[1].startswith("Example") else f"{found[1]}:"
    return f"{title}\n\n```{_language(code)}\n{code}\n```"


def _language(code: str) -> str:
    if code.lstrip().startswith(">>>"):
        return "pycon"
    try:
        ast.parse(code)
    except SyntaxError:
        return "text"
    return "python"
