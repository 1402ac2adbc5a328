"""How much memory a call needs at its peak, beyond what was there before."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

MMAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` of ``malloc.h``."""

SMALLEST = 65_536
"""From this many bytes on, memory is mapped for each tensor alone and given back with it."""

PROCESS = Path("/proc/self")


def return_freed_memory() -> None:
    """Make ``malloc`` keep no freed tensor, so that resident memory is memory in use; slow, and for good."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, SMALLEST)


def measure_peak_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """The most memory that ``call`` holds at one time, on a GPU or, on Linux, in this process.

    For a CPU it is resident memory, a kernel's own workspace included, in whole pages; call
    ``return_freed_memory`` at the process's start. None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        (PROCESS / "clear_refs").write_text("5")  # the peak starts anew
        before = _read_resident("VmRSS")
        call()
        return max(0, _read_resident("VmHWM") - before)
    except OSError:
        return None


def _read_resident(name: str) -> int:
    lines = (PROCESS / "status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":"))
