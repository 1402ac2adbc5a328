"""Addition modulo 59, a task in which the activation function decides.

The network is the one for which theory says so: the embeddings of a and b are added, one hidden layer
follows, and the answer is a + b modulo 59. Two sines represent that exactly; rectifiers need as many channels
as there are numbers. Half of the sums are trained on, and the other half is held out.

Source: arXiv 2511.23443.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raft.errors import InputError
from raft.files import read_json, write_text
from raft.functions import FixedGainRational, load_functions, save_functions
from raft.hf.histogram import record_histograms
from raft.modules import Rational
from raft.training.monitoring import (
    append_snapshot,
    coefficients,
    raf_metadata,
    write_inputs,
    write_snapshots,
)
from raft.training.optimizer import param_groups
from raft.training.run_folder import RESULTS

PRIME, WIDTH, BATCH = 59, 32, 512
EVERY = 50
"""Steps between two evaluations."""
GOAL = 0.99
"""Share of the held-out sums at which a network has learned to add."""


class Sine(nn.Module):
    """The sine as an activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape and dtype of ``x``."""
        return torch.sin(x)


class Adder(nn.Module):
    """Logits of the sum from its terms, ``[batch, 2]`` -> ``[batch, 59]``."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(PRIME, WIDTH)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.bias = nn.Parameter(torch.zeros(WIDTH))
        self.activation = activation
        self.head = nn.Linear(WIDTH, PRIME)

    def forward(self, terms: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.head(self.activation(self.embedding(terms).sum(1) + self.bias))
        return logits


def make_sums() -> Tensor:
    """The terms of all sums, ``[3481, 2]``."""
    return torch.cartesian_prod(torch.arange(PRIME), torch.arange(PRIME))


@dataclass(frozen=True)
class Rates:
    """How a network is trained: AdamW's learning rate and weight decay, and the rate of its RAF."""

    lr: float
    decay: float
    raf_lr: float = 0.0


@dataclass(frozen=True)
class SumRun:
    """How one network learned to add.

    Attributes:
        activation: its name.
        seed: of its weights and batches.
        steps: at the first evaluation that reached the goal; None where none did.
        accuracy: share of the held-out sums that were right there, or at the end.
        history: of each evaluation, step and share.
    """

    activation: str
    seed: int
    steps: int | None
    accuracy: float
    history: list[tuple[int, float]]


def learn_sums(
    name: str,
    activation: nn.Module,
    seed: int,
    rates: Rates,
    max_steps: int,
    watch: Callable[[int, Adder], None] = lambda step, model: None,
) -> SumRun:
    """Train a network until it can add.

    Args:
        name: of the activation.
        activation: of the hidden layer, trained in place.
        seed: of weights, batches, and which sums are held out.
        rates: of its optimizer.
        max_steps: after which it is given up.
        watch: called with the step and the network when the gradients of a step are there.
    """
    torch.manual_seed(seed)
    model = Adder(activation)
    groups = param_groups(model, rates.lr, rates.raf_lr, rates.decay, raf_weight_decay=0.0)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(seed)
    sums = make_sums()
    sums = sums[torch.randperm(len(sums), generator=generator)]
    answers = sums.sum(1) % PRIME
    half = len(sums) // 2
    history: list[tuple[int, float]] = []
    for step in range(1, max_steps + 1):
        rows = torch.randint(half, (BATCH,), generator=generator)
        loss = nn.functional.cross_entropy(model(sums[rows]), answers[rows])
        optimizer.zero_grad()
        loss.backward()
        watch(step, model)
        optimizer.step()
        if step % EVERY == 0 or step == max_steps:
            with torch.no_grad():
                right = model(sums[half:]).argmax(1) == answers[half:]
            history.append((step, round(float(right.float().mean()), 4)))
            if history[-1][1] >= GOAL:
                break
    step, accuracy = history[-1]
    return SumRun(name, seed, step if accuracy >= GOAL else None, accuracy, history)


# ---- the demo: several networks of each activation ----

GELU, SINE, FREE, LEARNED, FOUND = "GELU", "sine", "RAF", "RAF, fixed gain", "the same, frozen"
RATES = {
    GELU: Rates(1e-2, 0.3), SINE: Rates(3e-2, 0.1), FREE: Rates(1e-2, 1.0, 5e-2),
    LEARNED: Rates(3e-2, 0.3, 5e-2), FOUND: Rates(3e-2, 1.0),
}  # fmt: skip
"""The best of those that ``results/modular-addition`` tried, of each activation alike."""
FUNCTIONS = "functions.json"
SITE = "ffn"
FIND_SEED, SNAPSHOT_STEPS = 0, 5


@dataclass(frozen=True)
class SumComparison:
    """What ``raft demo`` found out; its ``results.json`` holds just this.

    Attributes:
        runs: of all networks.
        max_steps: after which each was given up.
        command: that repeats it.
        setup: versions and machine.
    """

    runs: list[SumRun]
    max_steps: int
    command: str
    setup: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> SumComparison:
        """Of a demo's folder.

        Raises:
            InputError: where ``results.json`` is not of a demo.
        """
        what = "results of 'raft demo'"
        comparison = read_json(folder / RESULTS, cls, what)
        missing = set(RATES) - set(comparison.by_activation())
        if missing:
            raise InputError(f"{folder / RESULTS} holds no {what}: it has no network with {min(missing)!r}")
        return comparison

    def write(self, folder: Path) -> None:
        """Write ``results.json``."""
        write_text(folder / RESULTS, json.dumps(asdict(self), indent=1) + "\n")

    def by_activation(self) -> dict[str, list[SumRun]]:
        """The runs of each activation."""
        runs: dict[str, list[SumRun]] = defaultdict(list)
        for run in self.runs:
            runs[run.activation].append(run)
        return runs


def find_function(folder: Path, max_steps: int) -> SumRun:
    """Let one network learn its activation, and keep what it learned.

    Args:
        folder: gets ``functions.json``, which any ``raf_init`` takes, and ``rafs.safetensors`` and
            ``inputs.json``, from which its page is made.
        max_steps: after which the network is given up.
    """
    act = FixedGainRational()
    snapshots: dict[str, Tensor] = {}
    models: list[Adder] = []

    def watch(step: int, model: Adder) -> None:
        nonlocal snapshots
        models[:] = [model]
        if step % SNAPSHOT_STEPS == 1:
            snapshots = append_snapshot(snapshots, step - 1, coefficients(model))

    run = learn_sums(LEARNED, act, FIND_SEED, RATES[LEARNED], max_steps, watch)
    (model,) = models
    snapshots = append_snapshot(snapshots, run.history[-1][0], coefficients(model))
    write_snapshots(folder, snapshots, raf_metadata(model))
    with torch.no_grad(), record_histograms(model) as inputs:
        model(make_sums())
    write_inputs(folder, inputs)
    save_functions(folder / FUNCTIONS, {SITE: act}, {"task": "addition modulo 59", "seed": FIND_SEED})
    return run


def compare_sums(
    folder: Path,
    seeds: int,
    max_steps: int,
    command: str,
    setup: dict[str, Any],
    done: Callable[[SumRun], None],
) -> SumComparison:
    """Train networks with fixed, learned and found activations, all from the same weights for each seed.

    Args:
        folder: has the ``functions.json`` of :func:`find_function`.
        seeds: networks of each activation.
        max_steps: after which each is given up.
        command: that repeats it.
        setup: versions and machine.
        done: called with each run.
    """
    runs = []
    for name, rates in RATES.items():
        for seed in range(FIND_SEED + 1, FIND_SEED + 1 + seeds):
            runs.append(learn_sums(name, _make(name, folder), seed, rates, max_steps))
            done(runs[-1])
    return SumComparison(runs, max_steps, command, setup)


def _make(name: str, folder: Path) -> nn.Module:
    if name == FOUND:
        return load_functions(folder / FUNCTIONS)[SITE].requires_grad_(False)
    kinds: dict[str, type[nn.Module]]
    kinds = {GELU: nn.GELU, SINE: Sine, FREE: Rational, LEARNED: FixedGainRational}
    return kinds[name]()
