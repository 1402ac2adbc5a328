"""A RAF in a network of your own: at the end you see its loss beside that of the same network with GELU.

The task is made up: a curve of two inputs, with noise. Both networks begin with the same weights and see
the same batches. No ``transformers`` is involved: ``raft.Rational`` is a module like any other.

    python examples/activation.py
    python examples/activation.py --steps 2000 --seeds 5
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import raft
from raft.training import schedule


def sample(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs ``[count, 2]`` and noisy targets ``[count, 1]``."""
    x = 4 * torch.rand(count, 2, generator=generator) - 2
    y = torch.sin(3 * x[:, :1]) * x[:, 1:]
    return x, y + 0.1 * torch.randn(count, 1, generator=generator)


def train(activation: type[nn.Module], seed: int, steps: int) -> float:
    """Train a network with such activations; its mean squared error on data that it has not seen."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(2, 32), activation(), nn.Linear(32, 32), activation(), nn.Linear(32, 1)
    )  # fmt: skip
    # ten coefficients a layer, with a learning rate of their own; a network without RAFs has no such group
    optimizer = torch.optim.AdamW(raft.param_groups(model, lr=3e-3, raf_lr=1e-2, raf_weight_decay=0.0))
    scheduler = schedule(optimizer, warmup=0.1, steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x, y = sample(64, generator)
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    x, y = sample(4096, torch.Generator().manual_seed(1_000_000))
    with torch.no_grad():
        return nn.functional.mse_loss(model(x), y).item()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    print("seed  GELU    RAF")
    for seed in range(options.seeds):
        gelu, raf = (train(activation, seed, options.steps) for activation in (nn.GELU, raft.Rational))
        print(f"{seed:4}  {gelu:.4f}  {raf:.4f}")


if __name__ == "__main__":
    main()
