"""Pretrain one model, a RAFT or its FAFT, by masked language modelling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel, TrainerCallback, set_seed

from raft.data.masking import MaskedSequences
from raft.errors import InputError
from raft.training.arguments import RaftTrainingArguments
from raft.training.masked_lm import validation_losses
from raft.training.trainer import RaftTrainer


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model and how it got there.

    Attributes:
        model: in evaluation mode.
        loss_sums: ``[validation sequences]`` summed loss of each, in nats.
        loss_counts: ``[validation sequences]`` predicted tokens of each.
        history: ``(step, validation loss)``, the last entry at the end of the training.
        seconds: wall-clock time of the training, validation left out.
    """

    model: PreTrainedModel
    loss_sums: NDArray[np.float64]
    loss_counts: NDArray[np.int64]
    history: list[tuple[int, float]]
    seconds: float

    @property
    def loss(self) -> float:
        """Validation loss: mean over all predicted tokens, in nats."""
        return float(self.loss_sums.sum() / self.loss_counts.sum())


def build_model(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """A new masked language model; twins that differ in ``raf`` alone start from the same weights."""
    set_seed(seed)
    model: PreTrainedModel = AutoModelForMaskedLM.from_config(config)
    return model


def pretrain(
    config: PreTrainedConfig,
    train: MaskedSequences,
    validation: MaskedSequences,
    arguments: RaftTrainingArguments,
    callbacks: Sequence[TrainerCallback] = (),
) -> Pretrained:
    """Train a new model of ``config``; checkpoints are not written, the caller saves what it wants to keep.

    Args:
        config: of the model; its ``raf`` block tells a RAFT from a FAFT.
        train: at least ``max_steps`` times the batch size of draws.
        validation: masked once and for all.
        arguments: seed, learning rates, steps, batch size.
        callbacks: of ``transformers``.

    Raises:
        InputError: where the training text does not fill one batch.
        TrainingError: where the loss is not finite.
    """
    batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    if len(train.sequences) < batch or len(validation.sequences) == 0:
        raise InputError(
            f"the corpus gives {len(train.sequences)} training and {len(validation.sequences)} validation "
            f"sequences; one batch needs {batch} and 1: use a larger corpus or a smaller batch"
        )
    model = build_model(config, arguments.seed)
    trainer = RaftTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        callbacks=list(callbacks),
    )
    watch = _Stopwatch()
    trainer.add_callback(watch)
    trainer.train()
    sums, counts = validation_losses(model, validation, arguments.per_device_eval_batch_size)
    history = [
        (int(entry["step"]), float(entry["eval_loss"]))
        for entry in trainer.state.log_history
        if "eval_loss" in entry and entry["step"] < trainer.state.max_steps
    ]
    history.append((trainer.state.max_steps, float(sums.sum() / counts.sum())))
    return Pretrained(model.eval(), sums, counts, history, watch.seconds)


class _Stopwatch(TrainerCallback):
    """Sums the time of the training steps alone."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.started = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds += time.perf_counter() - self.started


def save(model: PreTrainedModel, tokenizer: Any, directory: Path) -> None:
    """Write model and tokenizer where ``from_pretrained`` finds both."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
