"""Analysis of learned RAFs: measures, distances, ablation and figures."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from raft.analysis.ablation import ablate
from raft.analysis.distances import cluster, distance_matrix, measure_changes
from raft.analysis.function_measures import Domain, merge_domains
from raft.analysis.learned import LearnedFunction, learned_functions
from raft.analysis.model_measures import measure_model, rational_functions, tabulate_measures

if TYPE_CHECKING:
    from raft.analysis.comparison_figures import draw_distances, draw_panels
    from raft.analysis.figures import draw_functions

__all__ = [
    "Domain", "LearnedFunction", "ablate", "cluster", "distance_matrix", "draw_distances", "draw_functions",
    "draw_panels", "learned_functions", "measure_changes", "measure_model", "merge_domains",
    "rational_functions", "tabulate_measures",
]  # fmt: skip

FIGURES = {
    "draw_distances": "comparison_figures",
    "draw_functions": "figures",
    "draw_panels": "comparison_figures",
}


def __getattr__(name: str) -> Any:
    """Import the figures on first use: measuring needs no matplotlib."""
    if name not in FIGURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FIGURES[name]}"), name)
