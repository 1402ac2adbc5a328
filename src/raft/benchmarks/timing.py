"""Time functions in turn, so that a machine whose speed drifts is as slow for one as for the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

RESAMPLES = 2000
COVER_BYTES = 1 << 29
"""Written before each call on a GPU: more than a cache holds, and long enough to queue the call behind it."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def flatten_ratio(measurement: Any) -> dict[str, Any]:
    """The fields of a measurement, with those of its ``ratio``, as a row of a table."""
    values = asdict(measurement)
    ratio = values.pop("ratio")
    return {**values, **{f"ratio_{key}": value for key, value in ratio.items()}}


def time_interleaved(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    seconds: float,
    least_rounds: int = 10,
    most_rounds: int = 500,
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each function in each round; a round calls every function once, in a new order.

    Args:
        functions: by name; each is called once beforehand.
        device: a GPU's own clock times each call, from a cold cache and with the work queued up, so that what
            Python takes is seen where it is more than the GPU's time.
        seconds: about how long all of it may take.
        least_rounds: whatever it takes.
        most_rounds: enough for a median.
    """
    random = np.random.default_rng(0)
    for function in functions.values():
        function()
    names = list(functions)
    elapsed_times: dict[str, list[float]] = {name: [] for name in names}
    one_round = _GpuRound(device) if device.type == "cuda" else _cpu_round
    begun = time.perf_counter()
    while len(elapsed_times[names[0]]) < most_rounds:
        is_over = time.perf_counter() - begun > seconds
        if is_over and len(elapsed_times[names[0]]) >= least_rounds:
            break
        order = [names[i] for i in random.permutation(len(names))]
        for name, elapsed in zip(order, one_round([functions[name] for name in order]), strict=True):
            elapsed_times[name].append(elapsed)
    return {name: np.array(times) for name, times in elapsed_times.items()}


def _cpu_round(functions: Sequence[Callable[[], object]]) -> list[float]:
    times = []
    for function in functions:
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
        del result
    return times


class _GpuRound:
    """Seconds of each function by events on the stream; the host waits at the end of a round alone."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cover = torch.empty(COVER_BYTES, dtype=torch.uint8, device=device)

    def __call__(self, functions: Sequence[Callable[[], object]]) -> list[float]:
        pairs = []
        for function in functions:
            self.cover.zero_()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            function()
            end.record()
            pairs.append((begin, end))
        torch.cuda.synchronize(self.device)
        return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]


def compute_ratio(times: NDArray[np.float64], of: NDArray[np.float64]) -> Ratio:
    """Ratio of the medians; the interval resamples whole rounds.

    Args:
        times: ``[rounds]``.
        of: ``[rounds]``, of the peer in the same rounds.
    """
    drawn = np.random.default_rng(0).integers(0, len(times), size=(RESAMPLES, len(times)))
    ratios = np.median(times[drawn], axis=1) / np.median(of[drawn], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Ratio(float(np.median(times) / np.median(of)), float(low), float(high))
