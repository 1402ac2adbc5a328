"""The ``raf`` block of a model's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from transformers import PreTrainedConfig

from raft.coefficients.fitting import check_degrees
from raft.coefficients.functions import canonical_name
from raft.functional import check_version

SITES = ("ffn", "pooler")


@dataclass(frozen=True)
class RafConfig:
    """Which activations of a model are rational, and what they start from.

    Attributes:
        sites: kinds of places: ``"ffn"`` (every feed-forward layer) and ``"pooler"``.
        degrees: (m, n) of numerator and denominator.
        version: form of the denominator, see :func:`raft.rational`.
        init: name of the function to start from, or ``"auto"`` for the one that the site had before.

    Raises:
        ValueError: for an unknown site, version or function, or impossible degrees.
    """

    sites: Sequence[str] = SITES
    degrees: tuple[int, int] = (5, 4)
    version: str = "A"
    init: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        object.__setattr__(self, "degrees", tuple(self.degrees))
        unknown = [site for site in self.sites if site not in SITES]
        if unknown or not self.sites:
            raise ValueError(f"raf.sites must be taken from {', '.join(SITES)}, not {list(self.sites)}")
        check_degrees(self.degrees)
        check_version(self.version)
        if self.init != "auto":
            canonical_name(self.init)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RafConfig:
        """Build from the block of a ``config.json``; ``ValueError`` for a key that does not belong there."""
        known = [field.name for field in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} in the raf block; known are {', '.join(known)}")
        return cls(**values)

    @classmethod
    def of(cls, config: PreTrainedConfig) -> RafConfig | None:
        """The block of a model's configuration, or None for a model with fixed activations."""
        block = getattr(config, "raf", None)
        if block is None:
            return None
        return block if isinstance(block, cls) else cls.from_dict(block)

    def to_dict(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return {**asdict(self), "sites": list(self.sites), "degrees": list(self.degrees)}
