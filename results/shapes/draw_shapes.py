"""Draw the RAFs of pretrained models, docs/figures/NAME-rafs.png and more, and write tables of their shapes.

python results/shapes/draw_shapes.py --texts WIKIPEDIA
python results/shapes/draw_shapes.py --texts WIKIPEDIA --runs RUNS --results results/more --name more
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import AutoModelForMaskedLM, AutoTokenizer

from raft.analysis.ablation import ablate, masked_loss
from raft.analysis.comparison_figures import Evolution, draw_distances, draw_panels
from raft.analysis.distances import cluster, distance_matrix
from raft.analysis.figure_style import write_figure
from raft.analysis.function_measures import Domain, merge_domains
from raft.analysis.model_measures import measure_functions, rational_functions, tabulate_measures
from raft.analysis.snapshots import read_snapshots
from raft.coefficients.closed_form import RationalFunction
from raft.data.text.corpora import open_corpus
from raft.hf.histogram import InputHistogram, count_inputs

FOLDER = Path(__file__).parent
FIGURES = FOLDER.parents[1] / "docs" / "figures"


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--texts", required=True, help="Corpus of the pretraining, whose held-out texts the models read."
    )
    parser.add_argument(
        "--runs", type=Path, default=FOLDER.with_name("cpu-pretraining-15min"),
        help="Folder of a comparison with its models raf-SEED.",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, default=FOLDER, help="For the tables.")
    parser.add_argument("--name", default="pretrained", help="What the figures' names begin with.")
    parser.add_argument("--count", type=int, default=2000, help="Texts that are read, of each its beginning.")
    arguments = parser.parse_args()
    runs = [run for run in sorted(arguments.runs.glob("raf-*")) if run.name.removeprefix("raf-").isdecimal()]
    texts = list(islice(open_corpus(arguments.texts).documents("validation"), arguments.count))
    arguments.results.mkdir(exist_ok=True)
    measures, ablations = [], []
    panels: dict[str, dict[str, RationalFunction]] = {}
    counted: dict[str, InputHistogram] = {}
    everything: dict[str, RationalFunction] = {}
    for run in runs:
        seed = f"seed {run.name.partition('-')[2]}"
        tokenizer = AutoTokenizer.from_pretrained(run)
        model = AutoModelForMaskedLM.from_pretrained(run).eval()
        length = model.config.max_position_embeddings
        read = tokenizer(texts, truncation=True, max_length=length, padding="max_length", return_tensors="pt")
        batch = dict(read)
        inputs = count_inputs(model, [batch])
        measures.append(tabulate_measures(measure_functions(model, inputs)).assign(seed=seed))
        for number, (site, function) in enumerate(rational_functions(model).items()):
            panels.setdefault(site, {})[seed] = function
            everything[f"layer {number}, {seed}"] = function
            counted.setdefault(site, InputHistogram()).update(inputs[site])
        loss = masked_loss(model, tokenizer, batch, batch_size=500)
        ablations.append(ablate(model, loss, inputs=inputs).assign(seed=seed))
    pd.concat(measures).to_csv(arguments.results / "measures.csv", index=False)
    pd.concat(ablations).to_csv(arguments.results / "ablation.csv", index=False)
    domains = {site: Domain.of(inputs) for site, inputs in counted.items()}
    write_figure(draw_panels(panels, domains), FIGURES / f"{arguments.name}-rafs.png")
    matrix = distance_matrix(everything, merge_domains(list(counted.values())))
    matrix.to_csv(arguments.results / "distances.csv")
    order = cluster(matrix)
    figure = draw_distances(matrix.loc[order, order], names=order)
    write_figure(figure, FIGURES / f"{arguments.name}-distances.png")
    snapshots = read_snapshots(runs[0])
    steps = {s.step: {site: raf.first for site, raf in s.rafs.items()} for s in snapshots}
    pd.DataFrame(
        {"step": step, "site": site, "range": float(np.ptp(functions[site](domain.x)))}
        for step, functions in steps.items()
        for site, domain in domains.items()
    ).to_csv(arguments.results / "evolution.csv", index=False)
    Evolution(steps, domains).write_gif(FIGURES / f"{arguments.name}-evolution.gif")


if __name__ == "__main__":
    main()
