"""Training arguments: those of ``transformers``, and what the RAF coefficients' group needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class RaftTrainingArguments(TrainingArguments):
    """``transformers.TrainingArguments`` with a learning rate and a weight decay for the RAF coefficients."""

    raf_learning_rate: float = field(
        default=5e-3, metadata={"help": "Learning rate of the RAF coefficients."}
    )
    raf_weight_decay: float = field(default=0.1, metadata={"help": "Weight decay of the RAF coefficients."})
