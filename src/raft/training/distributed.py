"""What the processes of a training agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from raft.errors import InputError

Decided = TypeVar("Decided")


def all_reduce_max(values: Sequence[float], device: torch.device) -> list[float]:
    """Each value's maximum over all processes; a collective operation where there are several."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    maxima: list[float] = tensor.tolist()
    return maxima


def run_on_main_and_broadcast(decide: Callable[[], Decided]) -> Decided:
    """What the first process decides, in all of them; a collective operation where there are several.

    What lies on disk is looked at so: by the time that another process looks, the first may have changed it.

    Raises:
        InputError: in all processes where ``decide`` raises it in the first.
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
    return answer[0]  # type: ignore[return-value]  # the None that it began as is gone


def destroy_process_group() -> None:
    """End the group of processes, when all have come to here; to be called last."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()  # gloo's own threads may still be in a reduction
        torch.distributed.destroy_process_group()
