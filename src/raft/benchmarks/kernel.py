"""The activation alone, forward and backward, beside ``F.gelu``, the formula, a copy and other kernels; and
its gated form beside ``F.silu(gate) * up``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raft.benchmarks.memory import measure_peak_bytes, return_freed_memory
from raft.benchmarks.timing import Ratio, compute_ratio, time_interleaved
from raft.errors import first_line
from raft.functional import rational_glu
from raft.kernels import formula
from raft.modules import Rational

PLAIN_PEER = "F.gelu"
GATED_PEER = "F.silu(gate) * up"
COPY = "copy of the same bytes"
FLASH_KAT_WIDTH = 256
SHAPES = {
    "cpu": ((64, 512), (512, 1024), (4096, 3072)),
    "cuda": ((16384, 3072), (65536, 3072), (4096, 11008)),
}


@dataclass(frozen=True)
class KernelMeasurement:
    """One function at one shape.

    Attributes:
        shape: of the input.
        dtype: of the input.
        function: what was timed, forward and backward.
        milliseconds: median.
        gigabytes_per_second: of the tensors that have to be read and written: three and two, five and three
            in the gated form.
        peak_megabytes: of memory beyond the inputs'; None where it was not measured.
        ratio: to the peer in the same rounds.
        rounds: how many.
    """

    shape: tuple[int, ...]
    dtype: str
    function: str
    milliseconds: float
    gigabytes_per_second: float
    peak_megabytes: float | None
    ratio: Ratio
    rounds: int

    def row(self) -> dict[str, Any]:
        values = asdict(self)
        interval = values.pop("ratio")
        shape = " × ".join(str(size) for size in self.shape)
        return {**values, "shape": shape, **{f"ratio_{key}": value for key, value in interval.items()}}


def measure_kernels(
    device: torch.device,
    dtypes: Sequence[torch.dtype],
    shapes: Sequence[tuple[int, ...]],
    seconds: float,
    compiled: bool,
) -> Iterator[list[KernelMeasurement]]:
    """Time every function at every shape and dtype, first the plain ones and then the gated ones.

    Args:
        device: CPU or GPU.
        dtypes: of the input.
        shapes: of the input.
        seconds: for each shape, dtype and form.
        compiled: whether to compile the formula too, which takes a while.

    Yields:
        What was timed together: the functions of one form on one shape and dtype.
    """
    with _memory_process(device) as process:
        for dtype in dtypes:
            for shape in shapes:
                for is_gated in (False, True):
                    arguments = (device, dtype, shape, is_gated)
                    peaks = process.submit(_measure_peaks, *arguments).result()
                    yield _time_functions(*arguments, seconds, compiled, peaks)


def _time_functions(
    device: torch.device,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    is_gated: bool,
    seconds: float,
    compiled: bool,
    peaks: Mapping[str, int | None],
) -> list[KernelMeasurement]:
    inputs, grad = _make_tensors(device, dtype, shape, is_gated)
    calls = {
        name: _forward_and_backward(function, inputs, grad)
        for name, function in build_functions(inputs, compiled).items()
    }
    calls[COPY] = _make_copy(inputs, grad)
    times = time_interleaved(calls, device, seconds)
    gigabytes = (8 if is_gated else 5) * grad.numel() * grad.element_size() / 1e9
    medians = {name: float(np.median(runs)) for name, runs in times.items()}
    megabytes = {name: None if peak is None else peak / 1e6 for name, peak in peaks.items()}
    return [
        KernelMeasurement(
            shape,
            str(dtype).removeprefix("torch."),
            name,
            1e3 * medians[name],
            gigabytes / medians[name],
            megabytes.get(name),
            compute_ratio(runs, times[GATED_PEER if is_gated else PLAIN_PEER]),
            len(runs),
        )
        for name, runs in times.items()
    ]


def _make_tensors(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], is_gated: bool
) -> tuple[tuple[Tensor, ...], Tensor]:
    """One input or two, and the gradient that comes back."""
    torch.manual_seed(0)
    *inputs, grad = (torch.randn(shape, device=device).to(dtype) for _ in range(3 if is_gated else 2))
    return tuple(x.requires_grad_() for x in inputs), grad


def _memory_process(device: torch.device) -> ProcessPoolExecutor:
    """A process of its own: what makes memory measurable on a CPU makes it slow."""
    initializer = return_freed_memory if device.type == "cpu" else None
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=initializer)


def _measure_peaks(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], is_gated: bool
) -> dict[str, int | None]:
    logging.getLogger("raft").setLevel(logging.ERROR)  # what is left out is said once, by the timing
    inputs, grad = _make_tensors(device, dtype, shape, is_gated)
    peaks = {}
    for name, module in build_functions(inputs, compiled=False).items():
        call = _forward_and_backward(module, inputs, grad)
        call()
        _clear_gradients(module, inputs)
        peaks[name] = measure_peak_bytes(call, device)
        _clear_gradients(module, inputs)
    return peaks


class _ThroughOperator(Rational):
    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = torch.ops.raft.rational(x, self.numerator, self.denominator, self.version)
        return output


class _Formula(Rational):
    def forward(self, x: Tensor, up: Tensor | None = None) -> Tensor:
        return formula.rational(x, self.numerator, self.denominator, self.version, up)


class _SwiGLU(nn.Module):
    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate) * up


class _Apart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = Rational("silu")

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        output: Tensor = self.act(gate) * up
        return output


class _Gated(_Apart):
    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return rational_glu(gate, up, *self.act.coefficients(), self.act.version)


class _OnSequences(nn.Module):
    """For modules that take ``[batch, length, channels]`` only."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x[None])[0]
        return output


