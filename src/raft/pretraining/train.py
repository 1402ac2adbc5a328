"""Pretrain one language model, a RAFT or its FAFT."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel, TrainerCallback, set_seed

from raft.data.text.causal import CausalSequences
from raft.data.text.sequences import IGNORED, TokenSequences
from raft.data.text.tokens import CLM, MLM
from raft.errors import InputError
from raft.files import save_pretrained
from raft.pretraining.architectures import check_attention, new_model
from raft.pretraining.zero_shot import read_history
from raft.training.arguments import RaftTrainingArguments
from raft.training.trainer import STEP_SECONDS, RaftTrainer


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model and how it got there.

    Attributes:
        model: in evaluation mode.
        loss_sums: ``[validation sequences]`` summed loss of each, in nats.
        loss_counts: ``[validation sequences]`` predicted tokens of each.
        history: ``(step, seconds of training so far, validation loss)``, the last entry at the end.
        accuracies: ``(step, accuracy)`` on samples of minimal pairs, by name of the test.
        seconds: wall-clock time of the training, validation and saving left out.
    """

    model: PreTrainedModel
    loss_sums: NDArray[np.float64]
    loss_counts: NDArray[np.int64]
    history: list[tuple[int, float, float]]
    accuracies: dict[str, list[tuple[int, float]]]
    seconds: float

    @property
    def loss(self) -> float:
        """Validation loss: mean over all predicted tokens, in nats."""
        return float(self.loss_sums.sum() / self.loss_counts.sum())


def build_model(
    config: PreTrainedConfig, seed: int, attn_implementation: str | None = None, objective: str = MLM
) -> PreTrainedModel:
    """A new language model; models with one seed start from the same weights, where names and shapes agree.

    They may differ in ``raf``, ``hidden_act`` and, for RaftBert, ``gated``.
    """
    set_seed(seed)
    model = new_model(config, objective, attn_implementation)
    if getattr(config, "gated", False):
        # its projections of other shapes took other random numbers from the one stream
        plain = copy.deepcopy(config)
        plain.gated = False
        _copy_equal_shapes(build_model(plain, seed, attn_implementation), model)
    return model


@torch.no_grad()
def _copy_equal_shapes(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """Copy the weights whose names and shapes are the same."""
    weights = dict(source.named_parameters())
    for name, weight in target.named_parameters():
        if name in weights and weights[name].shape == weight.shape:
            weight.copy_(weights[name])


def pretrain(
    config: PreTrainedConfig,
    train: TokenSequences,
    validation: TokenSequences,
    arguments: RaftTrainingArguments,
    callbacks: Sequence[TrainerCallback] = (),
    resume: str | bool | None = None,
) -> Pretrained:
    """Train a new model of ``config``; checkpoints are written as ``arguments`` say.

    Args:
        config: of the model; its ``raf`` block tells a RAFT from a FAFT.
        train: at least ``max_steps`` times the batch size of draws; ``MaskedSequences`` train a masked,
            ``CausalSequences`` a causal language model.
        validation: of the same kind, the same at each evaluation.
        arguments: seed, learning rates, steps, batch size.
        callbacks: of ``transformers``; ``StopOnSignal`` among them saves and stops at a signal.
        resume: a checkpoint to go on from, or True for the newest one that is whole, if there is any.

    Raises:
        InputError: where the training text does not fill one batch, nothing is predicted in the validation
            text, or the checkpoint cannot be used.
        TrainingError: where the loss is not finite, or a checkpoint cannot be written.
        TrainingStopped: after a signal that ``StopOnSignal`` handles.
    """
    batch = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    if len(train.sequences) < batch or len(validation.sequences) == 0:
        raise InputError(
            f"the corpus gives {len(train.sequences)} training and {len(validation.sequences)} validation "
            f"sequences; one batch needs {batch} and 1: use a larger corpus or a smaller batch"
        )
    if not any(bool((labels != IGNORED).any()) for labels in validation.labels()):
        raise InputError(
            f"no token of the {len(validation)} validation sequences is masked, so that there is nothing to "
            "predict: take more of them, or a higher mlm_probability"
        )
    objective = CLM if isinstance(train, CausalSequences) else MLM
    model = build_model(config, arguments.seed, arguments.attn_implementation, objective)
    if isinstance(train, CausalSequences):
        check_attention(model, train.within_documents)
    trainer = RaftTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    sums, counts = trainer.validation_losses(validation)
    if "_original_forward" in vars(model):  # what is asked of the model from now on is asked of its weights
        model.forward = vars(model).pop("_original_forward")
    history = [
        (int(entry["step"]), float(entry[STEP_SECONDS]), float(entry["eval_loss"]))
        for entry in trainer.state.log_history
        if {"eval_loss", STEP_SECONDS} <= entry.keys() and entry["step"] < trainer.state.global_step
    ]
    seconds = trainer.clock.step_seconds
    history.append((trainer.state.global_step, seconds, float(sums.sum() / counts.sum())))
    return Pretrained(model.eval(), sums, counts, history, read_history(trainer.state), seconds)


def save(model: PreTrainedModel, tokenizer: Any, directory: Path) -> None:
    """Write model and tokenizer where ``from_pretrained`` finds both."""
    save_pretrained(model, directory)
    save_pretrained(tokenizer, directory)
