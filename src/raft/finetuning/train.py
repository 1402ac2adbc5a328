"""Fine-tune a pretrained model on a task: any tuning mode, the best epoch kept in memory, scored once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    set_seed,
)
from transformers.models.auto import modeling_auto

from raft.data.tasks.task import Score
from raft.data.text.tokens import id_range
from raft.errors import InputError
from raft.finetuning.tuning import ParameterCount, set_tuning
from raft.functions.registry import FUNCTIONS
from raft.hf import ConversionReport
from raft.hf.conversion import convert
from raft.hf.histogram import InputHistogram, record_histograms
from raft.hf.loading import load_config, load_pretrained
from raft.hf.peft import names_without_adapter
from raft.learned_activation import learned_activations
from raft.networks.calibration import evaluating
from raft.networks.config import AUTO, DEFAULT, RATIONAL, RafConfig
from raft.training.arguments import RaftTrainingArguments
from raft.training.monitoring import coefficients
from raft.training.trainer import RaftTrainer

Outputs = tuple[NDArray[np.float32], ...]
CALIBRATION_TEXTS = 64
"""Training inputs that the RAFs of a converted model are fitted to, at most."""

TOKENS_PER_PART = 1024
"""Tokens of a part of a batch on a CPU, padding included: they fit its caches."""

KEEP, RAF, RESIDUAL = "keep", "raf", "raf-residual"
LEARNED = tuple(name for name in FUNCTIONS if name != RATIONAL)
"""Learned functions that are not rational, by the names that a comparison has for them."""
ACTIVATIONS = (KEEP, RAF, RESIDUAL, *LEARNED)


def conversion_config(activation: str, raf: RafConfig) -> RafConfig:
    """What a model is converted to.

    Args:
        activation: of ``ACTIVATIONS``, but for ``keep``.
        raf: where, and the form of rational functions, which others leave out.
    """
    if activation not in LEARNED:
        return replace(raf, residual=activation == RESIDUAL)
    init = AUTO if FUNCTIONS[activation].is_elementwise else DEFAULT
    rational = RafConfig()
    return replace(raf, function=activation, init=init, degrees=rational.degrees, version=rational.version)


class Inputs(Protocol):
    """One dict an input, without padding."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> dict[str, Any]: ...


@dataclass(frozen=True)
class EvalSplit:
    """Inputs of a model, and how its outputs are scored.

    Attributes:
        inputs: in the order of what is scored.
        examples: how many there are: a question may have several inputs.
        lengths: ``[N]``, tokens of each.
        score: gets each kind of logits as ``[N, …]``, padded with −inf where they are a token's; None where
            nobody here knows the labels.
        write: writes predictions into a folder, in the official format; None where there is none.
    """

    inputs: Inputs
    examples: int
    lengths: NDArray[np.int64]
    score: Callable[[Outputs], Score] | None
    write: Callable[[Outputs, Path], None] | None = None


@dataclass(frozen=True)
class FinetuningData:
    """A task as one model reads it.

    Attributes:
        head: the ``AutoModelFor…`` class.
        config: what the task asks of the model's configuration, such as the number of classes.
        train: inputs with labels.
        validation: to choose the epoch on; None to keep the last one.
        tests: what is looked at once, at the end, by name.
        collate: makes a padded batch of inputs.
        texts: training texts that RAFs may be fitted to.
    """

    head: Any
    config: Mapping[str, Any]
    train: Inputs
    validation: EvalSplit | None
    tests: Mapping[str, EvalSplit]
    collate: Callable[[list[dict[str, Any]]], Mapping[str, Tensor]]
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Finetuned:
    """What a fine-tuning leaves.

    Attributes:
        model: with the weights of the best epoch.
        validation: score of that epoch; None where no epoch was chosen.
        tests: scores by name.
        outputs: logits of the tests, by name.
        epoch: that was kept.
        history: validation points after each epoch.
        parts: what was trained.
        rafs: coefficients by the step after which they were so, where there are RAFs: those that the training
            began with, and those that are kept.
        inputs: of the RAFs that are kept, over training inputs.
        report: of the conversion, where there was one.
        seconds: of training and validation, and of all of it.
    """

    model: Any
    validation: Score | None
    tests: dict[str, Score]
    outputs: dict[str, Outputs]
    epoch: int
    history: list[float]
    parts: list[ParameterCount]
    rafs: dict[int, dict[str, Tensor]]
    inputs: dict[str, InputHistogram]
    report: ConversionReport | None
    seconds: dict[str, float] = field(default_factory=dict)


