"""Collective operations of the processes of a training; without a process group they act locally."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from raft.errors import InputError

Decided = TypeVar("Decided")


def all_reduce_max(values: Sequence[float], device: torch.device) -> list[float]:
    """Return the maximum of each value over all processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    maxima: list[float] = tensor.tolist()
    return maxima


def run_on_main_and_broadcast(decide: Callable[[], Decided]) -> Decided:
    """Call a function in the main process, and return its result in all processes.

    State on disk must be read this way: the main process may change it before another one reads it.

    Raises:
        InputError: in all processes, if ``decide`` raises it in the main process.
    """
    state = PartialState()
    answer: list[Decided | InputError | None] = [None]
    if state.is_main_process:
        try:
            answer[0] = decide()
        except InputError as error:
            answer[0] = error
    if state.num_processes > 1:
        broadcast_object_list(answer)
    if isinstance(answer[0], InputError):
        raise answer[0]
    return answer[0]  # type: ignore[return-value]  # the initial None has been replaced


def destroy_process_group() -> None:
    """Wait for all processes, then destroy the process group. Call this last."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()  # gloo's own threads may still be in a reduction
        torch.distributed.destroy_process_group()
