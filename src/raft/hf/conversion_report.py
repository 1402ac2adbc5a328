"""What a conversion did, site by site."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ConvertedSite:
    """What was done at one site.

    Attributes:
        site: dotted name.
        kind: of the site.
        replaced: the function that was there.
        interval: that the fit was made for: the range of the inputs seen, where there was a calibration.
        max_error: largest distance to that function on the interval; 0 where the RAF stands beside it.
        rms_error: root mean square distance, over the inputs seen or over the interval.
        inputs: how many inputs were seen; 0 without calibration.
        shares: name of the site whose RAF this one uses, or None.
    """

    site: str
    kind: str
    replaced: str
    interval: tuple[float, float]
    max_error: float
    rms_error: float
    inputs: int
    shares: str | None = None


class ConversionReport(list[ConvertedSite]):
    """What a conversion did, site by site; a table when printed."""

    def __str__(self) -> str:
        if not self:
            return "nothing was converted"
        heads = ("site", "kind", "was", "fitted for", "max error", "rms error", "inputs")
        rows = [
            (
                each.site + (f" = {each.shares}" if each.shares else ""),
                each.kind,
                each.replaced,
                f"[{each.interval[0]:.1f}, {each.interval[1]:.1f}]",
                f"{each.max_error:.1e}",
                f"{each.rms_error:.1e}",
                f"{each.inputs:,}" if each.inputs else "none seen",
            )
            for each in self
        ]
        widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in (heads, *rows)
        ]
        return "\n".join(line.rstrip() for line in lines)

    def rows(self) -> list[dict[str, Any]]:
        """For a data frame or a file."""
        return [asdict(each) for each in self]
