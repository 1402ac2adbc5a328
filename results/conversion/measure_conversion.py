"""Convert real pretrained weights in several ways, and compare the token embeddings with the original's.

    python results/conversion/measure_conversion.py --model MODEL --glue_dir GLUE

takes some minutes and writes ``results.json``, ``results.csv`` and ``docs/figures/conversion.png``. ``MODEL``
is a folder or hub name of a BERT-like encoder; ``GLUE`` holds ``<TASK>/train.tsv`` and ``dev.tsv`` in the
official layout.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

import raft
from raft.analysis.figure_style import FAFT_COLOUR, QUIET, RAFT_COLOUR, STYLE, write_figure
from raft.experiments.machine import machine
from raft.hf.conversion import replace_activations

FOLDER = Path(__file__).parent
FIGURE = FOLDER.parents[1] / "docs" / "figures" / "conversion.png"
COLUMNS = {"CoLA": 3, "MRPC": 3, "RTE": 1, "SST-2": 0}
"""Column of the first sentence; CoLA's files have no header."""
CALIBRATION_SENTENCES, EVAL_SENTENCES = 64, 200
EVAL_TASKS = ("RTE", "CoLA")
INTERVALS = ((-3.0, 3.0), (-5.0, 5.0), (-10.0, 10.0))


@dataclass(frozen=True)
class Row:
    """Similarity of a converted model's token embeddings to those of the original.

    Attributes:
        conversion: its kind.
        degrees: of the RAFs.
        calibrated_on: the task whose training sentences were read; empty without calibration.
        judged_on: the task whose development sentences were compared.
        tokens: their number, without padding.
        mean_cosine: of last hidden states, RAFT and original.
        min_cosine: that of the worst token.
        max_difference: largest absolute difference of any number.
    """

    conversion: str
    degrees: str
    calibrated_on: str
    judged_on: str
    tokens: int
    mean_cosine: float
    min_cosine: float
    max_difference: float


def sentences(glue: Path, task: str, split: str, count: int) -> list[str]:
    """The first sentences of a file."""
    lines = (glue / task / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[COLUMNS[task]] for line in lines[task != "CoLA" :][:count]]


def embeddings(model: PreTrainedModel, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Last hidden states of all tokens that are not padding, ``[tokens, hidden]`` in float64."""
    parts = []
    for i in range(0, len(texts), 20):
        batch = tokenizer(list(texts[i : i + 20]), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model.eval()(**batch).last_hidden_state
        parts.append(hidden[batch["attention_mask"].bool()].double())
    return torch.cat(parts)


def conversions(name: str, glue: Path) -> Iterator[tuple[str, str, str, PreTrainedModel]]:
    """Conversion, degrees, calibration and model."""
    for interval in INTERVALS:
        model = AutoModel.from_pretrained(name)
        replace_activations(model, raft.RafConfig(), interval=interval)
        yield f"fitted on [{interval[0]:g}, {interval[1]:g}]", "(5, 4)", "", model
    settings: list[tuple[str, str, dict[str, Any]]] = [
        *[("calibrated", "SST-2", {"degrees": degrees}) for degrees in ((3, 2), (5, 4), (7, 6))],
        *[("calibrated", "MRPC", {"degrees": degrees}) for degrees in ((5, 4), (7, 6))],
        ("residual", "SST-2", {"residual": True}),
    ]
    for conversion, task, block in settings:
        texts = sentences(glue, task, "train", CALIBRATION_SENTENCES)
        model = raft.convert(AutoModel.from_pretrained(name), block, calibration=texts)
        yield conversion, str(block.get("degrees", (5, 4))), task, model


def measure(name: str, glue: Path) -> list[Row]:
    """All conversions on all evaluation tasks."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    texts = {task: sentences(glue, task, "dev", EVAL_SENTENCES) for task in EVAL_TASKS}
    original = AutoModel.from_pretrained(name)
    expected = {task: embeddings(original, tokenizer, texts[task]) for task in EVAL_TASKS}
    rows = []
    for conversion, degrees, calibrated_on, model in conversions(name, glue):
        for task in EVAL_TASKS:
            converted = embeddings(model, tokenizer, texts[task])
            cosine = torch.cosine_similarity(converted, expected[task], dim=-1)
            rows.append(
                Row(
                    conversion,
                    degrees,
                    calibrated_on,
                    task,
                    len(cosine),
                    cosine.mean().item(),
                    cosine.min().item(),
                    (converted - expected[task]).abs().max().item(),
                )
            )
            print(rows[-1], flush=True)
    return rows


def draw_figure(rows: Sequence[Row], task: str) -> Figure:
    """Distance 1 − cosine of the mean and of the worst token, one line a conversion."""
    shown = [row for row in rows if row.judged_on == task and row.calibrated_on in ("", "SST-2")]
    shown = [row for row in shown if row.max_difference > 0][::-1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.6, 0.9 + 0.36 * len(shown)), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for height, row in enumerate(shown):
            colour = RAFT_COLOUR if row.calibrated_on else FAFT_COLOUR
            mean, worst = 1 - row.mean_cosine, 1 - row.min_cosine
            axes.plot([mean, worst], [height, height], color=QUIET, linewidth=1, zorder=1)
            axes.plot(mean, height, "o", color=colour, markersize=7)
            axes.plot(worst, height, "|", color=colour, markersize=10, markeredgewidth=2)
            axes.annotate(f"{row.mean_cosine:.4f}", (mean, height), (0, 6), textcoords="offset points",
                          ha="center", fontsize=7.5, color=colour)  # fmt: skip
        axes.set_yticks(range(len(shown)), [f"{row.conversion}, {row.degrees}" for row in shown])
        axes.set_ylim(-0.5, len(shown) - 0.3)
        axes.set_xscale("log")
        axes.grid(axis="x", color=QUIET, alpha=0.25, linewidth=0.6)
        axes.set_xlabel(
            "1 − cosine to the original token embedding\ndot: mean, with its cosine; bar: worst token"
        )
    return figure


def main() -> None:
    """Measure, and write results and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub name of a BERT-like encoder")
    parser.add_argument("--glue_dir", required=True, type=Path, help="folder of GLUE's tasks")
    parser.add_argument("--label", default=None, help="what the results call the model; its name otherwise")
    arguments = parser.parse_args()
    label = arguments.label or arguments.model
    rows = measure(arguments.model, arguments.glue_dir)
    results = {
        "command": f"python results/conversion/measure_conversion.py --model {label} --glue_dir GLUE",
        "settings": {
            "model": label,
            "calibration_sentences": CALIBRATION_SENTENCES,
            "judged_sentences": EVAL_SENTENCES,
        },
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
    }
    (FOLDER / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    pd.DataFrame([asdict(row) for row in rows]).to_csv(FOLDER / "results.csv", index=False)
    write_figure(draw_figure(rows, EVAL_TASKS[0]), FIGURE)


if __name__ == "__main__":
    main()
