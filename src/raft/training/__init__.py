"""What all trainings share: optimizer groups and clipping for RAFs, a thin ``transformers.Trainer``."""

from typing import TYPE_CHECKING

from raft.lazy import lazy_attributes
from raft.training.optimizer import clip_before_step, clip_grad_norm_, param_groups, schedule

if TYPE_CHECKING:
    from raft.training.arguments import RaftTrainingArguments
    from raft.training.masked_lm import masked_lm_loss
    from raft.training.stopping import StopOnSignal
    from raft.training.trainer import RaftTrainer

__all__ = [
    "RaftTrainer",
    "RaftTrainingArguments",
    "StopOnSignal",
    "clip_before_step",
    "clip_grad_norm_",
    "masked_lm_loss",
    "param_groups",
    "schedule",
]
__getattr__ = lazy_attributes(
    __name__,
    {
        "RaftTrainer": "raft.training.trainer",
        "RaftTrainingArguments": "raft.training.arguments",
        "StopOnSignal": "raft.training.stopping",
        "masked_lm_loss": "raft.training.masked_lm",
    },
)
