"""Stop a training early, on a signal or a time budget, at the same step in all processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from raft.training.distributed import all_reduce_max


class PeriodicExchange:
    """All-reduce a few numbers about once a second, at the same steps; a single process does at each step.

    An all-reduce synchronises with the device, which is too slow for every step. The processes also agree on
    the number of steps to the next one.
    """

    PERIOD = 1.0  # seconds

    def __init__(self) -> None:
        self.stride = 1
        self.left = 0
        self.last = time.perf_counter()

    def all_reduce_max(self, values: Sequence[float], device: torch.device) -> list[float] | None:
        """Return the maxima over all processes, or None between two exchanges. Call it once a step."""
        self.left -= 1
        if self.left > 0:
            return None
        now = time.perf_counter()
        seconds_a_step = (now - self.last) / self.stride
        self.last = now
        wanted = min(100, max(1, int(self.PERIOD / max(seconds_a_step, 1e-9))))
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        stride, *maxima = all_reduce_max([wanted if several else 1, *values], device)
        self.stride = self.left = int(stride)
        return maxima


class Clock(TrainerCallback):
    """Measure the wall-clock time of a training, including the time before it was resumed.

    Attributes:
        before: seconds up to the checkpoint that was resumed from.
        step_seconds: seconds of training up to the last pause: steps and loading of their batches. Pause the
            clock before validation and saving.
    """

    def __init__(self) -> None:
        self.before = self.step_seconds = 0.0
        self._began: float | None = None
        self._going_since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the training began: steps, validation, saving."""
        return self.before + (0.0 if self._began is None else time.perf_counter() - self._began)

    def state(self) -> dict[str, float]:
        return {"seconds": self.seconds, "step_seconds": self.step_seconds}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from an earlier state; an empty one resets the clock."""
        self.before, self.step_seconds = state.get("seconds", 0.0), state.get("step_seconds", 0.0)

    def pause(self, device: torch.device) -> None:
        """Stop counting until the next step begins; synchronises with a GPU."""
        if self._going_since is not None:
            if device.type != "cpu":
                torch.accelerator.synchronize()
            self.step_seconds += time.perf_counter() - self._going_since
            self._going_since = None

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began, self._going_since = time.perf_counter(), None

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        if self._going_since is None:
            self._going_since = time.perf_counter()

    def on_train_end(self, args: Any, *others: Any, **kwargs: Any) -> None:
        self.pause(args.device)
        self.before, self._began = self.seconds, None


class TimeBudget(TrainerCallback):
    """Stop the training when its time is spent; the learning rates follow ``share``.

    Attributes:
        share: of the budget that is spent, in [0, 1], the same in all processes.
    """

    def __init__(self, clock: Clock, hours: float) -> None:
        self.clock = clock
        self.budget = 3600 * hours
        self.share = 0.0
        self.exchange = PeriodicExchange()

    @property
    def is_spent(self) -> bool:
        return self.share >= 1

    def update(self, device: torch.device) -> None:
        """Update the share. All processes must call it at the same step."""
        maxima = self.exchange.all_reduce_max([self.clock.seconds / self.budget], device)
        if maxima is not None:
            self.share = min(1.0, maxima[0])

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.update(args.device)  # the learning rates' scheduler comes next

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_spent:
            control.should_training_stop = True
            control.should_save = control.should_save or args.save_strategy == SaveStrategy.STEPS
            control.should_evaluate = control.should_evaluate or args.eval_strategy == IntervalStrategy.STEPS


class StopOnSignal(TrainerCallback):
    """On SIGTERM (preemption) or SIGINT (Ctrl-C), finish the step, save a checkpoint, and stop the training.

    ``RaftTrainer.train`` then raises ``raft.errors.TrainingStopped``, exit status 0. A second Ctrl-C
    interrupts at once. A signal after the last step is delivered when the training has ended.

    Args:
        command: resumes the training; part of the message.
        more: further signals, such as the one that a cluster sends before a job's time limit.

    Example::

        trainer = RaftTrainer(model, args, callbacks=[StopOnSignal(shlex.join(sys.argv))])
        trainer.train(resume_from_checkpoint=True)
    """

    def __init__(self, command: str, more: Sequence[int] = ()) -> None:
        self.command = command
        self.signals = (signal.SIGTERM, signal.SIGINT, *more)
        self.received = 0
        self.agreed = 0
        self._at = 0.0
        self._previous: dict[int, Any] = {}
        self.exchange = PeriodicExchange()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.received = self.agreed = 0
        if threading.current_thread() is threading.main_thread():  # Python handles signals only there
            for number in self.signals:
                self._previous.setdefault(number, signal.signal(number, self._receive))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        maxima = self.exchange.all_reduce_max([self.received], args.device)
        if maxima is not None and maxima[0]:
            self.agreed = int(maxima[0])
            control.should_training_stop = control.should_save = True

    def message(self, step: int) -> str:
        """Which signal stopped the training, and how to resume it."""
        return f"{signal.Signals(self.agreed).name}: stopped after step {step}; to go on: {self.command}"

    def release(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        pending, self.received = self.received, 0
        if pending and not self.agreed:
            os.kill(os.getpid(), pending)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # torchrun passes a Ctrl-C on that the terminal has sent already: two within a second are one
        again = self.received and time.monotonic() - self._at > 1.0
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received:
            self.received, self._at = number, time.monotonic()
