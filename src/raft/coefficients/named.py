"""The table of stored fits: each known activation, for the most common degrees and versions.

``scripts/fit_named_activations.py`` makes ``named.json`` with ``fit``; other fits are made on demand.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from raft.coefficients.fitting import Fit, check_degrees, fit
from raft.coefficients.functions import FUNCTIONS, canonical_name
from raft.kernels.reference import CONSTANT_TERM, VERSIONS

NAMED_FUNCTIONS = tuple(FUNCTIONS)
TABLE_INTERVAL = (-5.0, 5.0)
TABLE_DEGREES = ((3, 2), (5, 4), (7, 6))
SQUARED_FUNCTIONS = ("relu2", "leaky_relu2")
SQUARED_INTERVAL = (-8.0, 8.0)
SQUARED_DEGREES = ((6, 4),)
"""They grow as x², and so does a P/Q of such degrees. On [-r, r] the best fit errs by a share of r² that does
not depend on r."""
TABLE_VERSIONS = ("A", "B", "N")
"""C is B with all coefficients a tenth, D is B."""
IDENTITY = "identity"


@cache
def named_fit(name: str, degrees: tuple[int, int] = (5, 4), version: str = "A") -> Fit:
    """The fit of a known activation on [-5, 5]; on [-8, 8] for ``relu2`` and ``leaky_relu2`` with (6, 4).

    That of the identity is exact, from degrees (1, 0) on.

    Args:
        name: one of ``NAMED_FUNCTIONS``, or transformers' name of the same function (``gelu_new``, ``swish``
            …).
        degrees: (m, n), each from 0 to 12.
        version: A, B, C, D or N.

    Raises:
        ValueError: for an unknown name or version, or impossible degrees.
    """
    name = canonical_name(name)
    check_degrees(degrees)
    if name == IDENTITY and degrees[0] > 0:
        return identity_fit(degrees, version)
    interval = table_interval(name, degrees)
    row = _table().get(table_key(name, degrees, "B" if version in ("C", "D") else version))
    if row is None:
        return fit(name, degrees, version, interval=interval)
    scale = CONSTANT_TERM[version]
    return Fit(
        numerator=tuple(v * scale for v in row["numerator"]),
        denominator=tuple(v * scale for v in row["denominator"]),
        version=version,
        interval=interval,
        max_error=row["max_error"],
        rms_error=row["rms_error"],
    )


def identity_fit(
    degrees: tuple[int, int], version: str, interval: tuple[float, float] = TABLE_INTERVAL
) -> Fit:
    """x itself: P(x) = cx and Q(x) = c, the version's constant term.

    Args:
        degrees: (m, n), m from 1 on.
        version: A, B, C, D or N.
        interval: on which the function is used.

    Raises:
        ValueError: for impossible degrees, or an unknown version.
    """
    check_degrees(degrees)
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, not {version!r}")
    if degrees[0] < 1:
        raise ValueError(f"the identity needs degrees from (1, 0) on, not {degrees}")
    numerator = (0.0, CONSTANT_TERM[version], *(0.0 for _ in range(degrees[0] - 1)))
    return Fit(numerator, tuple(0.0 for _ in range(degrees[1])), version, interval, 0.0, 0.0)


def table_interval(name: str, degrees: tuple[int, int]) -> tuple[float, float]:
    """The interval of a known activation's fit."""
    is_wide = name in SQUARED_FUNCTIONS and tuple(degrees) in SQUARED_DEGREES
    return SQUARED_INTERVAL if is_wide else TABLE_INTERVAL


def table_degrees(name: str) -> tuple[tuple[int, int], ...]:
    """The degrees of a known activation's stored fits."""
    if name == IDENTITY:  # which needs none
        return ()
    return SQUARED_DEGREES if name in SQUARED_FUNCTIONS else TABLE_DEGREES


def table_key(name: str, degrees: tuple[int, int], version: str) -> str:
    """Key of a fit in ``named.json``."""
    return f"{name} {version} {degrees[0]},{degrees[1]}"


@cache
def _table() -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(Path(__file__).with_name("named.json").read_text())
    return rows
