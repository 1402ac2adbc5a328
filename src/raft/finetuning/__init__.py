"""Fine-tuning on tasks and SQuAD: which parameters learn, and one run as a folder."""

from raft.finetuning.train import finetune
from raft.finetuning.tuning import set_tuning

__all__ = ["finetune", "set_tuning"]