def load(
    checkpoint: str | Path, data: FinetuningData, seed: int, attn_implementation: str | None = None
) -> tuple[Any, list[str]]:
    """A model with the task's head, whose new weights are drawn from the seed.

    A head of another task stays where it has as many outputs, and is replaced, with a line that says so,
    where it has not.

    Returns:
        The model, and the names of the parameters that the checkpoint did not hold.

    Raises:
        InputError: where there is no such checkpoint, or it does not fit the task.
    """
    config = load_config(checkpoint, **data.config)
    set_seed(seed)
    # in float32, whatever the checkpoint was stored in: all models are trained in one precision
    model, info = load_pretrained(
        data.head,
        checkpoint,
        config=config,
        dtype=torch.float32,
        attn_implementation=attn_implementation,
        ignore_mismatched_sizes=True,
    )
    replaced = _check_replaced(checkpoint, model, info["mismatched_keys"])
    return model, sorted({*info["missing_keys"], *replaced})


def _check_replaced(
    checkpoint: str | Path, model: Any, mismatched: Iterable[tuple[str, torch.Size, torch.Size]]
) -> list[str]:
    """The weights of a head with another number of outputs; anything else of another shape is refused."""
    replaced = []
    acts = learned_activations(model)
    for name, stored, wanted in sorted(mismatched):
        is_head = not name.startswith(f"{model.base_model_prefix}.") and name.rpartition(".")[0] not in acts
        if not is_head or stored[1:] != wanted[1:]:
            raise InputError(
                f"cannot load {checkpoint}: {name} has the shape {list(stored)} there, and {list(wanted)} by "
                "config.json; mend the one that is wrong"
            )
        replaced.append(name)
        outputs = (stored[0], wanted[0])
    if replaced:
        logging.getLogger("raft").warning(
            "the head of %s has %d outputs and the task needs %d: it gets a new one (%s)",
            checkpoint, *outputs, ", ".join(replaced),
        )  # fmt: skip
    return replaced


