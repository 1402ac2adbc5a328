"""The loss against the rate of RAFs, in several coordinates of their coefficients.

    python results/conditioning/train.py WIKIPEDIA results/conditioning/losses.csv \
        --coordinates raw,diagonal,damped --rates 1e-4,1e-3,1e-2 --steps 3500

Coordinates z of the ten coefficients c = c0 + T z, with z = 0 at the start:

- raw: T = 1, as the library trains new models.
- diagonal: T = 1/max(1, s), where s is the root mean square of the function's derivative by each coefficient
  over reference inputs, as the library trains converted models (there with powers of two).
- damped: T = (G + 1)^(-1/2), where G is the mean of the derivatives' outer products over them: to first order
  a unit step in any direction changes the function by at most one, and a coefficient by at most one.
- whitened: T = (G + 1e-6)^(-1/2), almost without damping.
- gain: no such map; a fixed gain as in raft.functions.FixedGainRational, whose gradient has no part along the
  function itself.

Reference inputs are half of a standard normal distribution and half even on [-5, 5]. Rates are constant after
the warm-up and weights of RAFs do not decay, unless --raf_weight_decay is given. A row a run is added to the
file; runs that are there are not made again.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainerCallback

import raft.pretraining.train as training
from raft.cli.commands.pretrain import _parse
from raft.coefficients.functions import Array
from raft.functions.fixed_gain import measure_gain
from raft.kernels import reference
from raft.learned_activation import learned_activations
from raft.modules import Rational
from raft.pretraining.run import read_text

POINTS = torch.cat(
    [
        torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000),
        torch.linspace(-5, 5, 2000, dtype=torch.float64),
    ]
)
DAMPING = {"damped": 1.0, "whitened": 1e-6}
GAIN = "gain"
COORDINATES = ("raw", "diagonal", *DAMPING, GAIN)
FIELDS = ("coordinates", "rate", "decay", "seed", "steps", "loss", "moved", "raf_norm", "other_norm")


class MappedRational(Rational):
    """Whose parameters are coordinates of its coefficients."""

    offset: Tensor
    basis: Tensor

    def coefficients(self) -> tuple[Tensor, Tensor]:
        coordinates = torch.cat([self.numerator, self.denominator])
        values = self.offset + self.basis @ coordinates
        return values[: len(self.numerator)], values[len(self.numerator) :]


class GainedRational(Rational):
    """Whose gain is fixed."""

    gain: Tensor

    def coefficients(self) -> tuple[Tensor, Tensor]:
        a, b = self.numerator, self.denominator
        return a * (self.gain / measure_gain(a, b)), b


def derivatives(act: Rational, x: Tensor) -> Tensor:
    """Of the function by each coefficient, float64 ``[inputs, coefficients]``."""
    a, b = (values.detach().double() for values in act.coefficients())
    inverse = reference.forward(x, torch.ones_like(a[:1]), b, act.version)
    y = reference.forward(x, a, b, act.version)
    signs = torch.sign(b) if act.version == "A" else torch.ones_like(b)
    powers = x[:, None] ** torch.arange(len(a))
    magnitudes = (x[:, None] ** torch.arange(1, len(b) + 1)).abs()
    return torch.cat([powers * inverse[:, None], -signs * magnitudes * (y * inverse)[:, None]], dim=1)


def map_coordinates(act: Rational, coordinates: str) -> None:
    """Train these coordinates of a RAF's coefficients instead."""
    if coordinates == GAIN:
        act.__class__ = GainedRational
        act.register_buffer("gain", measure_gain(act.numerator, act.denominator).detach())
        return
    slopes = derivatives(act, POINTS)
    gram = slopes.T @ slopes / len(slopes)
    if coordinates == "raw":
        basis = torch.eye(len(gram), dtype=torch.float64)
    elif coordinates == "diagonal":
        basis = torch.diag(1 / gram.diagonal().sqrt().clamp(min=1.0))
    else:
        values, vectors = torch.linalg.eigh(gram)
        basis = vectors @ torch.diag((values.clamp(min=0) + DAMPING[coordinates]).rsqrt()) @ vectors.T
    offset = torch.cat([values.detach() for values in act.coefficients()])
    act.__class__ = MappedRational
    act.register_buffer("offset", offset)
    act.register_buffer("basis", basis.float())
    for values in (act.numerator, act.denominator):
        nn.init.zeros_(values)


