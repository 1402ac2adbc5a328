"""Draw docs/figures/task-rafs.png and write tasks.csv: do RAFs differ between tasks?

rates.csv holds how far they moved in a second grid, whose tasks chose their RAF learning rates.

python results/shapes/draw_task_shapes.py results/cpu-1hour --rates results/convert-low-data
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raft.analysis.comparison_figures import draw_panels, subtract
from raft.analysis.figure_style import write_figure
from raft.analysis.function_measures import Domain, distance
from raft.analysis.snapshots import label_sites, sort_sites
from raft.coefficients.functions import FUNCTIONS
from raft.experiments.grid_rafs import read_grid_rafs
from raft.hf.histogram import InputHistogram

FOLDER = Path(__file__).parent
FIGURE = FOLDER.parents[1] / "docs" / "figures" / "task-rafs.png"
FIXED = "gelu"
ACTIVATION = "raf"


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path, help="Folder of a grid that keeps its cells' RAFs.")
    parser.add_argument(
        "--rates", type=Path, help="Folder of another, whose tasks differ in the RAFs' rates."
    )
    arguments = parser.parse_args()
    grid = arguments.grid
    cells = read_cells(grid)
    if not cells:
        parser.error(f"{grid} keeps no cells with RAFs")
    domains = domains_of(cells)
    rows = [measure(cells, site, domain) for site, domain in domains.items()]
    pd.DataFrame(rows).to_csv(FOLDER / "tasks.csv", index=False)
    if arguments.rates is not None:
        moved_by_rate(read_cells(arguments.rates)).to_csv(FOLDER / "rates.csv", index=False)
    named = label_sites([dict.fromkeys(domains, ())])
    first = min(cell["seed"] for cell in cells)
    panels = {
        named[site]: {
            cell["task"]: subtract(cell["after"][site], cell["before"][site])
            for cell in cells
            if cell["seed"] == first
        }
        for site in domains
    }
    over = {named[site]: domain for site, domain in domains.items()}
    figure = draw_panels(panels, over, None, "difference", names={name: name for name in panels})
    write_figure(figure, FIGURE)


def read_cells(grid: Path) -> list[dict[str, Any]]:
    """Task, seed, functions before and after, and inputs of each converted cell."""
    cells = []
    for cell in read_grid_rafs(grid):
        if cell.options["activation"] != ACTIVATION or len(cell.snapshots) < 2:
            continue
        before, after = (
            {site: raf.first for site, raf in s.rafs.items()} for s in (cell.snapshots[0], cell.snapshots[-1])
        )
        cells.append({**cell.options, "before": before, "after": after, "inputs": cell.inputs})
    return cells


def domains_of(cells: Sequence[dict[str, Any]]) -> dict[str, Domain]:
    """The inputs' domain at each site, over all cells."""
    counted: dict[str, InputHistogram] = {}
    for cell in cells:
        for site, inputs in cell["inputs"].items():
            counted.setdefault(site, InputHistogram()).update(inputs)
    return {site: Domain.of(counted[site]) for site in sort_sites(counted)}


def measure(cells: Sequence[dict[str, Any]], site: str, domain: Domain) -> dict[str, Any]:
    """L2 distances over a site's inputs, means over cells or pairs of cells."""

    def apart(when: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> float:
        return float(np.mean([distance(a[when][site], b[when][site], domain).l2 for a, b in pairs]))

    pairs = list(combinations(cells, 2))
    of_tasks = [(a, b) for a, b in pairs if a["task"] != b["task"] and a["seed"] == b["seed"]]
    of_seeds = [(a, b) for a, b in pairs if a["task"] == b["task"]]
    moved = [distance_moved(cell, site, domain) for cell in cells]
    fixed = FUNCTIONS["tanh" if "pooler" in site else FIXED]
    return {
        "site": site,
        "low": domain.x[0],
        "high": domain.x[-1],
        "to_fixed_before": np.mean([distance(c["before"][site], fixed, domain).l2 for c in cells]),
        "to_fixed_after": np.mean([distance(c["after"][site], fixed, domain).l2 for c in cells]),
        "moved": np.mean(moved),
        "moved_most": np.max(moved),
        "between_tasks_before": apart("before", of_tasks),
        "between_tasks_after": apart("after", of_tasks),
        "between_seeds_before": apart("before", of_seeds),
        "between_seeds_after": apart("after", of_seeds),
    }


def distance_moved(cell: dict[str, Any], site: str, domain: Domain) -> float:
    """L2 distance of a RAF from its initial one, over a site's inputs."""
    return distance(cell["after"][site], cell["before"][site], domain).l2


def moved_by_rate(cells: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Distances moved over a site's inputs: mean and maximum over sites and cells of a task."""
    domains = domains_of(cells)
    rows = [
        {
            "task": cell["task"],
            "raf_learning_rate": cell["raf_learning_rate"],
            "moved": distance_moved(cell, site, domain),
        }
        for cell in cells
        for site, domain in domains.items()
    ]
    table = pd.DataFrame(rows).groupby(["task", "raf_learning_rate"]).moved.agg(["mean", "max"])
    return table.reset_index()


if __name__ == "__main__":
    main()
