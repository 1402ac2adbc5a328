"""Small folders of every kind of run, as the commands would write them, in no time."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import raft
from raft.cli.commands.grid import write_results
from raft.experiments.grid import GridRecipe
from raft.experiments.modular_addition import GELU, RATES, SumComparison, SumRun
from raft.experiments.pretraining import PretrainingComparison, Variant
from raft.experiments.statistics import compare_seeds
from raft.finetuning.run import FinetuningResult
from raft.hf.histogram import InputHistogram
from raft.pretraining.run import PretrainingResult
from raft.report.page.page import Section, render_page
from raft.report.tables.grid import build_frame
from raft.training.monitoring import append_snapshot, write_inputs, write_snapshots

LAYERS = [f"bert.encoder.layer.{layer}.intermediate.intermediate_act_fn" for layer in range(11)]
SITES = [LAYERS[0], LAYERS[2], LAYERS[10], "bert.pooler.activation"]


def coefficients(sites: list[str], moved: float, version: str = "A") -> dict[str, torch.Tensor]:
    """RAFs that are GELU's fit, and differ from it, and from one another, the more they have moved."""
    actual = {}
    for number, site in enumerate(sites):
        fit = raft.named_fit("gelu", version=version)
        actual[f"{site}.numerator"] = torch.tensor(fit.numerator) + 0.01 * moved * (number + 1)
        actual[f"{site}.denominator"] = torch.tensor(fit.denominator) * (1 + 0.1 * moved)
    return actual


def snapshots(run: Path, steps: list[int], sites: list[str] = SITES, beside: str | None = None) -> None:
    """Write a run's ``rafs.safetensors`` and ``inputs.json``."""
    form = {f"{site}.version": "A" for site in sites}
    form |= {f"{site}.beside": beside for site in sites if beside}
    stacked: dict[str, torch.Tensor] = {}
    for number, step in enumerate(steps):
        stacked = append_snapshot(stacked, step, coefficients(sites, number))
    write_snapshots(run, stacked, form)
    histogram = InputHistogram()
    histogram.add(torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 1.5 - 1)
    write_inputs(run, dict.fromkeys(sites, histogram))


def demo(folder: Path, **changes: Any) -> Path:
    """Of ``raft demo``."""
    folder.mkdir(parents=True)
    replace(sums(), **changes).write(folder)
    snapshots(folder, [0, 100], ["activation"])
    return folder


def sums() -> SumComparison:
    """Two networks of each activation, of which all but those with GELU learn."""
    runs = [
        SumRun(
            name, seed, None if name == GELU else 50 * seed, 0.5 if name == GELU else 0.99, [(50 * seed, 0.5)]
        )
        for name in RATES
        for seed in (1, 2)
    ]
    return SumComparison(runs, 100, "raft demo --max_steps 100", {"torch": "2"})


def pretraining(folder: Path, command: str = "raft pretrain --compare raf,gelu --seeds 2") -> Path:
    """Of ``raft pretrain --compare raf,gelu``."""
    seeds = {2022: 0.0, 2023: 0.25}
    actual: dict[str, list[PretrainingResult]] = {"raf": [], "gelu": []}
    for activation, gained in (("raf", 0.5), ("gelu", 0.0)):
        for seed, spread in seeds.items():
            loss = 4.0 + spread - gained * (1 + spread)
            history = [(50, 1.0, 6.0), (100, 2.0, loss)]
            result = PretrainingResult(activation, seed, 100, loss, 6.5, 2.0, 6400, 1234, history)
            actual[activation].append(result)
            run = folder / f"{activation}-{seed}"
            run.mkdir(parents=True)
            (run / "pretraining.json").write_text(json.dumps({**vars(result)}))
            (run / "recipe.yaml").write_text(f"activation: {activation}\nraf_init: gelu\nhidden_size: 64\n")
        if activation == "raf":
            for seed in seeds:
                snapshots(folder / f"raf-{seed}", [0, 50, 100])
    losses = {name: [result.loss for result in of_it] for name, of_it in actual.items()}
    variants = [
        Variant("raf", actual["raf"], compare_seeds(losses["raf"], losses["gelu"])),
        Variant("gelu", actual["gelu"]),
    ]
    PretrainingComparison(variants, command, {"documents": {"train": 321}, "torch": "2"}).write(folder)
    return folder


def grid(folder: Path, task: str = "rte", seeds: int = 3) -> Path:
    """What is kept of a grid: its tables, and cells with RAFs, one of them of the search for rates."""
    folder.mkdir(parents=True)
    rows = []
    for activation, points in (("keep", 50.0), ("raf", 52.0), ("raf-residual", 51.0)):
        for seed in range(seeds):
            options = {
                "task": task, "model": "runs/minilm", "activation": activation, "tuning": "full",
                "train_examples": "100", "learning_rate": 1e-4,
                "raf_learning_rate": 0.0 if activation == "keep" else 1e-3, "seed": seed,
            }  # fmt: skip
            if activation != "keep":
                cell(folder, f"{activation}-{seed}", options)
            rate = None if activation == "keep" else 1e-3
            rows.append({**options, "raf_learning_rate": rate, "points": points + seed, "constant": False})
    cell(folder, "searched", {**options, "learning_rate": 7e-7})
    recipe = GridRecipe(models=["runs/minilm"], activations=["keep", "raf", "raf-residual"])
    write_results(build_frame(rows, recipe), folder)
    return folder


def finetuning(folder: Path) -> Path:
    """What ``raft finetune`` leaves."""
    snapshots(folder, [0, 40])
    result = FinetuningResult(
        task="mrpc", seed=7, validation=78.5, tests={"MRPC": 80.1},
        parts={"MRPC": {"accuracy": 78.95, "f1": 81.25}}, constant=["MRPC"], epoch=2,
        history=[70.0, 78.5, 78.0], trained={"RAFs": 20, "head": 99, "weights": 0},
        examples={"train": 100, "validation": 100}, seconds={"training": 9.0, "all": 12.0},
    )  # fmt: skip
    (folder / "finetuning.json").write_text(json.dumps(asdict(result)))
    (folder / "recipe.yaml").write_text("model: google-bert/bert-base-uncased\nactivation: raf\n")
    return folder


def cell(folder: Path, name: str, options: dict[str, Any]) -> None:
    """A fine-tuning's folder, as far as the page reads it."""
    snapshots(folder / name, [0, 40], beside="gelu" if options["activation"] == "raf-residual" else None)
    (folder / name / "cell.json").write_text(json.dumps(options))


def written(tmp_path: Path, *sections: Section) -> Path:
    """A page of these sections as a file."""
    file = tmp_path / "report.html"
    file.write_text(render_page(sections), encoding="utf-8")
    return file
