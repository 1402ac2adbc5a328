"""The activation alone, forward and backward, beside ``F.gelu``, the formula, a copy and other kernels; with
groups of the second axis; and its gated form beside ``F.silu(gate) * up``, alone and in a block."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raft.benchmarks.kernel_peers import BLOCK, FORMS, GATED, PEERS, build_functions
from raft.benchmarks.memory import measure_peak_bytes, return_freed_memory
from raft.benchmarks.timing import Ratio, compute_ratio, flatten_ratio, time_interleaved

COPY = "copy of the same bytes"
SHAPES = {
    "cpu": ((64, 512), (512, 1024), (4096, 3072), (16, 64, 28, 28), (256, 512, 1408)),
    "cuda": ((16384, 3072), (65536, 3072), (4096, 11008), (256, 256, 28, 28), (8192, 2048, 5632)),
}


@dataclass(frozen=True)
class KernelMeasurement:
    """One function at one shape.

    Attributes:
        shape: of the input; of a block, tokens, hidden channels and width.
        dtype: of the input.
        function: what was timed, forward and backward.
        milliseconds: median.
        gigabytes_per_second: of the tensors that have to be read and written: three and two, five and three
            in the gated form; None of a block, which multiplies matrices.
        peak_megabytes: of memory beyond the inputs'; None where it was not measured.
        ratio: to the peer in the same rounds.
        rounds: how many.
    """

    shape: tuple[int, ...]
    dtype: str
    function: str
    milliseconds: float
    gigabytes_per_second: float | None
    peak_megabytes: float | None
    ratio: Ratio
    rounds: int

    def row(self) -> dict[str, Any]:
        return {**flatten_ratio(self), "shape": " × ".join(str(size) for size in self.shape)}


def measure_kernels(
    device: torch.device,
    dtypes: Sequence[torch.dtype],
    shapes: Sequence[tuple[int, ...]],
    seconds: float,
    compiled: bool,
) -> Iterator[list[KernelMeasurement]]:
    """Time every function at every shape and dtype, in the forms that the number of sizes says (``FORMS``).

    Args:
        device: CPU or GPU.
        dtypes: of the input.
        shapes: as ``FORMS`` reads them.
        seconds: for each shape, dtype and form.
        compiled: whether to compile the formula too, which takes a while.

    Yields:
        What was timed together: the functions of one form on one shape and dtype.
    """
    with _memory_process(device) as process:
        for dtype in dtypes:
            for shape in shapes:
                for form in FORMS[len(shape)]:
                    arguments = (device, dtype, shape, form)
                    peaks = process.submit(_measure_peaks, *arguments).result()
                    yield _time_functions(*arguments, seconds, compiled, peaks)


def _time_functions(
    device: torch.device,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    form: str,
    seconds: float,
    compiled: bool,
    peaks: Mapping[str, int | None],
) -> list[KernelMeasurement]:
    inputs, grad = _make_tensors(device, dtype, shape, form)
    calls = {
        name: _forward_and_backward(function, inputs, grad)
        for name, function in build_functions(form, inputs, compiled, shape[-1]).items()
    }
    if form != BLOCK:
        calls[COPY] = _make_copy(inputs, grad)
    times = time_interleaved(calls, device, seconds)
    gigabytes = (8 if form == GATED else 5) * grad.numel() * grad.element_size() / 1e9
    medians = {name: float(np.median(runs)) for name, runs in times.items()}
    megabytes = {name: None if peak is None else peak / 1e6 for name, peak in peaks.items()}
    return [
        KernelMeasurement(
            shape,
            str(dtype).removeprefix("torch."),
            name,
            1e3 * medians[name],
            None if form == BLOCK else gigabytes / medians[name],
            megabytes.get(name),
            compute_ratio(runs, times[PEERS[form]]),
            len(runs),
        )
        for name, runs in times.items()
    ]


def _make_tensors(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], form: str
) -> tuple[tuple[Tensor, ...], Tensor]:
    """One input or two, and the gradient that comes back."""
    torch.manual_seed(0)
    sizes = shape[:2] if form == BLOCK else shape
    *inputs, grad = (torch.randn(sizes, device=device).to(dtype) for _ in range(3 if form == GATED else 2))
    return tuple(x.requires_grad_() for x in inputs), grad


def _memory_process(device: torch.device) -> ProcessPoolExecutor:
    """A process of its own: what makes memory measurable on a CPU makes it slow."""
    initializer = return_freed_memory if device.type == "cpu" else None
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=initializer)


def _measure_peaks(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], form: str
) -> dict[str, int | None]:
    logging.getLogger("raft").setLevel(logging.ERROR)  # what is left out is said once, by the timing
    inputs, grad = _make_tensors(device, dtype, shape, form)
    peaks = {}
    for name, module in build_functions(form, inputs, width=shape[-1]).items():
        call = _forward_and_backward(module, inputs, grad)
        call()
        _clear_gradients(module, inputs)
        peaks[name] = measure_peak_bytes(call, device)
        _clear_gradients(module, inputs)
    return peaks


def _forward_and_backward(module: nn.Module, inputs: Sequence[Tensor], grad: Tensor) -> Callable[[], object]:
    def call() -> object:
        _clear_gradients(module, inputs)
        return module(*inputs).backward(grad)

    return call


def _clear_gradients(module: nn.Module, inputs: Sequence[Tensor]) -> None:
    module.zero_grad()
    for x in inputs:
        x.grad = None


def _make_copy(inputs: Sequence[Tensor], grad: Tensor) -> Callable[[], object]:
    """Reads and writes as many tensors as forward and backward have to."""
    kept = [x.detach() for x in inputs]

    def call() -> object:
        return kept[0].clone(), [torch.add(x, grad) for x in kept]

    return call
