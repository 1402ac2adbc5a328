"""Write the functions that the question compares: two shapes at three gains, for each of four layers.

    python results/gain/write_functions.py results/cpu-pretraining-1hour/raf-2022 results/gain

Shapes are GELU's fit and what RAFs of four layers had become at the end of a training (cpu-1hour, seed 2022).
Gains, root mean squares over standard normal inputs, are GELU's ("full"), those of the trained RAFs ("low"),
and their geometric mean ("middle"). GELU at its own gain is the default start and needs no file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import raft
from raft.analysis.snapshots import Raf, read_snapshots, sort_sites
from raft.functions import save_functions, set_gain
from raft.functions.fixed_gain import measure_gain


def main() -> None:
    """Write ``gelu-middle.json``, ``gelu-low.json``, ``raf-full.json`` and so on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    rafs = read_snapshots(options.run)[-1].rafs
    files: dict[str, dict[str, raft.Rational]] = {}
    for layer, site in enumerate(sort_sites(rafs)):
        learned = rafs[site]
        assert isinstance(learned, Raf)
        start = raft.Rational("gelu")
        full = float(measure_gain(start.numerator.detach(), start.denominator.detach()))
        low = float(measure_gain(torch.tensor(learned.numerator[0]), torch.tensor(learned.denominator[0])))
        for name, gain in (("full", full), ("middle", (full * low) ** 0.5), ("low", low)):
            gelu, act = raft.Rational("gelu"), raft.Rational("gelu")
            with torch.no_grad():
                act.numerator.copy_(torch.tensor(learned.numerator[0]))
                act.denominator.copy_(torch.tensor(learned.denominator[0]))
            for shape, function in (("gelu", gelu), ("raf", act)):
                set_gain(function, gain)
                files.setdefault(f"{shape}-{name}", {})[f"ffn.{layer}"] = function
    for name, functions in files.items():
        if name != "gelu-full":
            save_functions(
                options.out / f"{name}.json",
                functions,
                {"run": f"{options.run.parent.name}/{options.run.name}"},
            )


if __name__ == "__main__":
    main()
