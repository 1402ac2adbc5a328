"""Time the Triton kernels by their launch parameters, and torch's activations.

python results/gpu-kernel/measure_launches.py measure    # on a GPU
python results/gpu-kernel/measure_launches.py tabulate   # anywhere: the launches that the library has chosen
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from raft.benchmarks.kernel import SHAPES
from raft.benchmarks.timing import time_interleaved
from raft.experiments.machine import machine
from raft.kernels import triton
from raft.kernels.triton import Launch
from raft.modules import Rational

RESULTS = Path(__file__).parent
ROUNDS = 7
ONE_TILE = 1 << 30
"""More programs than there are tiles."""
FORWARD = [
    Launch(block, warps, programs, 64)
    for (block, warps), programs in product(
        [(512, 2), (1024, 4), (2048, 4), (2048, 8), (4096, 8)], [2048, 8192, ONE_TILE]
    )
]
BACKWARD = [
    Launch(block, warps, programs, registers)
    for (block, warps), programs, registers in product(
        [(512, 2), (1024, 4), (2048, 4), (2048, 8)], [1024, 2048, 4096, 8192, 16384], [64, 80, 96, 128]
    )
]
PEERS = {"forward": "F.gelu forward", "backward": "F.gelu backward"}
COPY = {"forward": ("clone", 2), "backward": ("add", 3)}
"""The operation that reads and writes as many tensors as a kernel has to, and their number."""


def peers(x: Tensor, grad: Tensor) -> dict[str, Callable[[], object]]:
    """Functions of torch to compare with."""
    return {
        "clone": x.clone,
        "add": partial(torch.add, x, grad),
        "F.gelu forward": partial(F.gelu, x),
        "F.gelu backward": partial(torch.ops.aten.gelu_backward, grad, x),
        "F.silu forward": partial(F.silu, x),
        "F.silu backward": partial(torch.ops.aten.silu_backward, grad, x),
    }


def kernels(x: Tensor, grad: Tensor) -> dict[tuple[str, Launch], Callable[[], object]]:
    """Both kernels by every launch."""
    act = Rational("gelu").to(x.device).requires_grad_(False)

    def forward(launch: Launch) -> object:
        triton.FORWARD[x.element_size()] = launch
        return triton.forward(x, act.numerator, act.denominator, "A")

    def backward(launch: Launch) -> object:
        triton.BACKWARD[x.element_size()] = launch
        return triton.backward(grad, x, act.numerator, act.denominator, "A")

    return {
        **{("forward", launch): partial(forward, launch) for launch in FORWARD},
        **{("backward", launch): partial(backward, launch) for launch in BACKWARD},
    }


def measure() -> None:
    """Time everything: some minutes on one GPU, most of them for compiling."""
    device = torch.device("cuda")
    launches, functions = [], []
    for shape, dtype in product(SHAPES["cuda"], (torch.bfloat16, torch.float32)):
        torch.manual_seed(0)
        x, grad = (torch.randn(shape, device=device).to(dtype) for _ in range(2))
        cell = {"dtype": str(dtype).removeprefix("torch."), "shape": " × ".join(map(str, shape))}
        timed = partial(time_interleaved, device=device, seconds=0.0, least_rounds=ROUNDS)
        for name, times in timed(peers(x, grad)).items():
            functions.append({**cell, "function": name, "microseconds": 1e6 * float(np.median(times))})
        calls = kernels(x, grad)
        timings = timed({str(i): call for i, call in enumerate(calls.values())})
        for (kernel, launch), times in zip(calls, timings.values(), strict=True):
            microseconds = 1e6 * float(np.median(times))
            launches.append({**cell, "kernel": kernel, **asdict(launch), "microseconds": microseconds})
    pd.DataFrame(launches).round(1).to_csv(RESULTS / "launches.csv", index=False)
    pd.DataFrame(functions).round(1).to_csv(RESULTS / "functions.csv", index=False)
    (RESULTS / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n", encoding="utf-8")


def tabulate() -> None:
    """Write a table of the library's own launch parameters, from the files."""
    launches, functions = (pd.read_csv(RESULTS / f"{name}.csv") for name in ("launches", "functions"))
    lines = [
        "| input | kernel | µs | F.gelu, µs | ratio | GB/s | of a copy's |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    chosen = {"forward": triton.FORWARD, "backward": triton.BACKWARD}
    for cell, group in functions.groupby(["dtype", "shape"], sort=False):
        dtype, shape = (str(value) for value in cell)
        peers_us = dict(zip(group["function"], group["microseconds"], strict=True))
        size = getattr(torch, dtype).itemsize
        tensor = size * math.prod(int(length) for length in shape.split(" × "))
        times = []
        for kernel, (copy, tensors) in COPY.items():
            wanted = {"dtype": dtype, "shape": shape, "kernel": kernel, **asdict(chosen[kernel][size])}
            rows = launches[(launches[list(wanted)] == pd.Series(wanted)).all(axis=1)]
            [microseconds] = rows["microseconds"]
            times.append((tensors * tensor, microseconds, peers_us[PEERS[kernel]], peers_us[copy]))
            lines.append(_line(f"{dtype}, {shape}", kernel, *times[-1]))
        lines.append(_line(f"{dtype}, {shape}", "both", *map(sum, zip(*times, strict=True))))
    (RESULTS / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(where: str, kernel: str, moved: int, microseconds: float, peer: float, copy: float) -> str:
    return (
        f"| {where} | {kernel} | {microseconds:.0f} | {peer:.0f} | {microseconds / peer:.2f} "
        f"| {moved / microseconds / 1e3:,.0f} | {copy / microseconds:.2f} |"
    )


def main() -> None:
    """Measure or tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["measure", "tabulate"])
    (measure if parser.parse_args().command == "measure" else tabulate)()


if __name__ == "__main__":
    main()
