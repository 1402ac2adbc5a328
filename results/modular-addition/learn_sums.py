"""Steps that a small network takes to learn addition modulo 59, by its activation function.

    python results/modular-addition/learn_sums.py search OUT
    python results/modular-addition/learn_sums.py run OUT
    python results/modular-addition/learn_sums.py tabulate OUT
    python results/modular-addition/learn_sums.py watch OUT

The task and the network are those of ``raft.experiments.modular_addition``; what counts is the first
evaluation, every 50 steps, at which 99 % of the held-out sums are right.

"RAF" is a ``raft.Rational`` that starts as GELU, "fixed gain" a ``raft.functions.FixedGainRational`` that
does, "found" the function that the latter learned with seed 4000, frozen. "search" tries learning rates and
weight decays for each function alike, with a seed that does not count, and "run" takes the best. Runs that
are in OUT are not made again. "watch" writes how far the gradient of a free RAF lies along its gain, and how
the gain grows, with the seed that does not count.
"""

from __future__ import annotations

import argparse
import csv
from itertools import product
from pathlib import Path
from statistics import fmean

import pandas as pd
import torch
from torch import Tensor, nn

import raft
from raft.experiments.modular_addition import GOAL, Adder, Rates, Sine, learn_sums
from raft.experiments.statistics import compare_seeds
from raft.functions import FixedGainRational, load_functions, save_functions
from raft.functions.fixed_gain import measure_gain
from raft.report.tables.numbers import format_interval

SEARCH_SEED, SEARCH_STEPS = 2021, 3000
FOUND_SEED, FOUND = 4000, "found"
SEEDS, STEPS = range(4001, 4011), 10_000
BASELINE = "GELU"
TRAINED = ("RAF", "RAF 7/6", "RAF, fixed gain")
ACTIVATIONS = (BASELINE, "ReLU", "sine", "square", "RAF, never trained", *TRAINED, FOUND)
RATES = {"lr": (3e-3, 1e-2, 3e-2), "decay": (0.1, 0.3, 1.0), "raf_lr": (5e-4, 5e-3, 5e-2)}
FIELDS = ("activation", *RATES, "seed", "steps", "accuracy")


class Square(nn.Module):
    """The square as an activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape and dtype of ``x``."""
        return torch.square(x)


def make_activation(name: str, found: Path) -> nn.Module:
    """A function of the table."""
    if name == FOUND:
        return load_functions(found)["ffn"].requires_grad_(False)
    if name == "RAF, fixed gain":
        return FixedGainRational()
    if name.startswith("RAF"):
        act = raft.Rational("gelu", (7, 6) if name == "RAF 7/6" else (5, 4))
        return act.requires_grad_(name in TRAINED)
    if name in (BASELINE, "ReLU"):
        return nn.GELU() if name == BASELINE else nn.ReLU()
    return Sine() if name == "sine" else Square()


def read(file: Path) -> pd.DataFrame:
    """The runs of a file, none where it is not there."""
    return pd.read_csv(file) if file.exists() else pd.DataFrame(columns=[*FIELDS])


def add(file: Path, name: str, seed: int, rates: dict[str, float], max_steps: int, found: Path) -> None:
    """Make a run and add it, unless it is there; functions that are not trained have no rate."""
    known = read(file)
    same = (known.activation == name) & (known.seed == seed)
    for key, value in rates.items():
        same &= known[key] == value
    if same.any():
        return
    row = {"activation": name, **rates, "seed": seed}
    run = learn_sums(name, make_activation(name, found), seed, Rates(**rates), max_steps)
    row |= {"steps": run.steps, "accuracy": run.accuracy}
    is_new = not file.exists()
    with file.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, FIELDS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def choose(searched: pd.DataFrame, name: str) -> dict[str, float]:
    """The best rates of a function: more accurate, and of those that reach the goal the fastest."""
    rows = searched[searched.activation == name].fillna({"steps": STEPS})
    rows = rows.assign(accuracy=rows.accuracy.clip(upper=GOAL))
    best = rows.sort_values(["accuracy", "steps"], ascending=[False, True], kind="stable").iloc[0]
    return {key: float(best[key]) for key in RATES}


def search(out: Path) -> None:
    """Try all rates of each function; then find the function that "found" keeps."""
    found = out / "found.json"
    for name in ACTIVATIONS:
        if name == FOUND and not found.exists():
            act = FixedGainRational()
            rates = Rates(**choose(read(out / "search.csv"), "RAF, fixed gain"))
            learn_sums(name, act, FOUND_SEED, rates, STEPS)
            save_functions(found, {"ffn": act}, {"script": Path(__file__).name, "seed": FOUND_SEED})
        tried = RATES if name in TRAINED else {**RATES, "raf_lr": (0.0,)}
        for values in product(*tried.values()):
            chosen = dict(zip(RATES, values, strict=True))
            add(out / "search.csv", name, SEARCH_SEED, chosen, SEARCH_STEPS, found)


def run(out: Path) -> None:
    """Train each function with each seed at its rates."""
    searched = read(out / "search.csv")
    for seed, name in product(SEEDS, ACTIVATIONS):
        add(out / "runs.csv", name, seed, choose(searched, name), STEPS, out / "found.json")


def tabulate(runs: pd.DataFrame) -> str:
    """A row a function: seeds that reach the goal, their steps, and the accuracy in points minus GELU's.

    Accuracies are those at the goal or at the end. Intervals are Student's, of 95 %, paired by seed.
    """
    lines = [
        "| activation | rate, decay, RAF's rate | seeds at 99 % | steps, median | right, % | minus GELU |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    baseline = runs[runs.activation == BASELINE].set_index("seed").accuracy
    for name in ACTIVATIONS:
        rows = runs[runs.activation == name]
        if not len(rows):
            continue
        first, accuracies = rows.iloc[0], rows.set_index("seed").accuracy
        rates = ", ".join(f"{first[key]:g}" for key in RATES if key != "raf_lr" or name in TRAINED)
        median = rows.steps.fillna(float("inf")).median()
        pairs = (100 * values[accuracies.index] for values in (accuracies, baseline))
        difference = compare_seeds(*(values.tolist() for values in pairs))
        interval = format_interval(difference.mean, difference.low, difference.high, 1)
        cells = [
            f"{name}",
            rates,
            f"{rows.steps.notna().sum()} of {len(rows)}",
            "" if median == float("inf") else f"{median:,.0f}",
            f"{100 * accuracies.mean():.1f}",
            "" if name == BASELINE else interval,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def watch(out: Path) -> None:
    """Write, each 100 steps, the gain of a free RAF, and the mean cosine between its gradient and itself."""
    act = raft.Rational("gelu")
    cosines: list[float] = []
    lines = ["step,gain,cosine"]

    def note(step: int, model: Adder) -> None:
        numerator = act.numerator.detach()
        assert act.numerator.grad is not None
        cosines.append(float(nn.functional.cosine_similarity(numerator, act.numerator.grad, dim=0).abs()))
        if step == 1 or step % 100 == 0:
            gain = float(measure_gain(numerator, act.denominator.detach()))
            lines.append(f"{step},{gain:.3g},{fmean(cosines[-100:]):.2f}")

    learn_sums("RAF", act, SEARCH_SEED, Rates(1e-2, 0.3, 5e-3), 1500, note)
    (out / "gain.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["search", "run", "tabulate", "watch"])
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "search":
        search(options.out)
    elif options.what == "run":
        run(options.out)
    elif options.what == "watch":
        watch(options.out)
    else:
        table = tabulate(read(options.out / "runs.csv"))
        (options.out / "table.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
