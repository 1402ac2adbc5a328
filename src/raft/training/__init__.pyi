from .arguments import RaftTrainingArguments
from .losses import causal_lm_loss, masked_lm_loss
from .optimizer import param_groups, schedule
from .stopping import StopOnSignal
from .trainer import RaftTrainer

__all__ = [
    "RaftTrainer",
    "RaftTrainingArguments",
    "StopOnSignal",
    "causal_lm_loss",
    "masked_lm_loss",
    "param_groups",
    "schedule",
]
