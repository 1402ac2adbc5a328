"""What a page says of how far RAFs are from the fixed function, from their start, and from each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from raft.analysis.comparison_figures import draw_distances, draw_panels, subtract
from raft.analysis.distances import cluster, distance_matrix
from raft.analysis.figure_style import draw_legend
from raft.analysis.function_measures import UNKNOWN, make_domain, merge_domains
from raft.analysis.snapshots import find_known_name, label_sites
from raft.coefficients.functions import FUNCTIONS, Array, Function
from raft.report.page.blocks import Block, Drawing, Gallery, Heading, Tabular
from raft.report.page.viewer import ViewerRun
from raft.report.tables.text_table import TextTable

MOST_PANELS, MOST_LINES, DRAWN = 16, 9, 101
"""Panels of a figure, lines of a panel, points of a line: each point is some bytes of the page."""
MOST = 30
"""Functions of a heat map."""


def build_distance_blocks(runs: Sequence[ViewerRun], kind: str, of: str = "") -> list[Block]:
    """A table of distances to the fixed function and to the start, and a heat map of those among each other.

    Args:
        runs: at least one, those of most interest first.
        kind: the setting whose values have columns of their own, such as the task or the seed.
        of: what the runs have in common, where it is not all that the page shows.
    """
    by_kind: dict[str, list[ViewerRun]] = defaultdict(list)
    for run in runs:
        by_kind[run.settings.get(kind, "")].append(run)
    named = label_sites(run.last.places for run in runs)
    sites = list(named)
    title = f"Distances by {kind}" if len(by_kind) > 1 else "Distances"
    table = _tabulate_distances(by_kind, sites, named, ", ".join(filter(None, (title, of))))
    where = "where their inputs lie" if any(run.inputs for run in runs) else f"on {_format_interval()}"
    note = (
        f"Root mean square distances {where}, to the fixed function and to what the RAF was before this "
        f"training{', with a stroke between them' if len(by_kind) > 1 else ''}; means over runs where there "
        "are several."
    )
    blocks: list[Block] = [Heading("How far they are, and how alike"), Tabular(table, note)]
    firsts = {name: alike[0] for name, alike in by_kind.items()}
    # a pooler, whose baseline has another function, would be far from all others
    common = Counter(run.baselines.get(site) for run in firsts.values() for site in sites).most_common(1)[0][
        0
    ]
    blocks += _draw_changes(firsts, sites, named, kind)
    functions = {
        " ".join(filter(None, (name if len(firsts) > 1 else "", named[site]))): run.last.rafs[site]
        for name, run in firsts.items()
        for site in sites
        if site in run.last.rafs and run.last.rafs[site].groups == 1
        if run.baselines.get(site) == common
    }
    if 2 < len(functions) <= MOST:
        known = [
            histogram
            for run in firsts.values()
            for site, histogram in run.inputs.items()
            if histogram.total and run.baselines.get(site) == common
        ]
        domain = merge_domains(known) if known else make_domain(None)
        shown = {n: raf.first for n, raf in functions.items() if np.isfinite(raf.first(domain.x)).all()}
        if len(shown) < 2:
            return blocks
        matrix = distance_matrix(shown, domain)
        order = cluster(matrix)
        figure = draw_distances(matrix.loc[order, order], names=order)
        first = f" The first run of each {kind}." if len(runs) > len(firsts) else ""
        over = "over the inputs of all" if known else where
        caption = (
            f"Root mean square distances between the RAFs, {over}; what is alike stands together (average "
            f"linkage).{first}"
        )
        blocks.append(Drawing(figure, "Distances between the learned functions", caption, on_card=True))
    return blocks


def _draw_changes(
    firsts: Mapping[str, ViewerRun], sites: Sequence[str], named: Mapping[str, str], kind: str
) -> list[Block]:
    """What the training changed, a panel a RAF; nothing where all began as one function and went far."""
    panels: dict[str, dict[str, Function]] = {}
    for site in sites[:MOST_PANELS]:
        for name, run in list(firsts.items())[:MOST_LINES]:
            before, after = run.snapshots[0].rafs.get(site), run.last.rafs.get(site)
            if before is not None and after is not None and after.groups == 1:
                panels.setdefault(named[site], {})[name] = subtract(after.first, before.first)
    if not panels or all(len(run.snapshots) < 2 for run in firsts.values()):
        return []
    domains = {}
    for site in sites:
        inputs = next((run.inputs[site] for run in firsts.values() if site in run.inputs), None)
        domains[named[site]] = make_domain(inputs, DRAWN)
    labels = sorted(firsts)  # as the shapes are coloured
    drawings = []
    for name, functions in panels.items():
        figure = draw_panels(
            {name: functions}, domains, None, "difference", {name: name}, labels, with_legend=False
        )
        drawings.append(Drawing(figure, f"Differences between RAFs after and before the training: {name}"))
    if len(labels) > 1:
        drawings.insert(0, Drawing(draw_legend(drawing.figure for drawing in drawings), "Legend"))
    caption = f"What the training changed: each RAF less what it was before, by {kind}."
    return [Gallery(drawings, caption)]


def _tabulate_distances(
    by_kind: Mapping[str, Sequence[ViewerRun]], sites: Sequence[str], named: Mapping[str, str], title: str
) -> TextTable:
    rows = []
    for site in sites:
        cells = []
        for alike in by_kind.values():
            having = [run for run in alike if site in run.last.rafs]
            pairs = [_measure_distances(run, site) for run in having]
            to_fixed, moved = (np.mean([pair[i] for pair in pairs]) if pairs else np.nan for i in range(2))
            cells.append([f"{to_fixed:.3f}", f"{moved:.3f}"] if pairs else [])
        rows.append([named[site], *(map(" / ".join, cells) if len(by_kind) > 1 else cells[0])])
    heads = list(by_kind) if len(by_kind) > 1 else ["to the fixed function", "to its start"]
    return TextTable(title, pd.DataFrame(rows, columns=["RAF", *heads]), labels=1)


def _measure_distances(run: ViewerRun, site: str) -> tuple[float, float]:
    """Measure the distances to the baseline's function and to the first snapshot, over the run's inputs."""
    domain = make_domain(run.inputs.get(site))
    y = run.last.rafs[site].values(domain.x)
    baseline = find_known_name(run.baselines.get(site))
    fixed = FUNCTIONS[baseline](domain.x) if baseline else np.full_like(domain.x, np.nan)
    start = run.snapshots[0].rafs[site].values(domain.x)

    def l2(other: Array) -> float:
        return float(np.sqrt(np.mean(((y - other) ** 2) @ domain.weights)))

    return l2(fixed), l2(start)


def _format_interval() -> str:
    return f"[{UNKNOWN[0]:g}, {UNKNOWN[1]:g}]".replace("-", "−")