def finetune(
    checkpoint: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    data: FinetuningData,
    arguments: RaftTrainingArguments,
    tuning: str = "full",
    activation: str = KEEP,
    raf: RafConfig | None = None,
    patience: int | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Finetuned:
    """Train on a task, keep the epoch with the best validation score, and score the tests with it.

    The head's new weights, the order of the batches and the dropout depend on ``arguments.seed`` alone.

    Args:
        checkpoint: folder or hub name of a pretrained encoder.
        tokenizer: of that encoder.
        data: the task.
        arguments: seed, learning rates, epochs, batch size.
        tuning: see ``raft.finetuning.tuning.set_tuning``.
        activation: ``keep``; or ``raf``, ``raf-residual`` or another learned function's name to convert a
            model with fixed activations, its RAFs fitted to the training inputs.
        raf: what is converted, and to what; see :func:`conversion_config`.
        patience: epochs without a better validation score after which the training ends.
        callbacks: of ``transformers``.

    Raises:
        InputError: for a checkpoint that does not fit the task, or has RAFs and is to be converted, or an
            unknown mode or activation.
        TrainingError: where the loss is not finite.
    """
    begun = time.perf_counter()
    if activation not in ACTIVATIONS:
        raise InputError(f"--activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    model, new = load(checkpoint, data, arguments.seed, arguments.attn_implementation)
    fit_tokens(model.config, tokenizer, checkpoint)
    report = None
    if activation != KEEP:
        if learned_activations(model):
            raise InputError(f"{checkpoint} has RAFs already, which --activation keep trains as they are")
        config = conversion_config(activation, raf or RafConfig())
        try:
            convert(model, config, calibration=list(data.texts[:CALIBRATION_TEXTS]), tokenizer=tokenizer)
        except ValueError as error:  # it has no such sites, say
            raise InputError(f"{checkpoint} cannot be converted: {error}") from error
        report = model.conversion_report
    if tuning == RAF and not learned_activations(model):
        raise InputError(
            f"--tuning raf trains RAFs alone, and {checkpoint} has none: give --activation raf to convert "
            "it, or another --tuning"
        )
    set_seed(arguments.seed)  # for an adapter's weights: whatever came before them drew from it
    model, parts = set_tuning(model, tuning, new)
    rafs = {0: coefficients(model)} if learned_activations(model) else {}
    best = KeepBest(patience)
    defaults = RaftTrainingArguments
    logs_as_given = arguments.logging_steps != defaults.logging_steps or arguments.logging_strategy != "steps"
    arguments = replace(
        arguments,
        logging_strategy=arguments.logging_strategy if logs_as_given else "epoch",
        eval_strategy="no" if data.validation is None else "epoch",
        eval_on_start=False,
        eval_delay=0,  # one score for each epoch, which KeepBest counts
        save_strategy="no",
        load_best_model_at_end=False,  # KeepBest does
        metric_for_best_model=None,
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # Trainer would make batches larger, and spread them by torch.nn.DataParallel
    trainer = FinetuningTrainer(
        model=model,
        args=arguments,
        eval_dataset=None if data.validation is None else data.validation.inputs,
        train_dataset=data.train,
        data_collator=data.collate,
        callbacks=[best, *callbacks],
    )
    trainer.data = data
    started = time.perf_counter()
    trainer.train()
    best.restore(model)
    trained = time.perf_counter()
    inputs = {}
    if rafs:
        rafs[best.step] = coefficients(model)
        inputs = _record_inputs(model, data, arguments.per_device_eval_batch_size)
    outputs = {
        name: predict_logits(model, split, data.collate, arguments.per_device_eval_batch_size)
        for name, split in data.tests.items()
    }
    tests = {
        name: split.score(outputs[name]) for name, split in data.tests.items() if split.score is not None
    }
    return Finetuned(
        model=model,
        validation=best.score,
        tests=tests,
        outputs=outputs,
        epoch=best.epoch,
        history=best.history,
        parts=parts,
        rafs=rafs,
        inputs=inputs,
        report=report,
        seconds={"training": trained - started, "all": time.perf_counter() - begun},
    )


def fit_tokens(config: Any, tokenizer: PreTrainedTokenizerBase, checkpoint: str | Path) -> None:
    """Refuse a tokenizer with more tokens than the model. A decoder takes its token to pad with, before which
    it is read out; others where they have none, as RoBERTa's positions depend on it."""
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is not None and id_range(tokenizer) > vocabulary:
        raise InputError(
            f"the tokenizer of {checkpoint} has {id_range(tokenizer)} tokens, but the model's vocab_size is "
            f"{vocabulary}; take the tokenizer that belongs to the model"
        )
    for part in (config, config.get_text_config()):
        lacks = getattr(part, "pad_token_id", None) is None
        if lacks or _is_decoder(part) or tokenizer.pad_token == tokenizer.eos_token:
            part.pad_token_id = tokenizer.pad_token_id


def _is_decoder(config: Any) -> bool:
    kinds = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )
    return [config.model_type in names for names in kinds] == [True, False]


def _record_inputs(model: Any, data: FinetuningData, batch_size: int) -> dict[str, InputHistogram]:
    """What the RAFs get of the first training inputs."""
    rows = range(min(len(data.train), CALIBRATION_TEXTS))
    first: Any = Subset(data.train, rows)  # type: ignore[arg-type]  # lists will do
    with record_histograms(model) as histograms, evaluating(model):
        for batch in DataLoader(first, batch_size=batch_size, collate_fn=data.collate):
            model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
    return {plain: histograms[site] for site, plain in names_without_adapter(model, histograms).items()}


def split_batch(batch: Mapping[str, Tensor], tokens: int) -> Iterator[tuple[dict[str, Tensor], float]]:
    """Parts of a padded batch, the longest inputs first, each cut to the columns that its inputs use.

    Args:
        batch: tensors ``[B, …]``; those of the shape ``[B, L]`` of ``attention_mask`` are cut.
        tokens: that a part holds at most, unless one input alone has more.

    Yields:
        A part, and its share of the inputs; the shares sum to one.
    """
    mask = batch["attention_mask"].bool()
    lengths, order = mask.sum(dim=1).sort(descending=True, stable=True)
    start = 0
    while start < len(order):
        size = max(1, tokens // max(int(lengths[start]), 1))
        rows = order[start : start + size]
        columns = mask[rows].any(dim=0)
        yield (
            {
                name: tensor[rows][:, columns] if tensor.shape == mask.shape else tensor[rows]
                for name, tensor in batch.items()
            },
            len(rows) / len(order),
        )
        start += size


def predict_logits(
    model: Any,
    split: EvalSplit,
    collate: Callable[[list[dict[str, Any]]], Mapping[str, Tensor]],
    batch_size: int,
) -> Outputs:
    """Logits of all inputs in their order; inputs of like lengths are run together.

    Returns:
        Each kind of logits that the model gives: ``[N, classes]``, or ``[N, longest]`` with −inf beyond an
        input's own tokens.
    """
    order = np.argsort(split.lengths, kind="stable")[::-1]
    loader: DataLoader = DataLoader(
        Subset(split.inputs, order.tolist()),  # type: ignore[arg-type]  # lists will do
        batch_size=batch_size,
        collate_fn=collate,
    )
    outputs: list[NDArray[np.float32]] = []
    start = 0
    with evaluating(model):
        for batch in loader:
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            names = ("labels", "start_positions", "end_positions")
            answer = model(**{name: tensor for name, tensor in batch.items() if name not in names})
            size = len(batch["input_ids"])
            kinds = [value for name, value in answer.items() if name.endswith("logits")]
            if not outputs:
                outputs = [np.full((len(order), kind.shape[1]), -np.inf, np.float32) for kind in kinds]
            for kind, whole in zip(kinds, outputs, strict=True):
                whole[order[start : start + size], : kind.shape[1]] = kind.float().cpu().numpy()
            start += size
    return tuple(outputs)


class KeepBest(TrainerCallback):
    """Keeps the trained weights of the best validation, in memory, and ends a training that stays behind.

    Args:
        patience: validations without a better score after which the training ends; None for never.

    Attributes:
        score: the best one.
        epoch: of that, from 1.
        step: after which it was validated.
        history: points of all validations.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.score: Score | None = None
        self.epoch, self.step = 0, 0
        self.history: list[float] = []
        self._weights: dict[str, Tensor] = {}

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Compare, and keep."""
        score: Score = kwargs["metrics"]["score"]
        self.history.append(score.points)
        if self.score is None or score.points > self.score.points:
            self.score, self.epoch, self.step = score, len(self.history), state.global_step
            self._weights = {
                name: parameter.detach().cpu().clone()
                for name, parameter in kwargs["model"].named_parameters()
                if parameter.requires_grad
            }
        elif self.patience is not None and len(self.history) - self.epoch >= self.patience:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Without validations the last epoch is the one that is kept."""
        if self.score is None:
            self.epoch, self.step = round(state.epoch or 0), state.global_step

    @torch.no_grad()
    def restore(self, model: Any) -> None:
        """Put the kept weights back."""
        parameters = dict(model.named_parameters())
        for name, weight in self._weights.items():
            parameters[name].copy_(weight)


class FinetuningTrainer(RaftTrainer):
    """Validates by the task's own score; on a CPU, runs a batch in parts of like lengths.

    Such parts need little padding, and their mean loss, weighted by their inputs, is the batch's: the
    gradient is the same, but for what dropout draws. Extractive question answering looks for answers in the
    padding, too: here, in less of it. Models without an attention mask, such as FNet, mix the padding into
    every token: their batches stay whole, as on a GPU.
    """

    data: FinetuningData

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False  # each part's loss is a mean

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        is_split = model is self.model and self.args.device.type == "cpu" and "attention_mask" in inputs
        if return_outputs or not is_split:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        losses = [
            share * super(FinetuningTrainer, self).compute_loss(model, part, False, num_items_in_batch)
            for part, share in split_batch(inputs, TOKENS_PER_PART)
        ]
        return torch.stack(losses).sum()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Score the validation part; see the base class for what else happens."""
        split = self.data.validation
        if split is None or split.score is None:
            return {}
        with self.accelerator.autocast():
            outputs = predict_logits(
                self.model, split, self.data.collate, self.args.per_device_eval_batch_size
            )
        score = split.score(outputs)
        self.log({"eval_points": score.points})
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, {"score": score, "eval_points": score.points}
        )
        return {"eval_points": score.points}
