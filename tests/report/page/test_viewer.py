"""The curve viewer in a browser: it is used with keys and fingers, and says what raft computes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu

import raft
from raft.analysis.snapshots import FunctionSnapshot, ParametricSnapshot, Raf, Snapshot, read_snapshots
from raft.coefficients.functions import FUNCTIONS
from raft.functions import make
from raft.hf.histogram import InputHistogram
from raft.report.page.page import Section
from raft.report.page.viewer import Viewer, ViewerRun
from raft.report.runs import build_section
from tests.report import run_folders
from tests.report.conftest import Browser
from tests.report.run_folders import written

DOWN, LEFT, RIGHT, HOME, END = "\ue015", "\ue012", "\ue014", "\ue011", "\ue010"
"""WebDriver's codes of keys."""

Function = Callable[[torch.Tensor], torch.Tensor]


def shown(value: float) -> str:
    """As the page prints numbers."""
    return f"{value:.4f}".replace("-0.0000", "0.0000").replace("-", "−")


def function(raf_: FunctionSnapshot, group: int = 0) -> Function:
    assert isinstance(raf_, Raf)
    a, b = (torch.from_numpy(rows[group]) for rows in (raf_.numerator, raf_.denominator))
    known: dict[str | None, Function] = {None: torch.zeros_like, "gelu": gelu, "tanh": torch.tanh}
    beside = known[raf_.beside]
    return lambda x: raft.rational(x, a, b, raf_.version) + beside(x)


def value_and_slope(f: Function, x: float) -> list[str]:
    """By torch, in float64."""
    point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = f(point)
    (slope,) = torch.autograd.grad(y, point)
    return [shown(y.item()), shown(slope.item())]


def readout(browser: Browser) -> list[str]:
    """x, f(x), f′(x), and those of what is beside it."""
    actual: list[str] = browser.script(
        "return [...document.querySelectorAll('.readout b')].map((each) => each.textContent)"
    )
    return actual


def choose(browser: Browser, selector: str, value: str) -> None:
    """With the keyboard alone."""
    browser.tab_to(selector)
    browser.press(HOME)
    for _ in range(100):
        if browser.script("return document.activeElement.value") == value:
            return
        browser.press(DOWN)
    raise AssertionError(f"{selector} never becomes {value}")


def test_layer_task_and_step_are_chosen_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    folder = run_folders.grid(tmp_path / "grid")
    browser.open(written(tmp_path, build_section(folder)))
    # the last step of the first run is shown first
    first = read_snapshots(folder / "raf-0")[-1].rafs[run_folders.SITES[0]]
    start = readout(browser)
    assert start == ["1.0", *value_and_slope(function(first), 1.0),
                     *value_and_slope(gelu, 1.0)]  # fmt: skip
    choose(browser, '[data-choice="activation"]', "raf-residual")
    choose(browser, '[data-choice="seed"]', "2")
    browser.tab_to('[data-of="site"]')
    browser.press(DOWN, DOWN)
    assert browser.script("return document.activeElement.selectedOptions[0].text") == "layer 10"
    browser.tab_to('[data-of="step"]')
    browser.press(LEFT)
    spoken = browser.script("return document.activeElement.getAttribute('aria-valuetext')")
    assert spoken == "step 0 of 40"
    browser.tab_to('[data-of="x"]')
    browser.press(RIGHT)
    x = float(readout(browser)[0])
    assert x > 1.0
    raf_ = read_snapshots(folder / "raf-residual-2")[0].rafs[run_folders.SITES[2]]
    assert raf_.beside == "gelu"
    assert readout(browser)[1:3] == value_and_slope(function(raf_), x)
    browser.press(HOME)
    x = browser.script("return Number(document.activeElement.min)")
    assert readout(browser)[0] == f"{x:.1f}".replace("-", "−")
    assert readout(browser)[1:3] == value_and_slope(function(raf_), x)
    assert browser.script("return document.querySelector('.readout').getAttribute('aria-live')") == "polite"
    # the pooler's baseline is another
    browser.tab_to('[data-of="site"]')
    choose(browser, '[data-of="site"]', run_folders.SITES[3])
    assert "GELU" in browser.script("return document.querySelector('.legend').textContent")
    choose(browser, '[data-choice="activation"]', "raf")
    choose(browser, '[data-of="site"]', run_folders.SITES[3])
    assert readout(browser)[3:] == value_and_slope(torch.tanh, float(readout(browser)[0].replace("−", "-")))
    assert browser.messages() == []


VERSIONS = ["A", "B", "C", "D", "N", "groups", "residual"]