class _InRows(nn.Module):
    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner, self.width = inner, width

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x.reshape(-1, self.width)).reshape(x.shape)
        return output


def build_functions(inputs: Sequence[Tensor], compiled: bool) -> dict[str, nn.Module]:
    """What is compared on inputs like these, by name: the plain form for one input, the gated one for two.

    The peer stands there twice, which shows the noise.
    """
    is_gated = len(inputs) == 2
    modules = _gated_functions() if is_gated else _plain_functions()
    if compiled:
        modules["torch.compile of it"] = _Formula("silu" if is_gated else "gelu")
        modules["torch.compile of it"].compile(dynamic=True)
    for name, make in {} if is_gated else OTHERS.items():
        try:
            modules[name] = make(inputs[0])
            modules[name].to(inputs[0].device)(inputs[0].detach()[:1].requires_grad_()).sum().backward()
        except ImportError:
            modules.pop(name, None)
        except Exception as error:  # whatever another project's kernel raises
            modules.pop(name, None)
            reason = first_line(error)
            logging.getLogger("raft").warning("left out %s for %s: %s", name, inputs[0].dtype, reason)
    return {name: module.to(inputs[0].device) for name, module in modules.items()}


def _plain_functions() -> dict[str, nn.Module]:
    return {
        PLAIN_PEER: nn.GELU(),
        f"{PLAIN_PEER}, again": nn.GELU(),
        "raft.Rational": Rational("gelu"),
        "raft.Rational, frozen": Rational("gelu").requires_grad_(False),
        "torch.ops.raft.rational": _ThroughOperator("gelu"),
        "the formula": _Formula("gelu"),
    }


def _gated_functions() -> dict[str, nn.Module]:
    return {
        GATED_PEER: _SwiGLU(),
        f"{GATED_PEER}, again": _SwiGLU(),
        "raft.rational_glu": _Gated(),
        "raft.Rational(gate) * up": _Apart(),
        "the gated formula": _Formula("silu"),
    }


def _rational_activations(x: Tensor) -> nn.Module:
    made: nn.Module = import_module("rational.torch").Rational("gelu", degrees=(5, 4), cuda=x.is_cuda)
    return made


def _kat_rational(x: Tensor) -> nn.Module:
    return _OnSequences(import_module("kat_rational").KAT_Group(1, "gelu", x.device.type))


def _flash_kat(x: Tensor) -> nn.Module:
    if not x.is_cuda:
        raise ImportError("FlashKAT has no kernel for CPUs")
    kernel = import_module("rational_kat").FlashKAT_Group(x.shape[-1], 1, 1, 6, 4, "gelu", x.device.type)
    return _OnSequences(kernel)


def _flash_kat_in_rows(x: Tensor) -> nn.Module:
    """FlashKAT as wide as suits it: a program of it reads whole rows, and one group may have any shape."""
    if x.numel() % FLASH_KAT_WIDTH:
        raise ImportError(f"a multiple of {FLASH_KAT_WIDTH} elements is needed")
    return _InRows(_flash_kat(x.new_empty(1, FLASH_KAT_WIDTH)), FLASH_KAT_WIDTH)


OTHERS: dict[str, Callable[[Tensor], nn.Module]] = {
    "rational_activations": _rational_activations,
    "kat_rational": _kat_rational,
    "FlashKAT": _flash_kat,
    f"FlashKAT, in rows of {FLASH_KAT_WIDTH}": _flash_kat_in_rows,
}
"""Other rational kernels, timed where they can be imported."""


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
