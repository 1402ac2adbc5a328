"""RAFTs less their FAFTs, paired by seed, of an evaluation of models called raf-SEED and gelu-SEED.

    python results/evaluation/compare_seeds.py results/evaluation/gpu-blimp

Writes ``seeds.md`` there: a row a phenomenon, and one for all; Student's intervals over seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raft.experiments.statistics import compare_seeds
from raft.report.tables.numbers import format_interval
from raft.report.tables.text_table import TextTable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    content = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    results: dict[str, Any] = {Path(name).name: result for name, result in content["results"].items()}
    seeds = sorted(name.removeprefix("raf-") for name in results if name.startswith("raf-"))
    rows = []
    phenomena = [*next(iter(results.values()))["phenomena"], None]
    for phenomenon in phenomena:
        shares = {
            name: [100 * _score(results[f"{name}-{seed}"], phenomenon) for seed in seeds]
            for name in ("raf", "gelu")
        }
        difference = compare_seeds(shares["raf"], shares["gelu"])
        text = format_interval(difference.mean, difference.low, difference.high, 1)
        means = [f"{np.mean(shares[name]):.1f}" for name in ("raf", "gelu")]
        rows.append([phenomenon or "all", *means, text])
    headers = ["phenomenon", "raf (%)", "gelu (%)", f"raf minus gelu [95 %, {len(seeds)} seeds]"]
    table = TextTable("Seeds", pd.DataFrame(rows, columns=headers), labels=1)
    (folder / "seeds.md").write_text(table.markdown(), encoding="utf-8")


def _score(result: dict[str, Any], phenomenon: str | None) -> float:
    group = result["overall"] if phenomenon is None else result["phenomena"][phenomenon]
    return float(group["by_sum"]["value"])


if __name__ == "__main__":
    main()
