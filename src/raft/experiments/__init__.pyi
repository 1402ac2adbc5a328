from .cells import CellFolder
from .comparison import ComparisonSettings, compare
from .grid import Grid, GridRecipe
from .pretraining import PretrainingComparison, compare_pretraining
from .statistics import Difference, Paired, compare_paired, compare_seeds, compare_sequences

__all__ = [
    "CellFolder",
    "ComparisonSettings",
    "Difference",
    "Grid",
    "GridRecipe",
    "Paired",
    "PretrainingComparison",
    "compare",
    "compare_paired",
    "compare_pretraining",
    "compare_seeds",
    "compare_sequences",
]