class Norms(TrainerCallback):
    """Norms of the gradients, root mean square over the training."""

    def __init__(self) -> None:
        self.squares: list[tuple[float, float]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        rafs = {id(p) for act in learned_activations(model).values() for p in act.parameters()}
        sums = [0.0, 0.0]
        for parameter in model.parameters():
            if parameter.grad is not None:
                sums[id(parameter) not in rafs] += float(parameter.grad.square().sum())
        self.squares.append((sums[0], sums[1]))


def train(words: list[str], coordinates: str) -> dict[str, float]:
    """One pretraining; the loss, how far the functions moved, and norms of gradients."""
    recipe, arguments, *_ = _parse(words)
    recipe.check()
    arguments.gradient_accumulation_steps = recipe.accumulation(arguments.per_device_train_batch_size, 1)
    text = read_text(recipe)
    build = training.build_model

    def build_mapped(*args: Any) -> Any:
        model = build(*args)
        for act in learned_activations(model).values():
            assert isinstance(act, Rational)
            first.append(act.values(POINTS.numpy()))
            map_coordinates(act, coordinates)
        return model

    norms = Norms()
    first: list[Array] = []
    with patch.object(training, "build_model", build_mapped):
        pretrained = training.pretrain(
            recipe.model_config("raf", text.tokenizer),
            text.draws(recipe, arguments.seed, arguments.max_steps),
            text.validation,
            arguments,
            [norms],
        )
    acts = learned_activations(pretrained.model).values()
    moved = [
        np.sqrt(np.mean((act.values(POINTS.numpy()) - before) ** 2))
        for act, before in zip(acts, first, strict=True)
    ]
    raf, other = np.sqrt(np.mean(norms.squares, axis=0))
    return {"loss": pretrained.loss, "moved": float(np.mean(moved)), "raf_norm": raf, "other_norm": other}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--coordinates", default=",".join(COORDINATES))
    parser.add_argument("--rates", default="1e-4,3e-4,1e-3,3e-3,1e-2,3e-2")
    parser.add_argument("--raf_weight_decay", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=2021)
    parser.add_argument("--steps", type=int, default=3500)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    is_new = not options.out.exists()
    rows = [] if is_new else list(csv.DictReader(options.out.open()))
    done = {tuple(row[name] for name in FIELDS[:5]) for row in rows}
    for rate in options.rates.split(","):
        for coordinates in options.coordinates.split(","):
            key = tuple(map(str, (coordinates, rate, options.raf_weight_decay, options.seed, options.steps)))
            if key in done:
                continue
            with tempfile.TemporaryDirectory() as folder:
                words = [
                    "--config",
                    "cpu-15min",
                    "--corpus",
                    options.corpus,
                    "--attention_init",
                    "neighbours",
                ]
                words += ["--max_steps", key[4], "--seed", key[3], "--raf_learning_rate", rate]
                words += ["--raf_weight_decay", key[2], "--output_dir", folder, "--save_strategy", "no"]
                words += ["--eval_strategy", "no", "--disable_tqdm", "true"]
                try:
                    result = train(words, coordinates)
                except Exception as error:  # a loss that is not finite
                    print(coordinates, rate, error, flush=True)
                    result = {"loss": float("nan")}
            with options.out.open("a", newline="") as file:
                writer = csv.writer(file)
                if is_new:
                    writer.writerow(FIELDS)
                    is_new = False
                writer.writerow(
                    [
                        *key,
                        *(
                            f"{result[name]:.4g}" if name != "loss" else f"{result[name]:.4f}"
                            for name in FIELDS[5:]
                            if name in result
                        ),
                    ]
                )
            print(*key, result, flush=True)


if __name__ == "__main__":
    main()
