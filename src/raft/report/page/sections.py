"""What the sections of all runs have in common: learned curves, and how to repeat a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from raft.analysis.snapshots import (
    FunctionSnapshot,
    ParametricSnapshot,
    Snapshot,
    find_known_name,
    label_sites,
)
from raft.experiments.statistics import Difference
from raft.files import read_yaml
from raft.hf.sites.input_activation import input_kind
from raft.report.page.blocks import Block, Details, Fact, Heading, Listing, Prose, Tabular
from raft.report.page.distance_blocks import build_distance_blocks
from raft.report.page.shape_gallery import MOST_LINES, draw_shapes
from raft.report.page.viewer import Viewer, ViewerRun
from raft.report.tables.numbers import format_signed
from raft.report.tables.text_table import TextTable
from raft.training.run_folder import RECIPE


def build_learned_blocks(
    runs: Sequence[ViewerRun], kind: str | None = None, by: Sequence[str] = (), note: str = ""
) -> list[Block]:
    """The viewer, the final shapes and their distances; nothing where there are no RAFs.

    Args:
        runs: with RAFs, those of most interest first.
        kind: the setting by which the shapes are coloured.
        by: settings of which each has figures of its own.
        note: below the viewer.
    """
    runs, left_out = select_curves(runs)
    if left_out:
        note = f"{note} {left_out}".strip()
    if not runs:
        return [Heading("What was learned"), Prose(note)] if note else []
    apart: dict[str, list[ViewerRun]] = defaultdict(list)
    for run in runs:
        apart[", ".join(run.settings.get(name, "") for name in by)].append(run)
    galleries = []
    for name, alike in apart.items():
        many = f"the RAFs of {len(alike)} runs" if len(alike) > 1 else "the RAFs"
        drawn = "where their inputs lie" if any(run.inputs for run in alike) else "on [−3, 3]"
        caption = f"The shapes at the end: {many}, {drawn}, over the fixed function (dashed)."
        caption = f"{name}. {caption}" if name else caption
        galleries.append(draw_shapes(alike, kind, caption, MOST_LINES // len(apart)))
    along = next((name for name in (kind, "seed") if name and name in runs[0].settings), "run")
    first, alike = next(iter(apart.items()))
    distances = build_distance_blocks(alike, along, first if len(apart) > 1 else "")
    return [Heading("What was learned"), Viewer(runs, note), *galleries, *distances]


def select_curves(runs: Sequence[ViewerRun]) -> tuple[list[ViewerRun], str]:
    """The runs with those functions alone that have a curve, and a sentence on the others, if any."""
    without = {
        (site, raf.name, raf.places)
        for run in runs
        for site, raf in run.last.rafs.items()
        if isinstance(raf, ParametricSnapshot) and not raf.has_curve
    }
    if not without:
        return list(runs), ""
    kinds = ", ".join(sorted({kind for _, kind, _ in without}))
    names = label_sites({site: places} for site, _, places in without).values()
    drawn = [run.with_curves() for run in runs]
    return [run for run in drawn if run.last.rafs], (
        f"Not drawn: {kinds} ({', '.join(names)}), whose outputs depend on all channels, so that there is no "
        "curve."
    )


def build_repeat_blocks(
    command: str, setup: Mapping[str, Any], recipe: Mapping[str, Any] | None = None, of: str = ""
) -> list[Block]:
    """List what repeats a run: command, recipe (and of which run, if several), versions, machine."""
    blocks: list[Block] = [Heading("How to repeat it")]
    if command:
        blocks.append(Listing(command, "Command"))
    if recipe:
        text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
        title = f"Recipe {of}".rstrip()
        blocks.append(Details(title, [Listing(text, title)]))
    if setup:
        rows = [[key.replace("_", " "), format_value(value)] for key, value in setup.items()]
        cells = pd.DataFrame(rows, columns=["setting", "value"])
        table = TextTable("What it was made with", cells, labels=1)
        blocks.append(Details("Versions, sizes and machine", [Tabular(table)]))
    return blocks


def format_value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(format_value, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def shorten_corpus(corpus: str) -> str:
    """Keep a hub name; of a path, keep the last part, as its location means nothing to others."""
    return Path(corpus).name if corpus.startswith((".", "/", "~")) else corpus


def find_baselines(snapshots: Sequence[Snapshot], fixed: str | None = None) -> dict[str, str]:
    """The fixed function of each site: that which a RAF is added to, ``fixed``, or what it replaced.

    BERT's pooler has a hyperbolic tangent, whatever the layers have; files that do not say what was replaced
    are taken to be of a model with GELU.
    """

    def of(site: str, raf: FunctionSnapshot) -> str:
        if fixed is None and (replaced := find_known_name(raf.replaced)):
            return replaced
        if input_kind(site):
            return "identity"
        return "tanh" if "pooler" in site else fixed or "gelu"

    return {
        site: raf.beside or of(site, raf) for snapshot in snapshots for site, raf in snapshot.rafs.items()
    }


def read_recipe(folder: Path) -> dict[str, Any]:
    """A folder's ``recipe.yaml``; empty where there is none.

    Raises:
        InputError: for a file that cannot be read.
    """
    file = folder / RECIPE
    if not file.is_file():
        return {}
    return read_yaml(file, "recipe")


def make_difference_fact(mean: float, interval: Difference | None, note: str) -> Fact:
    low, high = (format_signed(end, 3) for end in (interval.low, interval.high)) if interval else ("", "")
    text = f"95 %: {low} to {high} {note}" if interval else ""
    return Fact("difference in loss", format_signed(mean, 3), text)
