"""Time what ``raft bench kernel`` compares by one thread's own clock, which other work on the machine stops.

    OMP_NUM_THREADS=1 python results/cpu-kernel-forms/measure_forms.py

writes ``results.csv`` beside itself: milliseconds are medians, forward and backward, over rounds in which
every function is called once; ratios are to the first function, with 95 % intervals over rounds.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raft.benchmarks.kernel_peers import BLOCK, CHANNELS, PLAIN, build_functions
from raft.benchmarks.timing import compute_ratio

CASES: list[tuple[str, tuple[int, ...], torch.dtype, int]] = [
    *((form, shape, dtype, 60) for form, shape in ((PLAIN, (512, 1024)), (CHANNELS, (16, 64, 28, 28)))
      for dtype in (torch.float32, torch.bfloat16)),
    (BLOCK, (256, 512, 1408), torch.float32, 40),
    (BLOCK, (2048, 512, 1408), torch.float32, 15),
]  # fmt: skip
"""Form, shape, dtype, and rounds. A product of matrices in bfloat16 takes seconds on this processor."""


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    rows = []
    for form, shape, dtype, rounds in CASES:
        torch.manual_seed(0)
        x = torch.randn(shape[:2] if form == BLOCK else shape).to(dtype).requires_grad_()
        grad = torch.randn_like(x)
        functions = build_functions(form, [x], width=shape[-1])
        calls = {name: forward_and_backward(module, x, grad) for name, module in functions.items()}
        times: dict[str, list[float]] = {name: [] for name in calls}
        order = np.random.default_rng(0)
        for _ in range(rounds + 2):
            for name in order.permutation(list(calls)):
                begun = time.thread_time()
                calls[name]()
                times[name].append(time.thread_time() - begun)
        seconds = {name: np.array(taken[2:]) for name, taken in times.items()}
        peer = next(iter(seconds.values()))
        for name, taken in seconds.items():
            ratio = compute_ratio(taken, peer)
            numbers = [1e3 * float(np.median(taken)), ratio.value, ratio.low, ratio.high]
            sizes = " × ".join(map(str, shape))
            rows.append([sizes, str(dtype)[6:], name, *(f"{number:.4g}" for number in numbers), rounds])
    with Path(__file__).with_name("results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["shape", "dtype", "function", "milliseconds", "ratio_value", "ratio_low", "ratio_high", "rounds"]
        )
        writer.writerows(rows)


def forward_and_backward(module: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> Callable[[], None]:
    """A call of a module on ``x``, and of its backward pass."""

    def call() -> None:
        module.zero_grad()
        x.grad = None
        module(x).backward(grad)

    return call


if __name__ == "__main__":
    main()
