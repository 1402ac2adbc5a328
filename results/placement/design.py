"""A designed experiment: which RAFs, at which sites, shared how and trained how fast, lower the loss.

Eighteen variants of a pretraining, an orthogonal array (Taguchi's L18), in which each pair of levels of two
factors occurs equally often. So the mean loss over the variants with a level, minus the mean of all, is that
level's effect, whatever the other factors do, as far as effects add up.

    python results/placement/design.py variants                        # for raft pretrain --compare
    python results/placement/design.py keep masked runs/placement-masked
    python results/placement/design.py effects

The second adds the losses of the runs in a folder to ``losses.csv``, the third writes ``effects.md`` of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from raft.pretraining.run import PretrainingResult
from raft.pretraining.variants import folder_name
from raft.report.tables.numbers import format_signed

LOSSES = Path(__file__).parent / "losses.csv"
MODELS = ("masked", "causal")
CONTROLS = {
    "gelu": "GELU",
    "raf:raf_learning_rate=0": "never trained",
    "raf:raf_gain=0.15:raf_learning_rate=0": "at a gain of 0.15, never trained",
    "fixed_gain:raf_gain=0.15:raf_learning_rate=5e-4": "of a fixed gain of 0.15",
}
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


def folder_of(variant: str) -> str:
    """The name of its runs' folder, without the seed."""
    return folder_name(variant, 0).removesuffix("-0")


def keep(model: str, folder: Path) -> None:
    """Add the losses of the runs that have ended in ``folder`` to those kept."""
    rows = []
    for path in folder.glob("*/pretraining.json"):
        run = PretrainingResult.read(path.parent)
        variant = path.parent.name.removesuffix(f"-{run.seed}")
        rows.append({"model": model, "variant": variant, "seed": run.seed, "loss": round(run.loss, 4)})
    table = pd.concat([pd.read_csv(LOSSES), pd.DataFrame(rows)]) if LOSSES.exists() else pd.DataFrame(rows)
    keys = ["model", "variant", "seed"]
    table.drop_duplicates(keys, keep="last").sort_values(keys).to_csv(LOSSES, index=False)


def effects(losses: pd.DataFrame) -> dict[str, str]:
    """Of one model's losses ``[variant, seed]``: of each level its effect, in nats, with a 95 % interval.

    Seeds are blocks: of each loss the mean of its seed's eighteen is taken off. Intervals are of the noise
    between seeds, or of what the additive model leaves of the variants' means where that is larger.
    Interactions between factors are not part of them, so what is chosen is confirmed by runs of its own.
    Sharing by kind and sharing of all are one and the same where there is one kind of site.
    """
    designed = [folder_of(variant) for variant in variants()[len(CONTROLS) :]]
    table = losses.loc[designed].to_numpy()
    seeds = table.shape[1]
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
    lack = seeds * ((means - additive) ** 2).sum() / of_fit
    of_seeds = (len(L18) - 1) * (seeds - 1)
    noise = ((centred - means[:, None]) ** 2).sum() / of_seeds if of_seeds else 0.0
    freedom = of_seeds if noise >= lack else of_fit
    deviation = np.sqrt(max(noise, lack))
    cells = {}
    for (factor, level), effect in parts.items():
        count = len(L18) // len(FACTORS[factor]) * seeds
        half = t.ppf(0.975, freedom) * deviation * np.sqrt(1 / count - 1 / centred.size)
        cells[f"{factor} | {level}"] = f"{format_signed(effect, 3)} ± {half:.3f}"
    above = losses.mean(axis=1) - losses.loc["gelu"].mean()
    for name, words in [*CONTROLS.items()][1:]:
        cells[f"minus gelu | {words}"] = format_signed(above[folder_of(name)], 3)
    cells["minus gelu | all eighteen"] = format_signed(above[designed].mean(), 3)
    cells["minus gelu | the lowest of the eighteen"] = format_signed(above[designed].min(), 3)
    return cells


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["variants", "keep", "effects"])
    parser.add_argument("model", nargs="?", choices=MODELS)
    parser.add_argument("runs", nargs="?", type=Path)
    options = parser.parse_args()
    if options.what == "variants":
        print(",".join(variants()))
    elif options.what == "keep":
        keep(options.model, options.runs)
    else:
        kept = pd.read_csv(LOSSES)
        masked, causal = (
            effects(rows.pivot(index="variant", columns="seed", values="loss").dropna(axis=1))
            for rows in (kept[kept["model"] == model] for model in MODELS)
        )
        lines = ["| factor | level | masked | causal |", "| --- | --- | ---: | ---: |"]
        lines += [f"| {name} | {masked[name]} | {causal[name]} |" for name in masked]
        (LOSSES.parent / "effects.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
