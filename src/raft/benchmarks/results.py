"""What a benchmark leaves: its rows, and the machine and settings that they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raft.experiments.machine import machine
from raft.files import write_text
from raft.training.run_folder import RESULTS

TABLE = "results.csv"


def write_rows(
    folder: Path, command: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write ``results.json`` and ``results.csv`` into a folder, which is made where it is missing."""
    whole = {"command": command, "settings": dict(settings), "machine": machine(), "rows": list(rows)}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RESULTS, json.dumps(whole, indent=2, default=str) + "\n")
    write_text(folder / TABLE, pd.DataFrame(rows).to_csv(index=False))
