"""Time functions in turn, so that a machine whose speed drifts is as slow for one as for the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def in_turn(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    seconds: float,
    least_rounds: int = 10,
    most_rounds: int = 500,
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each function in each round; a round calls every function once, in a new order.

    Args:
        functions: by name; each is called once beforehand.
        device: synchronised around each call where it is a GPU.
        seconds: about how long all of it may take.
        least_rounds: whatever it takes.
        most_rounds: enough for a median.
    """
    random = np.random.default_rng(0)
    for function in functions.values():
        function()
    names = list(functions)
    found: dict[str, list[float]] = {name: [] for name in names}
    begun = time.perf_counter()
    while len(found[names[0]]) < most_rounds:
        is_over = time.perf_counter() - begun > seconds
        if is_over and len(found[names[0]]) >= least_rounds:
            break
        for i in random.permutation(len(names)):
            found[names[i]].append(_timed(functions[names[i]], device))
    return {name: np.array(times) for name, times in found.items()}


def _timed(function: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elapsed = time.perf_counter() - started
    del result
    return elapsed


def ratio(times: NDArray[np.float64], of: NDArray[np.float64]) -> Ratio:
    """Ratio of the medians; the interval resamples whole rounds.

    Args:
        times: ``[rounds]``.
        of: ``[rounds]``, of the peer in the same rounds.
    """
    drawn = np.random.default_rng(0).integers(0, len(times), size=(RESAMPLES, len(times)))
    ratios = np.median(times[drawn], axis=1) / np.median(of[drawn], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Ratio(float(np.median(times) / np.median(of)), float(low), float(high))
