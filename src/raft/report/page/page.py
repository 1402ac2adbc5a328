"""One HTML page of any number of sections that loads nothing: styles, scripts and data are in it."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

import raft
from raft.report.page.blocks import Block

REPORT = "report.html"
ASSETS = files("raft.report.page") / "assets"
SCRIPTS = ("rational.js", "plot.js", "text.js", "viewer.js")


@dataclass(frozen=True)
class Section:
    """What a page shows of one run.

    Attributes:
        name: of the run's folder.
        title: what kind of run it is.
        blocks: in their order.
    """

    name: str
    title: str
    blocks: Sequence[Block]


def page(sections: Sequence[Section]) -> str:
    """The page as text.

    Its policy lets browsers fetch nothing at all, and run no other script than the page's own: whatever
    names and texts a run's files hold, they stay text.
    """
    script = "\n".join(asset(name) for name in SCRIPTS)
    return Template(asset("page.html")).substitute(
        title=escape(f"RAFT: {', '.join(section.name for section in sections)}"),
        policy=_policy(script),
        style=asset("page.css"),
        script=script,
        contents=_contents(sections),
        sections="\n".join(_section(section, number) for number, section in enumerate(sections)),
        version=escape(raft.__version__),
    )


def asset(name: str) -> str:
    """The text of a file beside this one that goes into pages."""
    return (ASSETS / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def _contents(sections: Sequence[Section]) -> str:
    if len(sections) < 2:
        return ""
    entries = "".join(
        f'<li><a href="#run-{number}">{escape(section.name)}</a> {escape(section.title)}</li>'
        for number, section in enumerate(sections)
    )
    return f'<nav aria-label="Runs"><ol>{entries}</ol></nav>'


def _section(section: Section, number: int) -> str:
    blocks = "\n".join(block.html(f"run-{number}-{place}") for place, block in enumerate(section.blocks))
    return (
        f'<section id="run-{number}" aria-labelledby="run-{number}-title">'
        f'<h2 id="run-{number}-title"><span>{escape(section.name)}</span> {escape(section.title)}</h2>'
        f"\n{blocks}\n</section>"
    )
