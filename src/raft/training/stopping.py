"""What ends a training early: a signal, or a time budget; all processes end at the same step."""

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
    """Processes exchange a few numbers about once a second, at the same steps; a single process at each step.

    An exchange waits for the device, which each step could not afford. How many steps lie between two is part
    of what is exchanged.
    """

    PERIOD = 1.0  # seconds

    def __init__(self) -> None:
        self.stride = 1
        self.left = 0
        self.last = time.perf_counter()

    def all_reduce_max(self, values: Sequence[float], device: torch.device) -> list[float] | None:
        """To be called once a step: the maxima over all processes, or None between two exchanges."""
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
    """Wall-clock time of a training, the parts before it was resumed included.

    Attributes:
        before: seconds that earlier parts took, up to the checkpoint that was resumed from.
        step_seconds: seconds of training up to the last pause: steps and the reading of their batches,
            without validation and saving, before which the clock is to be paused.
    """

    def __init__(self) -> None:
        self.before = self.step_seconds = 0.0
        self._began: float | None = None
        self._going_since: float | None = None

    @property
    def seconds(self) -> float:
        """Everything since the training began: steps, validation, saving."""
        return self.before + (0.0 if self._began is None else time.perf_counter() - self._began)

    def state(self) -> dict[str, float]:
        return {"seconds": self.seconds, "step_seconds": self.step_seconds}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from an earlier part's state; from nothing where it is empty."""
        self.before, self.step_seconds = state.get("seconds", 0.0), state.get("step_seconds", 0.0)

    def pause(self, device: torch.device) -> None:
        """Count no seconds of training until the next step begins; waits for what a GPU has been told."""
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
    """Ends the training when its time is spent, and tells the learning rates how much of it is.

    Attributes:
        share: of the budget that is spent, the same in all processes; 0 … 1.
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
        """Bring the share up to date; to be called by all processes at the same step."""
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
    """SIGTERM (a cluster's preemption) and SIGINT (Ctrl-C) end the step, save, and end the training.

    ``RaftTrainer.train`` then raises ``raft.errors.TrainingStopped``, exit status 0. A second Ctrl-C
    interrupts at once. A signal that comes when there is no step left to end is delivered after the training.

    Args:
        command: continues the training where it stopped; part of the message.
        more: signals that do the same, such as the one by which a cluster tells that a job's time is over.

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
        if threading.current_thread() is threading.main_thread():  # Python knows no signals elsewhere
            for number in self.signals:
                self._previous.setdefault(number, signal.signal(number, self._receive))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        maxima = self.exchange.all_reduce_max([self.received], args.device)
        if maxima is not None and maxima[0]:
            self.agreed = int(maxima[0])
            control.should_training_stop = control.should_save = True

    def message(self, step: int) -> str:
        """What happened, and how it goes on."""
        return f"{signal.Signals(self.agreed).name}: stopped after step {step}; to go on: {self.command}"

    def release(self) -> None:
        """Give the signals back to whom they belonged to."""
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
