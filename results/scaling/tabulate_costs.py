"""Estimate the cost of the paper's pretraining on 1 to 512 GPUs, and write the tables of ``docs/scaling.md``.

    python results/scaling/tabulate_costs.py

takes half a minute: activation memory is counted on a real forward pass. The assumptions about the machines
stand at the top; change them and run the script again for others.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from raft.hf import rationals
from raft.models import RaftBertConfig, RaftBertForMaskedLM

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
CSV = Path(__file__).with_name("costs.csv")

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
PEAK = 790e12  # FLOP/s of dense bfloat16 products, measured on an H100
UTILISATION = 0.45  # of the peak, by a model whose products fill the GPU
PROCESSORS = 132  # streaming multiprocessors of an H100
TILE = 128  # rows and columns of a product's output that one processor works on
IN_NODE, ACROSS = 300e9, 40e9  # bytes a second each GPU sends and receives: NVLink, 400 Gb/s InfiniBand
GPUS_OF_A_NODE = 8
DOLLARS = 2.5  # for an hour of one GPU
MEMORY = 70e9  # bytes of a GPU that the training may fill

STEPS, BATCH, LENGTH, MASKED = 23_000, 4096, 128, 0.15
VOCABULARY = 30_522
MODELS = {  # hidden channels, layers; heads have 64 channels
    "BERT-base": (768, 12),
    "BERT-large": (1024, 24),
}


@dataclass(frozen=True)
class Model:
    """Sizes of an encoder.

    Attributes:
        name: for the table.
        hidden: channels.
        layers: of the encoder.
        parameters: their number.
        activation_bytes: kept for the backward pass, a token, under bfloat16 autocast.
    """

    name: str
    hidden: int
    layers: int
    parameters: int
    activation_bytes: float

    @property
    def flops_per_token(self) -> float:
        """Of forward and backward; the backward pass does each product twice."""
        projections = 2 * (4 * self.hidden**2 + 2 * self.hidden * 4 * self.hidden)
        attention = 4 * LENGTH * self.hidden
        head = MASKED * 2 * (self.hidden**2 + self.hidden * VOCABULARY)
        return 3 * (self.layers * (projections + attention) + head)

    @property
    def state_bytes(self) -> float:
        """Weights, gradients and AdamW's two moments in float32, and the weights' copies in bfloat16."""
        return (4 + 4 + 8 + 2) * self.parameters


def measure(name: str, hidden: int, layers: int, activation: str) -> Model:
    """A model, with the bytes that autograd keeps of a forward pass of 4 sequences."""
    config = RaftBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        raf={} if activation == "raf" else None,
    )
    model = RaftBertForMaskedLM(config)
    assert bool(rationals(model)) == (activation == "raf")
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and storage.nbytes() not in copies:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    copies = {2 * parameter.numel() for parameter in model.parameters() if parameter.dim() > 1}
    torch.manual_seed(0)
    ids = torch.randint(VOCABULARY, (4, LENGTH))
    labels = torch.where(torch.rand(ids.shape) < MASKED, ids, -100)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ids, labels=labels)
    return Model(name, hidden, layers, model.num_parameters(), sum(kept.values()) / ids.numel())


def occupancy(tokens: int, hidden: int) -> float:
    """Share of the processors that the narrowest product, ``[tokens, hidden]``, occupies."""
    return min(1.0, math.ceil(tokens / TILE) * math.ceil(hidden / TILE) / PROCESSORS)


def cost(model: Model, gpus: int) -> dict[str, float | int | str]:
    """One row of the table."""
    sequences = BATCH // gpus
    at_once = sequences
    while at_once > 1 and model.state_bytes + at_once * LENGTH * model.activation_bytes > MEMORY:
        at_once //= 2
    rate = PEAK * UTILISATION * occupancy(at_once * LENGTH, model.hidden)
    compute = sequences * LENGTH * model.flops_per_token / rate
    bandwidth = IN_NODE if gpus <= GPUS_OF_A_NODE else ACROSS
    reduce = 2 * (gpus - 1) / gpus * 4 * model.parameters / bandwidth
    # the last backward pass of a step, two thirds of its time, hides the reduction
    hidden_part = 2 / 3 * compute * at_once / sequences
    step = compute + max(0.0, reduce - hidden_part)
    hours = STEPS * step / 3600
    return {
        "model": model.name,
        "gpus": gpus,
        "sequences_at_once": at_once,
        "accumulation": sequences // at_once,
        "gigabytes": (model.state_bytes + at_once * LENGTH * model.activation_bytes) / 1e9,
        "step_seconds": step,
        "reduce_seconds": reduce,
        "tokens_per_second": BATCH * LENGTH / step,
        "hours": hours,
        "gpu_hours": gpus * hours,
        "dollars": DOLLARS * gpus * hours,
    }


def model_table(models: list[Model], baselines: list[Model]) -> str:
    """Sizes as Markdown."""
    lines = [
        "| model | parameters | MFLOP/token | FLOP in all | state, GB | activations, kB/token | its FAFT's |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model, baseline in zip(models, baselines, strict=True):
        whole = model.flops_per_token * STEPS * BATCH * LENGTH
        lines.append(
            f"| {model.name} | {model.parameters:,} | {model.flops_per_token / 1e6:,.0f} | {whole:.2e} | "
            f"{model.state_bytes / 1e9:.2f} | {model.activation_bytes / 1e3:,.1f} | "
            f"{baseline.activation_bytes / 1e3:,.1f} |"
        )
    return "\n".join(lines)


def cost_table(rows: list[dict[str, float | int | str]]) -> str:
    """Costs as Markdown."""
    lines = [
        "| model | GPUs | sequences at once × accumulated | memory, GB | step, s | all-reduce, s "
        "| tokens/s | hours | GPU hours | dollars |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['model']} | {row['gpus']} | {row['sequences_at_once']} × {row['accumulation']} | "
            f"{row['gigabytes']:.1f} | {row['step_seconds']:.3f} | {row['reduce_seconds']:.3f} | "
            f"{row['tokens_per_second']:,.0f} | {row['hours']:.2f} | {row['gpu_hours']:,.1f} | "
            f"{row['dollars']:,.0f} |"
        )
    return "\n".join(lines)


def replace_table(page: str, name: str, table: str) -> str:
    """The page with a new table between its two marks."""
    pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
    assert re.search(pattern, page, re.DOTALL), name
    return re.sub(pattern, lambda match: match[1] + table + match[2], page, flags=re.DOTALL)


def main() -> None:
    """Count, estimate, write."""
    models = [measure(name, *sizes, "raf") for name, sizes in MODELS.items()]
    baselines = [measure(name, *sizes, "gelu") for name, sizes in MODELS.items()]
    rows = [cost(model, gpus) for model in models for gpus in GPUS]
    pd.DataFrame(rows).to_csv(CSV, index=False, float_format="%.12g")
    page = PAGE.read_text(encoding="utf-8")
    page = replace_table(page, "models", model_table(models, baselines))
    page = replace_table(page, "costs", cost_table(rows))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
