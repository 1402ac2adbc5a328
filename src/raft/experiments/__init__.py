"""Comparisons of a RAFT with its FAFT, in one process or in many; statistics over seeds."""

from typing import TYPE_CHECKING

from raft.experiments.statistics import Difference, Paired, compare_paired, compare_seeds, compare_sequences
from raft.lazy import lazy_attributes

if TYPE_CHECKING:
    from raft.experiments.cells import CellFolder
    from raft.experiments.comparison import ComparisonSettings, compare
    from raft.experiments.grid import Grid, GridRecipe
    from raft.experiments.pretraining import PretrainingComparison, compare_pretraining

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
__getattr__ = lazy_attributes(
    __name__,
    {
        "CellFolder": "raft.experiments.cells",
        "ComparisonSettings": "raft.experiments.comparison",
        "Grid": "raft.experiments.grid",
        "GridRecipe": "raft.experiments.grid",
        "PretrainingComparison": "raft.experiments.pretraining",
        "compare": "raft.experiments.comparison",
        "compare_pretraining": "raft.experiments.pretraining",
    },
)