def viewer(steps: int = 2) -> Viewer:
    random = np.random.default_rng(0)
    actual = []
    for kind in VERSIONS:
        groups = 3 if kind == "groups" else 1
        version, beside = (kind, None) if len(kind) == 1 else ("A", "tanh" if kind == "residual" else None)
        scale = 0.05 if version == "N" else 1.0  # small enough for a denominator without zeros
        snapshots = []
        for step in range(steps):
            a = random.normal(size=(groups, 6)).astype(np.float32)
            b = (scale * random.normal(size=(groups, 4)) * [1, 0.1, 0.01, 0.001]).astype(np.float32)
            snapshots.append(Snapshot(step * 100, {"encoder.layer.0.act": Raf(a, b, version, beside)}))
        actual.append(ViewerRun({"kind": kind}, snapshots, {"encoder.layer.0.act": "gelu"}))
    return Viewer(actual)


@pytest.mark.parametrize("kind", VERSIONS)
def test_the_readout_is_what_raft_computes(kind: str, browser: Browser, tmp_path: Path) -> None:
    block = viewer()
    browser.open(written(tmp_path, Section("all", "versions", [block])))
    choose(browser, '[data-choice="kind"]', kind)
    choose(browser, '[data-of="range"]', "5")
    group = 0
    if kind == "groups":
        group = 2
        choose(browser, '[data-of="group"]', "2")
    raf_ = block.runs[VERSIONS.index(kind)].last.rafs["encoder.layer.0.act"]
    browser.tab_to('[data-of="x"]')
    for keys in ([HOME], [END], [LEFT] * 7, [LEFT] * 100, [LEFT] * 3):
        browser.press(*keys)
        actual = readout(browser)
        x = float(actual[0].replace("−", "-"))
        assert actual[1:] == [
            *value_and_slope(function(raf_, group), x), *value_and_slope(gelu, x)
        ]  # fmt: skip
    # the table beside the plot says the same, and so does the formula
    cells = browser.script("""
        document.querySelectorAll('.viewer details').forEach((each) => (each.open = true));
        const rows = [...document.querySelectorAll('.values tbody tr')];
        return rows.map((row) => [...row.cells].map((cell) => cell.textContent))""")
    assert len(cells) == 21
    for x_text, y, *_ in cells:
        point = torch.tensor(float(x_text.replace("−", "-")), dtype=torch.float64)
        assert y == shown(function(raf_, group)(point).item())
    formula = browser.script("return document.querySelector('.formula code').textContent").splitlines()
    p, q = (
        # arithmetic of this test's own numbers, with bars for absolute values
        eval(re.sub(r"\|([^|]*)\|", r"abs(\1)", line[7:].replace("^", "**").replace(" x", " * 1.5")))
        for line in formula[:2]
    )
    assert isinstance(raf_, Raf)
    raf_ = replace(raf_, beside=None)
    expected = function(raf_, group)(torch.tensor(1.5, dtype=torch.float64)).item()
    assert p / q == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["spline", "xielu", "swish", "fixed_gain"])
def test_other_learned_functions_are_shown_as_they_are(kind: str, browser: Browser, tmp_path: Path) -> None:
    torch.manual_seed(0)
    acts = [make(kind, groups=2), make(kind, groups=2)]
    with torch.no_grad():
        for parameter in acts[1].parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    snapshots = [Snapshot(step, {"a.0.act": ParametricSnapshot(act)}) for step, act in enumerate(acts)]
    inputs = InputHistogram()
    inputs.add(torch.linspace(-80, 9, 5000))
    block = Viewer([ViewerRun({}, snapshots, {"a.0.act": "gelu"}, {"a.0.act": inputs})])
    browser.open(written(tmp_path, Section("all", "others", [block])))
    choose(browser, '[data-of="group"]', "1")
    for interval, step in (("seen", 1), ("5", 1), ("10", 0)):
        choose(browser, '[data-of="range"]', interval)
        browser.tab_to('[data-of="step"]')
        browser.press(HOME if step == 0 else END)
        browser.tab_to('[data-of="x"]')
        for keys in ([HOME], [END], [LEFT] * 43, [LEFT] * 10):
            browser.press(*keys)
            x, y, slope, *_ = (float(text.replace("−", "-")) for text in readout(browser))
            ends = acts[step].values([x, x - 0.05, x + 0.05])[1]
            # read off some two hundred points; between those, splines are the lines that are drawn
            most = 1e-4 if kind == "spline" else 1e-3
            assert y == pytest.approx(ends[0], abs=most * max(1, abs(y)))
            if kind != "spline":
                assert slope == pytest.approx((ends[2] - ends[1]) / 0.1, abs=0.03)
    assert kind in browser.script("return document.querySelector('.legend').textContent")
    code = browser.script("return document.querySelector('.formula code').textContent")
    name, values = next(iter(acts[1].named_parameters()))
    assert f"{name} = {float(f'{values[1].flatten()[0].item():.6g}')}" in code
    assert code.startswith("spline, knots 65, interval -8 to 8" if kind == "spline" else kind)
    assert browser.messages() == []


