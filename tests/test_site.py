"""The site is built without warnings and network, loads nothing from elsewhere, and has all public names."""

from __future__ import annotations

import importlib
import re
import socket
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from tests.stored_scripts import load_script
from tests.test_surface import PUBLIC

NEEDED = "the site is built with: pip install 'raft-transformers[docs]'"
for _package in ("mkdocs", "material", "mkdocstrings", "griffe", "l2m4m"):
    pytest.importorskip(_package, reason=NEEDED)

ROOT = Path(__file__).parents[1]
SOURCES = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "use": "href"}
"""What a browser fetches by itself."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a connection, or a warning, ends the test."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    def refuse(*_: Any) -> None:
        raise AssertionError("building the site opens a connection")

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    return folder


class Fetched(HTMLParser):
    """Addresses that a page makes a browser fetch."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.actual: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get(SOURCES.get(tag, ""))
        if address is not None and values.get("rel") not in ("prev", "next", "canonical"):
            self.actual.append(address)


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        actual = Fetched(page).actual
        assert actual
        outside = [address for address in actual if re.match(r"(?:[a-z]+:)?//", address)]
        assert not outside, f"{page.relative_to(site)} fetches {outside}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def canonical(module: ModuleType, name: str) -> str:
    """The path of a public object where it is defined, under which mkdocstrings lists it too."""
    actual = getattr(module, name)
    return f"{actual.__module__}.{name}" if hasattr(actual, "__module__") else f"{module.__name__}.{name}"


@pytest.mark.slow
def test_every_public_name_is_documented(site: Path) -> None:
    from mkdocstrings import Inventory

    with (site / "objects.inv").open("rb") as file:
        documented = set(Inventory.parse_sphinx(file))
    names = {
        canonical(importlib.import_module(package), name)
        for package in PUBLIC
        for name in importlib.import_module(package).__all__
        if not isinstance(getattr(importlib.import_module(package), name), ModuleType)
    }
    assert names - documented == set()


@pytest.mark.slow
def test_formulas_and_docstrings_are_rendered(site: Path) -> None:
    assert "<mfrac>" in (site / "concepts.html").read_text(encoding="utf-8")
    assert "<munderover>" in (site / "api" / "raft.html").read_text(encoding="utf-8")
    for page in site.rglob("*.html"):
        text = re.sub(r"<pre.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for left in (
            ":math:",
            ":func:",
            ":class:",
            ".. math",
            "$$",
            "<merror",
            "Example::",
            "Table of cpu-step",
        ):
            assert left not in text, f"{page.relative_to(site)} shows {left}"


@pytest.mark.slow
def test_results_are_those_of_the_files(site: Path) -> None:
    page, speed = ((site / name).read_text(encoding="utf-8") for name in ("measurements.html", "speed.html"))
    step = pd.read_csv(ROOT / "results" / "cpu-step" / "results.csv").set_index("model").loc["RAFT"]
    assert f"{step.ratio_value:.2f} [{step.ratio_low:.2f}, {step.ratio_high:.2f}]" in speed
    for folder in (ROOT / "results").iterdir():
        assert f'href="measurements.html#{folder.name}"' not in page or f'id="{folder.name}"' in page
    assert (site / "results" / "modular-addition" / "functions.png").stat().st_size > 0
    assert not list(site.rglob("*.safetensors"))


@pytest.mark.slow
def test_options_are_those_of_the_commands(site: Path) -> None:
    page = (site / "api" / "commands.html").read_text(encoding="utf-8")
    for option in (
        "--global_batch_size",
        "--raf_learning_rate",
        "--tuning",
        "--calibration",
        "--slurm_nodes",
    ):
        assert f"<code>{option}</code>" in page
    assert "<code>SRC</code>" in page
    assert "--adam_beta1" not in page


def test_docstrings_in_the_form_of_torch_become_markdown() -> None:
    as_markdown = load_script("site_docstrings").as_markdown
    actual = as_markdown(
        "Do :math:`x^2`.\n\n.. math:: y = x,\n   z\n\nSee :func:`raft.fit` and :class:`Fit`.\n\n"
        "Shape:\n    Any.\n\nSource: someone.\n\n"
        "Example::\n\n    >>> 1\n    1\n\n"
        "With PEFT::\n\n    f(\n\n    )\n\nWhere::\n\n    y = P / Q   y = 1\n",
        "raft.place",
    )
    assert actual == (
        "Do $x^2$.\n\n$$\ny = x, z\n$$\n\n"
        'See <autoref identifier="raft.fit" optional><code>raft.fit</code></autoref> and '
        '<autoref identifier="raft.place.Fit" optional><code>Fit</code></autoref>.\n\n'
        "**Shape:**\n\nAny.\n\n**Source:** someone.\n\n**Example:**\n\n```pycon\n>>> 1\n1\n```\n\n"
        "With PEFT:\n\n```python\nf(\n\n)\n```\n\nWhere:\n\n```text\ny = P / Q   y = 1\n```\n"
    )


def test_tables_show_numbers_and_refuse_what_is_not_there(tmp_path: Path) -> None:
    from mkdocs.exceptions import PluginError

    table = load_script("site_files").table
    file = tmp_path / "results.csv"
    file.write_text(
        "way,tokens_per_second,points,ratio_value,ratio_low,ratio_high\n"
        "a,12345.6,-0.12345,1,0.9,1.1\nb,7,,2,1.5,2.5\n"
    )
    assert table(file, ["way", "tokens_per_second", "points", "ratio"]).splitlines() == [
        "| way | tokens per second | points | ratio |",
        "| --- | ---: | ---: | --- |",
        "| a | 12,346 | −0.1235 | 1.00 [0.90, 1.10] |",
        "| b | 7 |  | 2.00 [1.50, 2.50] |",
    ]
    for name, columns in (("results.csv", ["none"]), ("none.csv", ["way"])):
        with pytest.raises(PluginError, match="none"):
            table(tmp_path / name, columns)
