"""Several processes of one command that share its runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from raft.cli.quiet import print_plain
from raft.data.text.encoding import usable_cores


@dataclass
class ProcessOptions:
    """Who works on the runs of a command."""

    processes: int = field(default=1, metadata={"help": "Processes that share the runs."})
    worker: bool = field(default=False, metadata={"help": "Work on them and say nothing."})


def say_if_busy(options: ProcessOptions | None = None) -> None:
    """Say that other programs keep the cores busy, where a process with several threads suffers from it."""
    if options is not None and (options.worker or options.processes > 1):
        return  # they have one thread each, or their share
    cores, load = usable_cores(), os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if torch.get_num_threads() > 1 and load > cores / 2 and not torch.accelerator.is_available():
        print_plain(
            f"Other programs keep this machine busy (load {load:.1f} on {cores} cores), and then the threads "
            "of a process wait for each other: OMP_NUM_THREADS=1 before the command may make it many times "
            "as fast"
        )


@contextmanager
def start_workers(
    command: str, arguments: Sequence[str], options: ProcessOptions, one_gpu_each: bool = False
) -> Iterator[None]:
    """Start all processes but this one; where the block ends well, wait for them, else end them.

    Args:
        command: of ``raft``.
        arguments: that it was given.
        options: how many work; a worker starts none.
        one_gpu_each: whether a process must see one GPU alone. This one sees all: where there are several,
            another works in its place, and the block begins when all have ended.
    """
    if options.worker or options.processes == 1:
        yield
        return
    words = [sys.executable, "-m", "raft.cli.main", command, *arguments, "--worker", "true"]
    shares = share_devices(options.processes)
    if "OMP_NUM_THREADS" in shares[0]:
        torch.set_num_threads(int(shares[0]["OMP_NUM_THREADS"]))
    waits = one_gpu_each and "CUDA_VISIBLE_DEVICES" in shares[0]
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the workers, too
    workers = [
        subprocess.Popen(words, env={**os.environ, **share}) for share in (shares if waits else shares[1:])
    ]
    try:
        for worker in workers if waits else ():
            worker.wait()
        yield
        for worker in workers:
            worker.wait()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        signal.signal(signal.SIGTERM, before)


def without_worker(arguments: Sequence[str]) -> list[str]:
    """The words of a command as a user gave them."""
    words = list(arguments)
    return words[:-2] if words[-2:] == ["--worker", "true"] else words


def share_devices(processes: int) -> list[dict[str, str]]:
    """What each process's environment says of the machine's cores and GPUs, so that they share them.

    Empty where one process has all, and where the user's environment says it.
    """
    if processes == 1:
        return [{}]
    shared: dict[str, str] = {}
    if "OMP_NUM_THREADS" not in os.environ:
        shared["OMP_NUM_THREADS"] = str(max(1, usable_cores() // processes))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    if len(gpus) < 2:
        return [shared] * processes
    # each takes the first that it sees; this process has all, and so takes the first
    return [{**shared, "CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} for number in range(processes)]
