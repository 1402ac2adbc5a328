"""Results of a comparison, and the machine that they were made on."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from raft.errors import InputError
from raft.experiments.statistics import Difference
from raft.files import read_json, write_text

RESULTS = "results.json"


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        measure: what was measured.
        unit: of all numbers of the row.
        faft: mean over seeds.
        raft: mean over seeds.
        faft_std: standard deviation over seeds, None for one seed.
        raft_std: standard deviation over seeds, None for one seed.
        difference: RAFT − FAFT with its 95 % interval, None where there is none to give.
        lower_is_better: which way is good.
        seeds: how many.
    """

    measure: str
    unit: str
    faft: float
    raft: float
    faft_std: float | None = None
    raft_std: float | None = None
    difference: Difference | None = None
    lower_is_better: bool = False
    seeds: int = 1


@dataclass(frozen=True)
class Results:
    """Everything a run found out; ``results.json`` holds just this.

    Attributes:
        rows: the table.
        unigram_loss: validation loss of the unigram model, in nats.
        settings: what the run was asked to do.
        command: that repeats it.
        setup: sizes, steps, versions, machine.
        history: of each model, ``[step, validation loss]``.
        scores: of each task and model, one score a seed.
        seconds: of the stages.
    """

    rows: list[Row]
    unigram_loss: float
    settings: dict[str, Any]
    command: str
    setup: dict[str, Any]
    history: dict[str, list[tuple[int, float]]]
    scores: dict[str, dict[str, list[float]]]
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Of a run's folder.

        Raises:
            InputError: where ``results.json`` is not such a run's.
        """
        file = folder / RESULTS
        what = "comparison of 'raft demo'"
        results = read_json(file, cls, what)
        missing = {"steps", "validation_sequences", "train_examples"} - {*results.setup, *results.settings}
        if missing or not results.rows:
            raise InputError(f"{file} holds no {what}: it has no {min(missing, default='rows')}")
        return results

    def write(self, folder: Path) -> None:
        """Write ``results.json`` and ``results.csv``."""
        write_text(folder / RESULTS, json.dumps(asdict(self), indent=2) + "\n")
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            interval = row.pop("difference") or {"mean": None, "low": None, "high": None}
            row |= {f"difference_{key}": value for key, value in interval.items()}
        write_text(folder / "results.csv", pd.DataFrame(rows).to_csv(index=False))


def machine() -> dict[str, Any]:
    """What the run was made with and on."""
    packages = ("torch", "transformers", "tokenizers", "numpy", "raft-transformers")
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "processor": _processor(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
