"""One HTML page of any number of sections that loads nothing: styles, scripts and data are in it."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from markupsafe import Markup

import raft
from raft.report.page.blocks import TEMPLATES, Block

REPORT = "report.html"
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


def render_page(sections: Sequence[Section]) -> str:
    """The page as text.

    Its policy lets browsers fetch nothing at all, and run no other script than the page's own: whatever
    names and texts a run's files hold, they stay text.
    """
    script = "\n".join(map(_read_asset, SCRIPTS))
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return TEMPLATES.get_template("page.html").render(
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'",
        style=Markup(_read_asset("page.css")),
        script=Markup(script),
        sections=sections,
        version=raft.__version__,
    )


def _read_asset(name: str) -> str:
    return (files("raft.report.page") / "assets" / name).read_text(encoding="utf-8")
