from .ablation import ablate
from .comparison_figures import draw_distances, draw_panels
from .distances import cluster, distance_matrix, measure_changes
from .figures import draw_functions
from .function_measures import Domain, merge_domains
from .learned import LearnedFunction, learned_functions
from .model_measures import measure_model, rational_functions, tabulate_measures

__all__ = [
    "Domain",
    "LearnedFunction",
    "ablate",
    "cluster",
    "distance_matrix",
    "draw_distances",
    "draw_functions",
    "draw_panels",
    "learned_functions",
    "measure_changes",
    "measure_model",
    "merge_domains",
    "rational_functions",
    "tabulate_measures",
]
