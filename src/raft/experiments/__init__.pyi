from .cells import CellFolder
from .grid import Grid, GridRecipe
from .pretraining import PretrainingComparison, compare_pretraining
from .statistics import Difference, Paired, compare_paired, compare_seeds

__all__ = [
    "CellFolder",
    "Difference",
    "Grid",
    "GridRecipe",
    "Paired",
    "PretrainingComparison",
    "compare_paired",
    "compare_pretraining",
    "compare_seeds",
]
