"""The interactive part of the page: functions as data, which its script evaluates and draws.

Rational functions are written as their coefficients, others as values at points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from numpy.typing import NDArray

from raft.analysis.snapshots import (
    FunctionSnapshot,
    ParametricSnapshot,
    Raf,
    Snapshot,
    find_known_name,
    label_sites,
    sort_sites,
    thin,
)
from raft.coefficients.functions import Array
from raft.functions import Spline
from raft.hf.histogram import InputHistogram
from raft.learned_activation import LearnedActivation
from raft.report.page.blocks import TEMPLATES, Block
from raft.report.page.page import Section

POINTS = 201
"""At which functions that are not rational are written, evenly spaced in arsinh(x): closer near zero; and at
the knots of splines."""
FARTHEST = 50.0
"""The script's widest range; where inputs lie farther out, the points do."""
MOST_VALUES = 80_000
"""Values of all functions of a run at points: as many snapshots are shown as have these, but at least two."""
MOST_STEPS = 61
"""Snapshots of a run that are shown; more are thinned out evenly."""
BUDGET = 2_000_000
"""Characters of data on a page, which stays below 5 MB with its figures."""
DENSITY_POINTS = 121


@dataclass(frozen=True)
class ViewerRun:
    """A model that can be chosen.

    Attributes:
        settings: what tells it from the others, such as task and seed: a choice each where they differ.
        snapshots: its learned functions, by step; each has a curve.
        baselines: name of the function that each site's RAF is compared with.
        inputs: of each RAF after the last step, where they are known.
    """

    settings: Mapping[str, str]
    snapshots: Sequence[Snapshot]
    baselines: Mapping[str, str]
    inputs: Mapping[str, InputHistogram] = field(default_factory=dict)

    @property
    def last(self) -> Snapshot:
        """The RAFs as they ended."""
        return self.snapshots[-1]

    def record(self) -> dict[str, Any]:
        """Build the data for the page's script."""
        values = sum(
            raf.groups * len(_choose_points(raf.act, []))
            for raf in self.last.rafs.values()
            if isinstance(raf, ParametricSnapshot)
        )
        most = MOST_VALUES // values if values else MOST_STEPS
        snapshots = thin(self.snapshots, min(MOST_STEPS, max(2, most)))
        return {
            "settings": dict(self.settings),
            "steps": [snapshot.step for snapshot in snapshots],
            "rafs": [self._raf(site, snapshots) for site in sort_sites(self.last.rafs)],
        }

    def with_curves(self) -> ViewerRun:
        """The run with those functions alone that have a curve."""
        return replace(
            self,
            snapshots=[
                Snapshot(shot.step, {site: raf for site, raf in shot.rafs.items() if raf.has_curve})
                for shot in self.snapshots
            ],
        )

    def _raf(self, site: str, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
        inputs = self.inputs.get(site)
        density = _sample_density(inputs) if inputs is not None and inputs.total else None
        ends = [density["low"], density["high"]] if density else []
        return {
            "site": site,
            "baseline": find_known_name(self.baselines.get(site)),
            "density": density,
            **_write_functions([snapshot.rafs[site] for snapshot in snapshots], ends),
        }


@dataclass(frozen=True)
class Viewer(Block):
    """The block that shows them.

    Attributes:
        runs: those of most interest first; as many as fit into ``budget`` are shown.
        note: below it.
        budget: characters of data.
    """

    runs: Sequence[ViewerRun]
    note: str = ""
    budget: int = BUDGET

    def html(self, name: str) -> Markup:
        texts, left_out = _fit_runs(self.runs, self.budget)
        shown = self.runs[: len(texts)]
        choices = htmlsafe_json_dumps(_find_choices([run.settings for run in shown]))
        sites = htmlsafe_json_dumps(label_sites(run.last.places for run in shown))
        data = f'{{"choices":{choices},"labels":{sites},"runs":[{",".join(texts)}]}}'
        note = self.note
        if left_out:
            note += f" {left_out} more runs with RAFs are left out of this page to keep it small."
        viewer = TEMPLATES.get_template("viewer.html")
        return Markup(viewer.render(name=name, data=Markup(data), note=note.strip()))


def _find_choices(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Names that are enough to tell the settings apart: the last of those that follow from the others are
    left out."""
    names = list(dict.fromkeys(name for setting in settings for name in setting))

    def told_apart(by: Sequence[str]) -> int:
        return len({tuple(setting.get(name) for name in by) for setting in settings})

    for name in names[::-1]:
        rest = [setting for setting in names if setting != name]
        if told_apart(rest) == told_apart(names):
            names = rest
    return names


def share_budget(sections: Sequence[Section]) -> list[Section]:
    """Split the page's budget of data among the viewers of its sections."""
    viewers = sum(isinstance(block, Viewer) for section in sections for block in section.blocks)
    budget = BUDGET // max(viewers, 1)

    def limited(block: Block) -> Block:
        return replace(block, budget=budget) if isinstance(block, Viewer) else block

    return [replace(section, blocks=[limited(block) for block in section.blocks]) for section in sections]


def _fit_runs(runs: Sequence[ViewerRun], budget: int) -> tuple[list[Markup], int]:
    """The data of as many runs as fit, of at least one; and how many do not."""
    texts: list[Markup] = []
    for run in runs:
        text = htmlsafe_json_dumps(run.record(), separators=(",", ":"))
        budget -= len(text)
        if texts and budget < 0:
            break
        texts.append(text)
    return texts, len(runs) - len(texts)


def _write_functions(steps: Sequence[FunctionSnapshot], ends: Sequence[float]) -> dict[str, Any]:
    """One function at several steps: its form, and for each step its coefficients, or its values at points.

    Args:
        steps: of one site.
        ends: of the inputs.
    """
    last = steps[-1]
    rationals = [step for step in steps if isinstance(step, Raf)]
    if isinstance(last, Raf):
        return {
            "version": last.version,
            "beside": find_known_name(last.beside) or last.beside,
            "numerator": [_to_numbers(step.numerator) for step in rationals],
            "denominator": [_to_numbers(step.denominator) for step in rationals],
        }
    x = _choose_points(last.act, ends)
    return {
        "kind": last.name,
        "settings": last.act.settings(),
        "parameters": {
            name: _round(values.detach().numpy().reshape(last.groups, -1), 6)
            for name, values in last.act.named_parameters()
        },
        "points": x.tolist(),
        "curves": [_round(step.values(x), 5) for step in steps],
    }


def _choose_points(act: LearnedActivation, ends: Sequence[float]) -> Array:
    # the script's range of the inputs ends at round numbers, a little farther out
    end = float(np.arcsinh(max([FARTHEST, *(1.1 * abs(end) for end in ends)])))
    x = np.sinh(np.linspace(-end, end, POINTS))
    if isinstance(act, Spline):
        x = np.union1d(x, np.linspace(*act.interval, act.knots))
    return np.array([float(f"{value:.6g}") for value in x])


def _round(rows: Array, digits: int) -> list[list[float | str]]:
    return [[_to_number(np.float64(f"{value:.{digits}g}")) for value in row] for row in rows]


def _to_numbers(rows: NDArray[np.float32]) -> list[list[float | str]]:
    """Coefficients with the digits that tell float32 numbers apart; the script rounds them to these."""
    return [[_to_number(value) for value in row] for row in rows]


def _to_number(value: np.float32 | np.float64) -> float | str:
    return (
        float(str(value))
        if np.isfinite(value)
        else str(value).replace("inf", "Infinity").replace("nan", "NaN")
    )


def _sample_density(inputs: InputHistogram) -> dict[str, Any]:
    low, high = inputs.range()
    values = inputs.density(np.linspace(low, high, DENSITY_POINTS))
    return {
        "low": float(f"{low:.6g}"),
        "high": float(f"{high:.6g}"),
        "values": [float(f"{value:.4g}") for value in values],
    }
