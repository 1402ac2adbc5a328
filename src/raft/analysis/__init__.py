"""Analysis of learned RAFs: measures, distances, ablation and figures."""

from typing import TYPE_CHECKING

from raft.analysis.ablation import ablate
from raft.analysis.distances import cluster, distance_matrix, measure_changes
from raft.analysis.function_measures import Domain, merge_domains
from raft.analysis.learned import LearnedFunction, learned_functions
from raft.analysis.model_measures import measure_model, rational_functions, tabulate_measures
from raft.lazy import lazy_attributes

if TYPE_CHECKING:
    from raft.analysis.comparison_figures import draw_distances, draw_panels
    from raft.analysis.figures import draw_functions

__all__ = [
    "Domain", "LearnedFunction", "ablate", "cluster", "distance_matrix", "draw_distances", "draw_functions",
    "draw_panels", "learned_functions", "measure_changes", "measure_model", "merge_domains",
    "rational_functions", "tabulate_measures",
]  # fmt: skip

__getattr__ = lazy_attributes(  # measuring needs no matplotlib
    __name__,
    {
        "draw_distances": "raft.analysis.comparison_figures",
        "draw_functions": "raft.analysis.figures",
        "draw_panels": "raft.analysis.comparison_figures",
    },
)
