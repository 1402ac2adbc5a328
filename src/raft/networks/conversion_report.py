"""The report of a conversion, site by site."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

REPORT = "conversion_report"
"""Attribute of a converted model."""

HEADS = ("was", "fitted for", "max error", "rms error", "inputs")
"""Of the columns that :func:`format_cells` fills."""

UNCALIBRATED = (
    "not calibrated: these errors leave out the inputs beyond the intervals, which pretrained models often "
    "have; convert(model, calibration=…) fits to the model's own inputs"
)


@dataclass(frozen=True)
class ConvertedSite:
    """The conversion of one site.

    Attributes:
        site: dotted name.
        kind: of the site.
        replaced: the function before.
        interval: of the fit: the range of the calibration's inputs, where there is a calibration.
        max_error: largest distance to that function on the interval; 0 for a residual RAF, None for a learned
            function that does not follow the one before (``init="default"``).
        rms_error: root mean square distance, over the calibration's inputs or over the interval.
        inputs: number of the calibration's inputs; 0 without calibration.
        shares: name of the site whose RAF this one uses, or None.
    """

    site: str
    kind: str
    replaced: str
    interval: tuple[float, float]
    max_error: float | None
    rms_error: float | None
    inputs: int
    shares: str | None = None


class ConversionReport(list[ConvertedSite]):
    """The converted sites of a model; a table when printed.

    Attributes:
        not_reached: activations that stay as they are, as the code that calls them cannot be changed.
    """

    not_reached: tuple[str, ...] = ()

    def __str__(self) -> str:
        left = [f"not reached: {place}" for place in self.not_reached]
        if not self:
            return "\n".join(["nothing was converted", *left])
        rows = [["site", "kind", *HEADS]]
        for row in self:
            name = row.site + (f" = {row.shares}" if row.shares else "")
            rows.append([name, row.kind, *format_cells(row)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        if not any(row.inputs for row in self) and any(row.max_error for row in self):
            left.append(UNCALIBRATED)
        return "\n".join([*(line.rstrip() for line in lines), *left])

    def rows(self) -> list[dict[str, Any]]:
        """The sites as dictionaries, for a data frame or a file."""
        return [asdict(row) for row in self]


def format_cells(row: ConvertedSite) -> list[str]:
    """What a table says about a site beside its name and kind, in the columns of ``HEADS``."""
    (low, high), errors = row.interval, (row.max_error, row.rms_error)
    return [
        row.replaced,
        "nothing" if row.max_error is None else f"[{low:.1f}, {high:.1f}]",
        *("" if error is None else f"{error:.1e}" if error else "0" for error in errors),
        f"{row.inputs:,}" if row.inputs else "none seen",
    ]
