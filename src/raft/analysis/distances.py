"""Distances between learned functions: of layers, tasks, seeds; before and after training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from raft.analysis.function_measures import Domain, distance
from raft.coefficients.functions import Function


def distance_matrix(functions: Mapping[str, Function], domain: Domain) -> pd.DataFrame:
    """Compute pairwise L2 distances over one domain; labels are the keys."""
    values = np.stack([function(domain.x) for function in functions.values()])
    differences = values[:, None] - values[None]
    squares = np.einsum("ijx,x->ij", differences**2, domain.weights)
    labels = list(functions)
    return pd.DataFrame(np.sqrt(squares), index=labels, columns=labels)


def cluster(matrix: pd.DataFrame) -> list[str]:
    """The labels of a matrix of distances in an order in which what is alike stands together.

    Raises:
        ValueError: for fewer than two functions.
    """
    if len(matrix) < 2:
        raise ValueError("clustering needs two or more functions")
    merges = linkage(squareform(matrix.to_numpy(), checks=False), method="average", optimal_ordering=True)
    return [str(matrix.index[int(place)]) for place in leaves_list(merges)]


def measure_changes(
    before: Mapping[str, Function], after: Mapping[str, Function], domains: Mapping[str, Domain]
) -> pd.DataFrame:
    """How far a training moved each RAF, over the inputs that it gets.

    Args:
        before: functions by site.
        after: of the same sites.
        domains: of each site.

    Returns:
        One row a site: ``site``, ``l2``, ``max``, ``at``.
    """
    rows = []
    for site, function in after.items():
        change = distance(function, before[site], domains[site])
        rows.append({"site": site, "l2": change.l2, "max": change.max, "at": change.at})
    return pd.DataFrame(rows, columns=["site", "l2", "max", "at"])