def test_a_page_of_many_values_shows_fewer_steps() -> None:
    act = make("spline", groups=32)
    snapshots = [Snapshot(step, {"a": ParametricSnapshot(act)}) for step in range(200)]
    record = ViewerRun({}, snapshots, {}).record()
    (function_,) = record["rafs"]
    points = np.array(function_["points"])
    assert np.isin(np.linspace(-8, 8, 65), points).all()
    assert len(record["steps"]) == 80_000 // (len(points) * 32)
    assert (record["steps"][0], record["steps"][-1]) == (0, 199)
    rows = np.array(function_["curves"][-1])
    assert rows.shape == (32, len(points))
    assert np.allclose(rows[5], act.values(points)[5], rtol=1e-4)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_fixed_functions_are_the_table_s(name: str, browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, Section("all", "versions", [viewer()])))
    choose(browser, '[data-of="range"]', "10")
    choose(browser, '[data-of="beside"]', "baseline" if name == "gelu" else name)
    browser.tab_to('[data-of="x"]')
    for keys in ([HOME], [RIGHT] * 93, [RIGHT] * 5, [RIGHT] * 7, [END]):
        browser.press(*keys)
        actual = readout(browser)
        x = float(actual[0].replace("−", "-"))
        ends = FUNCTIONS[name](np.array([x, x - 1e-6, x + 1e-6]))
        assert actual[3] == shown(ends[0])
        assert float(actual[4].replace("−", "-")) == pytest.approx((ends[2] - ends[1]) / 2e-6, abs=6e-5)


def test_the_plot_follows_the_pointer_and_is_drawn_where_it_says(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, Section("all", "versions", [viewer()])), "phone")
    place = browser.script("""
        document.querySelector('.plot').scrollIntoView({ block: 'center', behavior: 'instant' });
        const box = document.querySelector('.plot').getBoundingClientRect();
        return [box.left, box.top, box.width, box.height]""")
    left, top, width, height = place
    for share in (0.3, 0.8):
        where = {"x": left + share * width, "y": top + height / 3}
        browser.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [where]}
        )
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        dot = browser.script("""
            const box = document.querySelector('.dot.raf').getBoundingClientRect();
            return box.left + box.width / 2""")
        assert dot == pytest.approx(where["x"], abs=3)
        # the slider's thumb stands below the dot
        thumb = browser.script("""
            const slider = document.querySelector('[data-of="x"]'), box = slider.getBoundingClientRect();
            const share = (slider.value - slider.min) / (slider.max - slider.min);
            return box.left + 10 + (box.width - 20) * share""")
        assert thumb == pytest.approx(dot, abs=1.5)
        actual = readout(browser)
        x = float(actual[0].replace("−", "-"))
        assert actual[1:3] == value_and_slope(function(viewer().runs[0].last.rafs["encoder.layer.0.act"]), x)
    # a point of the curve lies at its value: the dot's height on the axis between two ticks
    heights = browser.script("""
        const at = (each) => { const box = each.getBoundingClientRect(); return box.top + box.height / 2; };
        const svg = document.querySelector('.plot svg');
        const ticks = [...svg.querySelectorAll('text[text-anchor="end"]:not(.name)')].slice(0, 2);
        const isLevel = (line) => line.y1.baseVal.value === line.y2.baseVal.value;
        const lines = [...svg.querySelectorAll('line')].filter(isLevel).slice(0, 2);
        const values = ticks.map((each) => Number(each.textContent.replace('−', '-')));
        return [values, lines.map(at), at(document.querySelector('.dot.raf'))]""")
    (low, high), (low_at, high_at), dot_at = heights
    value = low + (dot_at - low_at) / (high_at - low_at) * (high - low)
    assert value == pytest.approx(float(readout(browser)[1].replace("−", "-")), abs=0.02 * (high - low))


def test_playing_goes_through_all_steps_and_ends(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, Section("all", "versions", [viewer(steps=40)])))
    browser.tab_to(".play")
    browser.press(" ")
    assert browser.script("return document.activeElement.textContent") == "Pause"
    steps = set()
    begun = time.monotonic()
    while time.monotonic() - begun < 30:
        text, label = browser.script(
            "return ['.step', '.play'].map((each) => document.querySelector(each).textContent)"
        )
        steps.add(text)
        if label == "Play":
            break
    assert label == "Play"
    assert text == "3,900 of 3,900"
    assert len(steps) > 20
    assert browser.messages() == []


def test_numbers_that_are_none_are_told_and_break_nothing(browser: Browser, tmp_path: Path) -> None:
    pole = Raf(np.array([[1.0, 0.0]], np.float32), np.array([[-1.0]], np.float32), "N")
    lost = Raf(np.array([[np.nan, 1.0]], np.float32), np.array([[np.inf]], np.float32))
    snapshot = Snapshot(0, {"a.0.act": pole, "a.1.act": lost})
    block = Viewer([ViewerRun({}, [snapshot], {})])
    browser.open(written(tmp_path, Section("odd", "ones", [block])))
    assert readout(browser)[0] == "1.00"
    assert readout(browser)[1] == "∞"
    choose(browser, '[data-of="site"]', "a.1.act")
    assert readout(browser)[1] == "undefined"
    assert browser.messages() == []
