"""Training: optimizer groups, a thin ``transformers.Trainer``, pretraining and fine-tuning."""

from typing import TYPE_CHECKING

from raft.lazy import lazy_attributes
from raft.training.optimizer import clip_before_step, clip_grad_norm_, param_groups, schedule

if TYPE_CHECKING:
    from raft.finetuning.finetune import finetune
    from raft.finetuning.tuning import set_tuning
    from raft.pretraining.pretrain import pretrain
    from raft.pretraining.recipe import PretrainingRecipe
    from raft.training.arguments import RaftTrainingArguments
    from raft.training.masked_lm import masked_lm_loss
    from raft.training.stopping import StopOnSignal
    from raft.training.trainer import RaftTrainer

__all__ = [
    "PretrainingRecipe",
    "RaftTrainer",
    "RaftTrainingArguments",
    "StopOnSignal",
    "clip_before_step",
    "clip_grad_norm_",
    "finetune",
    "masked_lm_loss",
    "param_groups",
    "pretrain",
    "schedule",
    "set_tuning",
]
__getattr__ = lazy_attributes(
    __name__,
    {
        "PretrainingRecipe": "raft.pretraining.recipe",
        "RaftTrainer": "raft.training.trainer",
        "RaftTrainingArguments": "raft.training.arguments",
        "StopOnSignal": "raft.training.stopping",
        "finetune": "raft.finetuning.finetune",
        "masked_lm_loss": "raft.training.masked_lm",
        "pretrain": "raft.pretraining.pretrain",
        "set_tuning": "raft.finetuning.tuning",
    },
)
