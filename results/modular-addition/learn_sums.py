"""Steps that a small transformer takes to learn addition modulo a prime, by its activation function.

    python results/modular-addition/learn_sums.py steps.csv --seeds 10 --found found.json

The model reads a, b and "=", and answers a + b modulo p: one layer of the paper's encoder. Half of the p²
sums are trained on, in batches of 512, and the other half is held out; what counts is the first evaluation,
every 50 steps, at which 99 % of the held-out sums are right. Theory says that the activation decides: sines
represent these sums with few channels, rectifiers need many (arXiv 2511.23443). A row a run is added to the
file; runs that are there are not made again. "raf, found" begins with the function that "raf" learned with
seed 4000, and keeps it.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import set_seed

import raft
from raft.functions import save_functions
from raft.hf import find_sites, learned_activations
from raft.models import RaftBertConfig, RaftBertModel

FIELDS = ("activation", "seed", "steps", "accuracy", "loss", "seconds")
PRIME = 59
BATCH = 512
EVERY = 50
GOAL = 0.99
RAFS: dict[str, dict[str, Any]] = {
    "raf": {"init": "gelu"},
    "raf 7/6": {"init": "gelu", "degrees": [7, 6]},
    "raf, 8 groups": {"init": "gelu", "groups": 8},
    "raf, never trained": {"init": "gelu"},
}
FIXED = ("gelu", "relu", "sine")
FOUND = "raf, found"
SEED_OF_FOUND = 4000


class Sine(nn.Module):
    """x ↦ sin x."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape and dtype of ``x``."""
        return torch.sin(x)


class Adder(nn.Module):
    """Logits of the sum from its terms, ``[batch, 2]`` -> ``[batch, prime]``."""

    def __init__(self, prime: int, raf: dict[str, object] | None, act: str = "gelu") -> None:
        super().__init__()
        config = RaftBertConfig(
            vocab_size=prime + 1, hidden_size=128, num_hidden_layers=1, num_attention_heads=4,
            intermediate_size=512, max_position_embeddings=3, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, hidden_act=act, raf=raf,
        )  # fmt: skip
        self.encoder = RaftBertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(128, prime)
        self.prime = prime

    def forward(self, terms: Tensor) -> Tensor:
        """The logits, read where the "=" stands."""
        ends = torch.full_like(terms[:, :1], self.prime)
        hidden: Tensor = self.encoder(torch.cat([terms, ends], 1)).last_hidden_state[:, 2]
        logits: Tensor = self.head(hidden)
        return logits


def make_model(activation: str, found: Path | None) -> Adder:
    """The model with an activation of the table."""
    if activation in FIXED:
        model = Adder(PRIME, None, "relu" if activation == "relu" else "gelu")
        if activation == "sine":
            for site in find_sites(model.encoder):
                site.set_activation(Sine())
        return model
    model = Adder(PRIME, {"init": str(found)} if activation == FOUND else RAFS[activation])
    if activation in (FOUND, "raf, never trained"):
        raft.freeze(model)
    return model


def train(
    activation: str, seed: int, max_steps: int, lr: float, raf_lr: float, decay: float, found: Path | None
) -> tuple[dict[str, Any], Adder]:
    """One run: what the table has of it, and the model."""
    set_seed(seed)
    model = make_model(activation, found)
    groups = raft.param_groups(model, lr=lr, raf_lr=raf_lr, weight_decay=decay, raf_weight_decay=0.0)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(seed)
    sums = torch.cartesian_prod(torch.arange(PRIME), torch.arange(PRIME))
    sums = sums[torch.randperm(len(sums), generator=generator)]
    answers = sums.sum(1) % PRIME
    half = len(sums) // 2
    start, accuracy, loss = time.perf_counter(), 0.0, float("nan")
    steps: int | None = None
    for step in range(1, max_steps + 1):
        rows = torch.randint(half, (BATCH,), generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = (raf_lr if group["name"] == "raf" else lr) * min(1.0, step / 50)
        batch_loss = nn.functional.cross_entropy(model(sums[rows]), answers[rows])
        optimizer.zero_grad()
        batch_loss.backward()
        optimizer.step()
        if step % EVERY == 0:
            with torch.no_grad():
                logits = model(sums[half:])
            accuracy = float((logits.argmax(1) == answers[half:]).float().mean())
            loss = float(nn.functional.cross_entropy(logits, answers[half:]))
            if accuracy >= GOAL:
                steps = step
                break
    seconds = time.perf_counter() - start
    return {"steps": steps, "accuracy": accuracy, "loss": loss, "seconds": seconds}, model


def main() -> None:
    """Make the runs that the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--activations", nargs="+", default=[*FIXED, *RAFS, FOUND])
    parser.add_argument("--seed", type=int, default=4001)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--raf_lr", type=float, default=5e-3)
    parser.add_argument("--decay", type=float, default=1.0)
    parser.add_argument(
        "--found", type=Path, help="The function of 'raf, found': learned here if it is not there."
    )
    options = parser.parse_args()
    rates = (options.steps, options.lr, options.raf_lr, options.decay)
    if FOUND in options.activations and options.found is None:
        parser.error(f"{FOUND!r} needs --found FILE, where its function is kept")
    if FOUND in options.activations and not options.found.exists():
        _, model = train("raf", SEED_OF_FOUND, *rates, None)
        act = next(iter(learned_activations(model).values()))
        save_functions(options.found, {"ffn": act}, {"script": Path(__file__).name, "seed": SEED_OF_FOUND})
    is_new = not options.out.exists()
    done = (
        set() if is_new else {(row["activation"], row["seed"]) for row in csv.DictReader(options.out.open())}
    )
    with options.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if is_new:
            writer.writeheader()
        for seed in range(options.seed, options.seed + options.seeds):
            for activation in options.activations:
                if (activation, str(seed)) in done:
                    continue
                row, _ = train(activation, seed, *rates, options.found)
                writer.writerow({"activation": activation, "seed": seed} | {n: row[n] for n in FIELDS[2:]})
                file.flush()
                print(activation, seed, row, flush=True)


if __name__ == "__main__":
    main()
