"""The page: what it fetches, how it fits a window, and that it says what files hold, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raft.analysis.figure_style import RAFT_COLOUR
from raft.report.page.blocks import Drawing
from raft.report.runs import build_section
from raft.report.sum_figures import draw_sum_curves
from tests.report import run_folders
from tests.report.conftest import WIDTHS, Browser
from tests.report.run_folders import written


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of all kinds of runs."""
    folder = tmp_path_factory.mktemp("runs")
    made = [
        run_folders.demo(folder / "a-demo"),
        run_folders.pretraining(folder / "pretrained"),
        run_folders.grid(folder / "a-grid"),
    ]
    return written(folder, *map(build_section, made))


def test_the_page_fetches_nothing_and_nothing_is_wrong_with_it(browser: Browser, runs: Path) -> None:
    browser.open(runs)
    assert browser.fetched() == [runs.resolve().as_uri()]
    assert browser.messages() == []
    assert browser.script("return document.querySelectorAll('.viewer:not([hidden]) .plot svg').length") == 3
    ids = browser.script("return [...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    # and the log is one that would tell
    browser.script("fetch('data:text/plain,x').catch(() => 0)")
    assert any("Content Security Policy" in message for message in browser.messages())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["phone", "desktop"])
def test_the_page_is_no_wider_than_the_window(browser: Browser, runs: Path, device: str, scheme: str) -> None:
    browser.open(runs, device, scheme)
    browser.script("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert browser.script("return document.documentElement.scrollWidth") <= WIDTHS[device]
    too_wide = """
        return [...document.querySelectorAll('body *')]
          .filter((each) => !each.closest('.wide, .unseen, .skip, svg'))
          .filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5)
          .map((each) => each.outerHTML)"""
    assert browser.script(too_wide) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser: Browser, runs: Path, scheme: str) -> None:
    """The contrast that WCAG 2.2 (AA) asks for: 4.5 for text, on whatever background it stands."""
    browser.open(runs, "desktop", scheme)
    contrasts = browser.script("""
        const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const light = (text) => {
          const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
          return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        };
        const behind = (each) => {
          for (; each; each = each.parentElement) {
            const colour = getComputedStyle(each).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
          }
        };
        const found = {};
        for (const each of document.querySelectorAll('body *')) {
          const isSvg = each instanceof SVGElement;
          if (each.matches('script, style, noscript *') || !each.textContent.trim()) continue;
          if (isSvg && each.tagName !== 'text') continue;
          const style = getComputedStyle(each);
          const [a, b] = [light(isSvg ? style.fill : style.color), light(behind(each))];
          const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (contrast < 4.5) found[`${each.tagName} ${each.className.baseVal ?? each.className}`] = contrast;
        }
        return [found, light(getComputedStyle(document.body).backgroundColor)];""")
    assert contrasts[0] == {}
    assert (contrasts[1] < 0.1) == (scheme == "dark")


HOSTILE = "$\\x "  # no formula of matplotlib
HOSTILE += "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


def test_what_files_say_stays_text(browser: Browser, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "∕")
    folder = run_folders.grid(tmp_path / "grids" / name, task=HOSTILE)
    run_folders.snapshots(folder / "raf-0", [0, 40], [f"{HOSTILE}.0.act", *run_folders.SITES])
    other = run_folders.pretraining(tmp_path / "other", command=f"raft pretrain {HOSTILE}")
    demo = run_folders.demo(tmp_path / "demo", command=HOSTILE, setup={"torch": HOSTILE})
    browser.open(written(tmp_path, *map(build_section, (folder, other, demo))))
    assert browser.script("return window.hacked") is None
    assert browser.script("return document.images.length") == 0
    assert browser.script("return document.querySelector('h2 span').textContent") == name
    options = browser.script(
        "return [...document.querySelectorAll('[data-of=\"site\"] option')].map((o) => o.value)"
    )
    assert f"{HOSTILE}.0.act" in options
    assert HOSTILE in browser.script("return document.body.textContent")
    assert browser.messages() == []


def test_figures_take_the_colours_of_the_page_unless_they_stand_on_a_card() -> None:
    figure = draw_sum_curves(run_folders.sums())
    adapted = Drawing(figure, 'losses of "both"').html("first")
    assert "var(--raf)" in adapted
    assert "var(--baseline)" in adapted
    assert RAFT_COLOUR.lower() not in adapted
    assert "#ffffff" not in adapted
    assert 'aria-label="losses of &#34;both&#34;"' in adapted
    kept = Drawing(figure, "losses", on_card=True).html("second")
    assert RAFT_COLOUR.lower() in kept
    assert "var(--" not in kept
    # made again it is the same, and its names are nobody else's
    assert Drawing(draw_sum_curves(run_folders.sums()), 'losses of "both"').html("first") == adapted
    names = [set(re.findall(r'\bid="([^"]+)"', html)) for html in (adapted, kept)]
    assert names[0]
    assert not names[0] & names[1]
    for html, actual in zip((adapted, kept), names, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', html)) <= actual
