"""A thin ``transformers.Trainer``: RAF parameter group, draws in their own order, divergence said early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset, SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, Trainer

from raft.data.masking import MaskedSequences
from raft.errors import TrainingError
from raft.training.arguments import RaftTrainingArguments
from raft.training.masked_lm import masked_lm_loss, validation_losses
from raft.training.optimizer import param_groups, schedule


class LossInProgressBar(ProgressCallback):
    """The progress bar shows the last validation loss, instead of a line for every record of the log."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        bar = getattr(self, "training_bar", None)
        if logs and "eval_loss" in logs and bar is not None:
            bar.set_postfix_str(f"validation loss {logs['eval_loss']:.3f}")


class RaftTrainer(Trainer):
    """``transformers.Trainer`` with AdamW over the groups of ``raft.param_groups``.

    ``MaskedSequences`` are read in their own order, trained with a loss that is computed at the masked
    positions only, and validated exactly: the mean over all masked tokens. Anything else trains as in
    ``Trainer``.

    Raises:
        TrainingError: at the first step whose loss is not finite.
    """

    args: RaftTrainingArguments
    model: PreTrainedModel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pop_callback(PrinterCallback)
        self.pop_callback(ProgressCallback)
        if not self.args.disable_tqdm:
            self.add_callback(LossInProgressBar())
        self.is_masked_lm = isinstance(self.train_dataset, MaskedSequences)
        # the masked-LM loss below is normalised by the masked tokens of the whole batch
        self.model_accepts_loss_kwargs = self.is_masked_lm

    def create_optimizer(self, model: Any = None) -> Optimizer:
        if self.optimizer is None:
            a = self.args
            groups = param_groups(
                self.model, a.learning_rate, a.raf_learning_rate, a.weight_decay, a.raf_weight_decay
            )
            self.optimizer = AdamW(groups, betas=(a.adam_beta1, a.adam_beta2), eps=a.adam_epsilon)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        if self.lr_scheduler is None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler = schedule(optimizer or self.create_optimizer(), warmup, num_training_steps)
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        if self.is_masked_lm:
            return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]
        return super()._get_train_sampler(train_dataset)

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if not self.is_masked_lm:
            found = super().compute_loss(model, dict(inputs), return_outputs, num_items_in_batch)
        else:
            losses = masked_lm_loss(model, inputs["input_ids"], inputs["labels"])
            count = losses.numel() if num_items_in_batch is None else num_items_in_batch
            found = losses.sum() / max(int(count), 1)
        loss = found[0] if isinstance(found, tuple) else found
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.global_step}: the training has diverged; "
                f"lower the learning rate ({self.args.learning_rate:g}) or that of the RAFs "
                f"({self.args.raf_learning_rate:g})"
            )
        return found

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        dataset = eval_dataset or self.eval_dataset
        if not isinstance(dataset, MaskedSequences):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        sums, counts = validation_losses(self.model, dataset, self.args.per_device_eval_batch_size)
        loss = float(sums.sum() / counts.sum())
        metrics = {f"{metric_key_prefix}_loss": loss, f"{metric_key_prefix}_perplexity": math.exp(loss)}
        self.log(metrics)
        return metrics
