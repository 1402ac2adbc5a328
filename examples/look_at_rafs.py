"""Look at what a RAFT has learned: at the end you have a figure of its RAFs, and a table of their measures.

Each panel shows a RAF, the function that it began as, and where its inputs lie while the model reads texts.

    python examples/look_at_rafs.py results/cpu-pretraining-1hour/raf-2022 README.md
    python examples/look_at_rafs.py my-raft texts.txt --out rafs.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import transformers

import raft
from raft.analysis import draw_functions, learned_functions, measure_model, merge_domains, tabulate_measures

COLUMNS = ["site", "low", "high", "l2_to_start", "max_to_start", "nearest", "affine", "pieces"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a RAFT, or its name on the hub")
    parser.add_argument("texts", type=Path, help="file of texts, one a line")
    parser.add_argument("--out", default="rafs.png", help="png, pdf or svg")
    options = parser.parse_args(arguments)

    texts = [line for line in options.texts.read_text(encoding="utf-8").splitlines() if line.strip()][:256]
    (name,) = transformers.AutoConfig.from_pretrained(options.model).architectures
    package = transformers if hasattr(transformers, name) else raft.models
    model = getattr(package, name).from_pretrained(options.model)

    inputs = {site: seen for site, seen in raft.hf.count_inputs(model, texts).items() if seen.total}
    low, high = merge_domains(list(inputs.values())).x[[0, -1]]
    draw_functions(learned_functions(model, (low, high)), inputs).savefig(options.out, dpi=160)
    print(tabulate_measures(measure_model(model, texts))[COLUMNS].round(3).to_string(index=False))
    print(f"{len(raft.hf.rationals(model))} RAFs drawn in {options.out}")


if __name__ == "__main__":
    main()
