"""A command as a job of a Slurm cluster, which goes on by itself when preempted, or when its time is over."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raft.errors import InputError, TrainingStopped, first_line

CLUSTER = "slurm"
REQUEUES = 1000
"""Time limits that a job may run into: each is a checkpoint, not a failure."""

SECONDS_TO_SAVE = 180


@dataclass
class SlurmOptions:
    """Where a command runs."""

    slurm: bool = field(default=False, metadata={"help": "Submit as a Slurm job, which requeues itself."})
    slurm_partition: str | None = field(default=None, metadata={"help": "Partition of the job."})
    slurm_nodes: int = field(default=1, metadata={"help": "Nodes of the job."})
    slurm_gpus_per_node: int = field(default=1, metadata={"help": "GPUs, and processes, of each node."})
    slurm_cpus_per_gpu: int = field(default=8, metadata={"help": "CPU cores for each GPU."})
    slurm_hours: float = field(default=24.0, metadata={"help": "Time limit; the job then goes on anew."})


class ResumableJob:
    """What a cluster's process runs: a command that goes on where it was left when it is given again.

    Args:
        command: takes the words.
        words: of the command line.
    """

    def __init__(self, command: Callable[[Sequence[str]], None], words: Sequence[str]) -> None:
        self.command = command
        self.words = list(words)

    def __call__(self) -> None:
        """Join the other processes of the job, and run the command."""
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        if JobEnvironment().num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        try:
            self.command(self.words)
        except TrainingStopped:
            # the checkpoint is written, and submitit's own handler is back: it requeues the job
            os.kill(os.getpid(), get_requeue_signal())

    def checkpoint(self) -> Any:
        """Requeue the same command."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def get_requeue_signal() -> int:
    """Return the signal by which submitit tells a job that its time is over."""
    return int(getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"))


def is_job() -> bool:
    return "SUBMITIT_EXECUTOR" in os.environ


def submit(options: SlurmOptions, job: ResumableJob, name: str, folder: Path) -> Any:
    """Submit a job.

    Args:
        options: of the cluster.
        job: what runs.
        name: of the job.
        folder: for its scripts and logs.

    Returns:
        A job of submitit.

    Raises:
        InputError: where submitit is not installed, or no cluster takes the job.
    """
    try:
        from submitit import AutoExecutor
    except ImportError as error:
        raise InputError("--slurm needs submitit: pip install 'raft-transformers[slurm]'") from error
    try:
        executor = AutoExecutor(folder=folder, cluster=CLUSTER, slurm_max_num_timeout=REQUEUES)
        executor.update_parameters(
            name=name,
            nodes=options.slurm_nodes,
            tasks_per_node=options.slurm_gpus_per_node,
            gpus_per_node=options.slurm_gpus_per_node,
            cpus_per_task=options.slurm_cpus_per_gpu,
            timeout_min=max(1, round(60 * options.slurm_hours)),
            slurm_partition=options.slurm_partition,
            slurm_signal_delay_s=SECONDS_TO_SAVE,
        )
        return executor.submit(job)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"the cluster takes no job: {first_line(error)}") from error
