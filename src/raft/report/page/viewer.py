"""The interactive part of the page: coefficients as data, which its script evaluates and draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from numpy.typing import NDArray

from raft.analysis.curves import find_input_range
from raft.analysis.snapshots import Snapshot, find_known_name, label_sites, sort_sites, thin
from raft.hf.histogram import InputHistogram
from raft.report.page.blocks import TEMPLATES, Block
from raft.report.page.page import Section

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
        snapshots: its RAFs, by step.
        twins: name of the function that each site's RAF is compared with.
        inputs: of each RAF after the last step, where they are known.
    """

    settings: Mapping[str, str]
    snapshots: Sequence[Snapshot]
    twins: Mapping[str, str]
    inputs: Mapping[str, InputHistogram] = field(default_factory=dict)

    @property
    def last(self) -> Snapshot:
        """The RAFs as they ended."""
        return self.snapshots[-1]

    def record(self) -> dict[str, Any]:
        """Build the data for the page's script."""
        snapshots = thin(self.snapshots, MOST_STEPS)
        return {
            "settings": dict(self.settings),
            "steps": [snapshot.step for snapshot in snapshots],
            "rafs": [self._raf(site, snapshots) for site in sort_sites(self.last.rafs)],
        }

    def _raf(self, site: str, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
        raf = self.last.rafs[site]
        steps = [snapshot.rafs[site] for snapshot in snapshots]
        inputs = self.inputs.get(site)
        return {
            "site": site,
            "version": raf.version,
            "beside": find_known_name(raf.beside) or raf.beside,
            "twin": find_known_name(self.twins.get(site)),
            "numerator": [_to_numbers(step.numerator) for step in steps],
            "denominator": [_to_numbers(step.denominator) for step in steps],
            "density": _sample_density(inputs) if inputs is not None and inputs.total else None,
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
        sites = htmlsafe_json_dumps(label_sites(sort_sites(site for run in shown for site in run.last.rafs)))
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


def _to_numbers(rows: NDArray[np.float32]) -> list[list[float | str]]:
    """Coefficients with the digits that tell float32 numbers apart; the script rounds them to these."""
    return [[_to_number(value) for value in row] for row in rows]


def _to_number(value: np.float32) -> float | str:
    return (
        float(str(value))
        if np.isfinite(value)
        else str(value).replace("inf", "Infinity").replace("nan", "NaN")
    )


def _sample_density(inputs: InputHistogram) -> dict[str, Any]:
    low, high = find_input_range(inputs)
    values = inputs.density(np.linspace(low, high, DENSITY_POINTS))
    return {
        "low": float(f"{low:.6g}"),
        "high": float(f"{high:.6g}"),
        "values": [float(f"{value:.4g}") for value in values],
    }
