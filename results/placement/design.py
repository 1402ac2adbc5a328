"""A designed experiment: which RAFs, in which places, shared how and trained how fast, lower the loss.

Eighteen variants of a pretraining, an orthogonal array (Taguchi's L18), in which each pair of levels of two
factors occurs equally often. So the mean loss over the variants with a level, less the mean of all, is that
level's effect, whatever the other factors do, as far as effects add up.

    python results/placement/design.py variants          # for raft pretrain --compare
    python results/placement/design.py effects RUN effects.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import t

from raft.experiments.pretraining import PretrainingComparison
from raft.report.tables.numbers import format_signed

CONTROLS = (
    "gelu",
    "raf:raf_learning_rate=0",
    "raf:raf_gain=0.15:raf_learning_rate=0",
    "fixed_gain:raf_gain=0.15:raf_learning_rate=5e-4",
)
OWN = "a RAF a layer"
"""The default, which has no name."""
FACTORS: dict[str, tuple[str, ...]] = {
    "raf_weight_decay": ("0", "0.1"),
    "raf_sites": ("ffn", "attention_input", "ffn+attention_input"),
    "raf_shared": (OWN, "kind", "all"),
    "raf_init": ("gelu", "gelu:raf_gain=0.15", "relu2"),
    "degrees": ("5/4", "6/4", "3/2"),
    "raf_groups": ("1", "4", "8"),
    "raf_learning_rate": ("5e-4", "2e-3", "8e-3"),
    "raf_lr_scheduler_type": ("constant", "linear", "cosine"),
}
L18 = (
    "11111111", "11222222", "11333333", "12112233", "12223311", "12331122",
    "13121323", "13232131", "13313212", "21133221", "21211332", "21322113",
    "22123132", "22231213", "22312321", "23132312", "23213123", "23321231",
)  # fmt: skip


def variants() -> list[str]:
    """Labels of the variants, and before them the controls'."""
    chosen = [
        {name: levels[int(i) - 1] for i, (name, levels) in zip(row, FACTORS.items(), strict=True)}
        for row in L18
    ]
    return [
        *CONTROLS,
        *(":".join(["raf", *(f"{k}={v}" for k, v in levels.items() if v != OWN)]) for levels in chosen),
    ]


def effects(folder: Path) -> str:
    """A table: of each level its effect on the loss, in nats, with a 95 % interval.

    Seeds are blocks: of each loss the mean of its seed's eighteen is taken off. Intervals are of the noise
    between seeds, or of what the additive model leaves of the variants' means where that is larger.
    Interactions between factors are not part of them, so what is chosen is confirmed by runs of its own.
    Sharing by kind and sharing of all are one and the same where there is one kind of site.
    """
    losses = {
        (variant.activation, result.seed): result.loss
        for variant in PretrainingComparison.read(folder).variants
        for result in variant.results
    }
    names = variants()[len(CONTROLS) :]
    seeds = sorted({seed for _, seed in losses})
    table = np.array([[losses[name, seed] for seed in seeds] for name in names])
    centred = table - table.mean(axis=0)
    parts = {
        (factor, level): centred[[row[column] == str(i) for row in L18]].mean()
        for column, (factor, levels) in enumerate(FACTORS.items())
        for i, level in enumerate(levels, start=1)
    }
    additive = [
        sum(parts[factor, levels[int(row[c]) - 1]] for c, (factor, levels) in enumerate(FACTORS.items()))
        for row in L18
    ]
    means = centred.mean(axis=1)
    of_fit = len(L18) - 1 - sum(len(levels) - 1 for levels in FACTORS.values())
    lack = len(seeds) * ((means - additive) ** 2).sum() / of_fit
    of_seeds = (len(L18) - 1) * (len(seeds) - 1)
    noise = ((centred - means[:, None]) ** 2).sum() / of_seeds if of_seeds else 0.0
    freedom = of_seeds if noise >= lack else of_fit
    deviation = np.sqrt(max(noise, lack))
    lines = ["| factor | level | effect [95 %] |", "| --- | --- | ---: |"]
    for (factor, level), effect in parts.items():
        count = len(L18) // len(FACTORS[factor]) * len(seeds)
        half = t.ppf(0.975, freedom) * deviation * np.sqrt(1 / count - 1 / centred.size)
        lines.append(f"| {factor} | {level} | {format_signed(effect, 3)} ± {half:.3f} |")
    controls = [np.mean([losses[name, seed] for seed in seeds]) for name in CONTROLS]
    lines += [f"| mean of all | | {format_signed(float(table.mean() - controls[0]), 3)} less gelu |"]
    for name, mean in zip(CONTROLS[1:], controls[1:], strict=True):
        lines.append(f"| {name} | | {format_signed(float(mean - controls[0]), 3)} less gelu |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["variants", "effects"])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("out", nargs="?", type=Path)
    options = parser.parse_args()
    if options.what == "variants":
        print(",".join(variants()))
    else:
        options.out.write_text(effects(options.run), encoding="utf-8")


if __name__ == "__main__":
    main()
