"""Bounds of all numeric options: of every command, of recipes, and of training arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from raft.errors import InputError

MAX_COUNT = 2**31 - 1
"""Larger counts overflow in some library."""
MAX_SEED = 2**32 - 1
"""The largest seed of numpy's generators."""
MAX_LAYERS = 10_000
MAX_PROCESSES = 1024
MIN_LENGTH = 8
"""Tokens of an input, with some room besides the special ones."""


@dataclass(frozen=True)
class Bounds:
    """An interval of numbers.

    Attributes:
        low: smallest number.
        high: largest number; infinity for any finite one.
        exclude_low: whether the smallest number is excluded.
        exclude_high: whether the largest number is excluded.
        integer: whether only whole numbers are allowed.
    """

    low: float
    high: float = math.inf
    exclude_low: bool = False
    exclude_high: bool = False
    integer: bool = False

    def violated(self, value: Any) -> str | None:
        """The requirement that a value violates; None for a valid one."""
        number_type: Any = Integral if self.integer else Real
        if isinstance(value, bool) or not isinstance(value, number_type):
            return "a whole number" if self.integer else "a number"
        if not math.isfinite(value):
            return "finite"
        if value < self.low or (self.exclude_low and value == self.low):
            return f"{'above' if self.exclude_low else 'at least'} {self.low:g}"
        if value > self.high or (self.exclude_high and value == self.high):
            return f"{'below' if self.exclude_high else 'at most'} {self.high:.10g}"
        return None


def _whole(low: int, high: int = MAX_COUNT) -> Bounds:
    return Bounds(low, high, integer=True)


COUNT = _whole(1)
NOT_NEGATIVE = Bounds(0)
POSITIVE = Bounds(0, exclude_low=True)
SHARE = Bounds(0, 1, exclude_high=True)
STEPS = Bounds(0, MAX_COUNT, exclude_low=True)
"""Below 1: a share of all steps."""
SEED = _whole(0, MAX_SEED)

BOUNDS = {
    # the training
    "seed": SEED, "data_seed": SEED, "seeds": COUNT, "search_seeds": COUNT,
    "search_extensions": _whole(0, 20),
    "max_steps": COUNT, "steps": COUNT, "num_train_epochs": STEPS,
    "patience": COUNT, "time_budget_hours": POSITIVE, "seconds": NOT_NEGATIVE,
    "per_device_train_batch_size": COUNT, "per_device_eval_batch_size": COUNT, "batch_size": COUNT,
    "global_batch_size": COUNT, "gradient_accumulation_steps": COUNT, "eval_accumulation_steps": COUNT,
    "learning_rate": NOT_NEGATIVE, "raf_learning_rate": NOT_NEGATIVE,
    "search_learning_rates": NOT_NEGATIVE,
    "search_raf_learning_rates": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE, "raf_weight_decay": NOT_NEGATIVE, "warmup_steps": Bounds(0, MAX_COUNT),
    "adam_beta1": SHARE, "adam_beta2": SHARE, "adam_epsilon": POSITIVE, "max_grad_norm": NOT_NEGATIVE,
    "label_smoothing_factor": SHARE, "neftune_noise_alpha": NOT_NEGATIVE,
    "logging_steps": STEPS, "eval_steps": STEPS, "save_steps": STEPS, "snapshot_steps": COUNT,
    "eval_delay": Bounds(0, MAX_COUNT), "save_total_limit": COUNT, "torch_empty_cache_steps": COUNT,
    # the model
    "num_hidden_layers": _whole(1, MAX_LAYERS), "layers": _whole(1, MAX_LAYERS), "hidden_size": COUNT,
    "num_attention_heads": COUNT, "intermediate_size": COUNT, "max_position_embeddings": _whole(MIN_LENGTH),
    "dropout": SHARE, "initializer_range": NOT_NEGATIVE, "raf_groups": COUNT, "groups": COUNT,
    "raf_gain": POSITIVE,
    # the text
    "vocab_size": _whole(6), "sequence_length": _whole(MIN_LENGTH), "max_length": _whole(MIN_LENGTH),
    "mlm_probability": Bounds(0, 1, exclude_low=True, exclude_high=True), "max_documents": COUNT,
    "evaluate_items": _whole(0), "evaluate_along": _whole(0),
    "validation_sequences": COUNT, "train_examples": COUNT, "calibration_texts": COUNT, "texts_read": COUNT,
    "items": COUNT, "batch_tokens": COUNT, "num_models": COUNT,
    # the machine
    "dataloader_num_workers": _whole(0, MAX_PROCESSES), "dataloader_prefetch_factor": COUNT,
    "processes": _whole(1, MAX_PROCESSES),
    "ddp_bucket_cap_mb": COUNT, "ddp_timeout": COUNT,
    "slurm_nodes": COUNT, "slurm_gpus_per_node": COUNT, "slurm_cpus_per_gpu": COUNT, "slurm_hours": POSITIVE,
}  # fmt: skip
"""By the option's name. An option's default may lie outside, as for "not given"."""


def check_number(name: str, value: Any) -> None:
    """Raise ``InputError`` for a number, or one of a list, that lies outside an option's bounds."""
    for number in value if isinstance(value, list) else [value]:
        requirement = BOUNDS[name].violated(number)
        if requirement is not None:
            raise InputError(f"--{name} must be {requirement}, not {number!r}")


def check_numbers(settings: Any) -> None:
    """Raise ``InputError`` for a number of a dataclass that lies outside its option's bounds.

    Args:
        settings: of options; defaults are not checked, nor options whose default is a text.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in BOUNDS and value != field.default and not isinstance(field.default, str):
            check_number(field.name, value)
