"""Training arguments: those of ``transformers``, and those of the parameter group of RAFs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from raft.bounds import check_numbers
from raft.errors import InputError
from raft.training.optimizer import SHAPES

ATTN_IMPLEMENTATIONS = ("sdpa", "eager")
GROUPING_OPTIMIZERS = ("galore", "apollo", "lomo", "adalomo")
CHANGING_DATA = {
    "auto_find_batch_size": "would change how many examples a step has",
    "ignore_data_skip": "would let a training that goes on read its first data again",
}


@dataclass
class RaftTrainingArguments(TrainingArguments):
    """``transformers.TrainingArguments`` with learning rate, weight decay and schedule of RAF coefficients.

    With ``time_budget_hours``, learning rates follow the clock and the training ends with the budget;
    ``max_steps`` is an upper bound. Such a training can be resumed, and earlier hours count, but it is not
    reproducible bit for bit.

    ``resume_from_checkpoint`` is what ``RaftTrainer.train`` resumes from, unless it is called with another;
    ``load_best_model_at_end`` verifies the checkpoint first; ``optim`` gets the groups of
    ``raft.param_groups``.

    Raises:
        InputError: for a number out of its bounds (see ``raft.bounds``), a schedule other than constant,
            linear or cosine, an unknown attention, an ``optim`` that makes its own parameter groups, in
            which RAFs would be updated as other weights (GaLore, Apollo, LOMO), or what would change which
            data a step reads (``auto_find_batch_size``, ``ignore_data_skip``).
    """

    raf_learning_rate: float = field(default=5e-4, metadata={"help": "Learning rate of the RAFs."})
    raf_weight_decay: float = field(default=0.1, metadata={"help": "Weight decay of the RAFs."})
    raf_lr_scheduler_type: str = field(
        default="constant",
        metadata={"help": "Their schedule after the warm-up: constant, linear or cosine."},
    )
    time_budget_hours: float | None = field(
        default=None,
        metadata={
            "help": "Hours after which the training ends; of a pretraining, those before it was resumed too."
        },
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={
            "help": "How attention is computed, 'sdpa' or 'eager'; the model's own by default. In "
            "bfloat16 on a CPU, 'eager' trains small models faster."
        },
    )
    # reading each loss to filter it would make the device wait; a loss that is not finite ends the training
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Leave losses that are not finite out of the log."}
    )

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("lr_scheduler_type", "raf_lr_scheduler_type"):
            kind = getattr(self, name)
            if getattr(kind, "value", kind) not in SHAPES:
                raise InputError(
                    f"{name} is {getattr(kind, 'value', kind)!r}; it must be one of {', '.join(SHAPES)}"
                )
        if self.lr_scheduler_kwargs:
            raise InputError(f"lr_scheduler_kwargs has no effect: {', '.join(SHAPES)} have no settings")
        for name, harm in CHANGING_DATA.items():
            if getattr(self, name):
                raise InputError(f"{name} {harm}; leave it out")
        optim = str(getattr(self.optim, "value", self.optim))
        if optim.startswith(GROUPING_OPTIMIZERS):
            raise InputError(f"optim is {optim!r}, which makes its own groups, without RAFs; take another")
        if self.attn_implementation not in (None, *ATTN_IMPLEMENTATIONS):
            raise InputError(
                f"attn_implementation is {self.attn_implementation!r}; it must be one of "
                f"{', '.join(ATTN_IMPLEMENTATIONS)}"
            )
        if not torch.accelerator.is_available():
            self.use_cpu = True  # without this, several processes would not know of each other
        if self.use_cpu:
            self.dataloader_pin_memory = False  # torch would warn that there is nothing to pin for
        given = self.accelerator_config
        super().__post_init__()
        if given is None and self.dataloader_pin_memory:
            made: Any = self.accelerator_config
            made.non_blocking = True  # else each batch's copy waits for the step before

    @property
    def folder(self) -> Path:
        """``output_dir`` as a path."""
        return Path(str(self.output_dir))


@dataclass
class CommandArguments(RaftTrainingArguments):
    """Those of ``raft pretrain``, ``finetune`` and ``grid``, which resume and choose a model by themselves.

    Raises:
        InputError: for options of either, too.
    """

    def __post_init__(self) -> None:
        if self.resume_from_checkpoint is not None:
            raise InputError("--resume_from_checkpoint is not needed: the same command goes on by itself")
        if self.load_best_model_at_end or self.metric_for_best_model is not None:
            raise InputError(
                "--load_best_model_at_end and --metric_for_best_model are not needed: a fine-tuning keeps "
                "the epoch that its task's metric says, and a pretraining its last step"
            )
        if getattr(self.save_strategy, "value", self.save_strategy) == "best":
            raise InputError("--save_strategy must be no, steps or epoch: which one is best, nothing says")
        if self.save_only_model:
            raise InputError("--save_only_model would leave nothing that a stopped training could go on from")
        super().__post_init__()


def is_slow_bfloat16(arguments: TrainingArguments) -> bool:
    """Whether the training uses bfloat16 on a CPU that is known to have no instructions for it."""
    if not arguments.bf16 or arguments.device.type != "cpu":
        return False
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in torch 2.10
    known = [has for name, has in capabilities.items() if name.endswith("bf16")]
    return bool(known) and not any(known)


def changed_arguments(arguments: RaftTrainingArguments) -> dict[str, Any]:
    """Arguments that differ from their defaults, and the seed, as plain values."""
    # transformers takes the number of processes from the newest arguments: these must be of the same device
    defaults = RaftTrainingArguments(output_dir="", use_cpu=arguments.use_cpu).to_dict()
    given = arguments.to_dict()
    made = ("do_eval", "ddp_find_unused_parameters")  # from the others
    names = [f.name for f in fields(RaftTrainingArguments) if f.init and f.name not in made]
    for options in (defaults, given):  # follows from --dataloader_pin_memory
        (options["accelerator_config"] or {}).pop("non_blocking", None)
    changed = {name: given[name] for name in names if given[name] != defaults[name] or name == "seed"}
    if arguments.use_cpu and torch.accelerator.is_available():
        changed["use_cpu"] = True  # not where there was no choice: the recipe may be run elsewhere
    return changed


def first_difference(
    before: dict[str, Any], now: dict[str, Any], ignored: Collection[str] = ()
) -> str | None:
    """Describe the first option that differs; None if all but the ignored ones are the same."""
    for key in [*before, *(key for key in now if key not in before)]:
        if key not in ignored and before.get(key) != now.get(key):
            was, is_ = (repr(options[key]) if key in options else "the default" for options in (before, now))
            return f"--{key} was {was} and is {is_}"
    return None
