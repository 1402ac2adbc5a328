"""The activation alone, forward and backward, beside ``F.gelu``, the formula, a copy and other kernels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raft.benchmarks.timing import Ratio, in_turn, ratio
from raft.kernels import formula
from raft.modules import Rational

PEER = "F.gelu"
SHAPES = {
    "cpu": ((64, 512), (512, 1024), (4096, 3072)),
    "cuda": ((16384, 3072), (65536, 3072), (4096, 11008)),
}


@dataclass(frozen=True)
class Measured:
    """One function at one shape.

    Attributes:
        shape: of the input.
        dtype: of the input.
        function: what was timed, forward and backward.
        milliseconds: median.
        gigabytes_per_second: of the three tensors that are read and the two that are written.
        ratio: to ``F.gelu`` in the same rounds.
        rounds: how many.
    """

    shape: tuple[int, ...]
    dtype: str
    function: str
    milliseconds: float
    gigabytes_per_second: float
    ratio: Ratio
    rounds: int

    def row(self) -> dict[str, Any]:
        """For a table or a file."""
        values = asdict(self)
        interval = values.pop("ratio")
        shape = " × ".join(str(size) for size in self.shape)
        return {**values, "shape": shape, **{f"ratio_{key}": value for key, value in interval.items()}}


def measure(
    device: torch.device,
    dtypes: Sequence[torch.dtype],
    shapes: Sequence[tuple[int, ...]],
    seconds: float,
    compiled: bool,
) -> Iterator[Measured]:
    """Time every function at every shape and dtype.

    Args:
        device: CPU or GPU.
        dtypes: of the input.
        shapes: of the input.
        seconds: for each shape and dtype.
        compiled: whether to compile the formula too, which takes a while.
    """
    torch.manual_seed(0)
    for dtype in dtypes:
        for shape in shapes:
            x = torch.randn(shape, device=device).to(dtype).requires_grad_()
            grad = torch.randn(shape, device=device).to(dtype)
            calls = {
                name: _forward_and_backward(function, x, grad)
                for name, function in functions(x, compiled).items()
            }
            calls["copy of the same bytes"] = _copies(x.detach(), grad)
            times = in_turn(calls, device, seconds)
            gigabytes = 5 * x.numel() * x.element_size() / 1e9
            for name, found in times.items():
                median = float(np.median(found))
                yield Measured(
                    shape,
                    str(dtype).removeprefix("torch."),
                    name,
                    1e3 * median,
                    gigabytes / median,
                    ratio(found, times[PEER]),
                    len(found),
                )


class _ThroughOperator(Rational):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.raft.rational(x, self.numerator, self.denominator, self.version)
        return found


class _Formula(Rational):
    def forward(self, x: Tensor) -> Tensor:
        return formula.rational(x, self.numerator, self.denominator, self.version)


class _OnSequences(nn.Module):
    """For modules that take ``[batch, length, channels]`` only."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x[None])[0]
        return found


def functions(x: Tensor, compiled: bool) -> dict[str, nn.Module]:
    """What is compared on inputs like ``x``, by name; the peer stands there twice, which shows the noise."""
    found: dict[str, nn.Module] = {
        PEER: nn.GELU(),
        f"{PEER}, again": nn.GELU(),
        "raft.Rational": Rational("gelu"),
        "raft.Rational, frozen": Rational("gelu").requires_grad_(False),
        "torch.ops.raft.rational": _ThroughOperator("gelu"),
        "the formula": _Formula("gelu"),
    }
    if compiled:
        found["torch.compile of it"] = _Formula("gelu")
        found["torch.compile of it"].compile(dynamic=True)
    for name, make in OTHERS.items():
        try:
            found[name] = make(x)
            found[name].to(x.device)(x.detach()[:1])
        except ImportError:
            found.pop(name, None)
        except Exception as error:  # whatever another project's kernel raises
            found.pop(name)
            reason = str(error).splitlines()[0]
            logging.getLogger("raft").warning("left out %s for %s: %s", name, x.dtype, reason)
    return {name: module.to(x.device) for name, module in found.items()}


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


OTHERS: dict[str, Callable[[Tensor], nn.Module]] = {
    "rational_activations": _rational_activations,
    "kat_rational": _kat_rational,
    "FlashKAT": _flash_kat,
}
"""Other rational kernels, timed where they can be imported."""


def _forward_and_backward(module: nn.Module, x: Tensor, grad: Tensor) -> Callable[[], object]:
    def call() -> object:
        x.grad = None
        module.zero_grad()
        return module(x).backward(grad)

    return call


def _copies(x: Tensor, grad: Tensor) -> Callable[[], object]:
    """Reads three tensors and writes two, as forward and backward do."""

    def call() -> object:
        return x.clone(), torch.add(x, grad)

    return call
