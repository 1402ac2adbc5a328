"""Draw docs/figures/pretrained-rafs.png and write results/shapes: what RAFs became in three pretrainings.

python scripts/draw_shapes.py --texts WIKIPEDIA
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from raft.analysis.ablation import ablation
from raft.analysis.distances import clustered, distance_matrix
from raft.analysis.measured import functions_of, measured_functions, measures_frame
from raft.analysis.measures import Domain, domain_of_all
from raft.analysis.shape_figures import Evolution, distances_figure, panels_figure
from raft.analysis.snapshots import read_snapshots
from raft.coefficients.closed_form import RationalFunction
from raft.data.corpora import open_corpus
from raft.hf.inputs import InputHistogram, count_inputs

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "results" / "cpu-pretraining-15min"
RESULTS, FIGURES = ROOT / "results" / "shapes", ROOT / "docs" / "figures"
MASKED = 0.15


def loss(model: torch.nn.Module, input_ids: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean loss at the masked tokens, of all sequences."""
    losses: list[float] = [
        model(input_ids=ids, labels=of).loss.item() * (of != -100).sum().item()
        for ids, of in zip(input_ids.split(500), labels.split(500), strict=True)
    ]
    return sum(losses) / int((labels != -100).sum())


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--texts", required=True, help="Corpus of the pretraining, whose held-out texts the models read."
    )
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    texts = list(islice(open_corpus(arguments.texts).documents("validation"), arguments.count))
    RESULTS.mkdir(exist_ok=True)
    measures, ablations = [], []
    panels: dict[str, dict[str, RationalFunction]] = {}
    counted: dict[str, InputHistogram] = {}
    everything: dict[str, RationalFunction] = {}
    for run in sorted(RUNS.glob("raf-*")):
        seed = f"seed {run.name.partition('-')[2]}"
        tokenizer = AutoTokenizer.from_pretrained(run)
        model = AutoModelForMaskedLM.from_pretrained(run).eval()
        length = model.config.max_position_embeddings
        read = tokenizer(texts, truncation=True, max_length=length, padding="max_length", return_tensors="pt")
        batch = dict(read)
        inputs = count_inputs(model, [{key: value for key, value in batch.items() if key != "labels"}])
        measures.append(measures_frame(measured_functions(model, inputs)).assign(seed=seed))
        for number, (site, function) in enumerate(functions_of(model).items()):
            panels.setdefault(site, {})[seed] = function
            everything[f"layer {number}, {seed}"] = function
            counted.setdefault(site, InputHistogram()).include(inputs[site])
        generator = torch.Generator().manual_seed(0)
        ids = batch["input_ids"]
        is_word = batch["attention_mask"].bool() & ~torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
        chosen = is_word & (torch.rand(ids.shape, generator=generator) < MASKED)
        labels = torch.where(chosen, ids, -100)
        masked = torch.where(chosen, tokenizer.mask_token_id, ids)
        ablations.append(ablation(model, partial(loss, model, masked, labels)).assign(seed=seed))
    pd.concat(measures).to_csv(RESULTS / "measures.csv", index=False)
    pd.concat(ablations).to_csv(RESULTS / "ablation.csv", index=False)
    domains = {site: Domain.of(each) for site, each in counted.items()}
    panels_figure(panels, domains).savefig(FIGURES / "pretrained-rafs.png", dpi=160)
    matrix = distance_matrix(everything, domain_of_all(list(counted.values())))
    matrix.to_csv(RESULTS / "distances.csv")
    order = clustered(matrix).labels
    figure = distances_figure(matrix.loc[order, order], names=order)
    figure.savefig(FIGURES / "pretrained-distances.png", dpi=160)
    snapshots = read_snapshots(next(iter(sorted(RUNS.glob("raf-*")))))
    steps = {each.step: {site: raf.first for site, raf in each.rafs.items()} for each in snapshots}
    Evolution(steps, domains).write_gif(FIGURES / "evolution.gif")


if __name__ == "__main__":
    main()
