"""Accuracy on minimal pairs along a training."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState

from raft.evaluation.language_model import check_language_model
from raft.evaluation.minimal_pairs import PairsResult
from raft.evaluation.tasks import Test


class PairsCallback(TrainerCallback):
    """Tests a language model on minimal pairs at each evaluation of its training.

    The accuracy, by sums of log-probabilities, comes into the evaluation's metrics and the trainer's history
    as ``eval_NAME_accuracy``, from 0 to 1. All processes compute it.

    Args:
        test: of ``raft.evaluation.tasks.open_pairs``: of a sample of the pairs, or evaluations take long.
        tokenizer: of the model.

    Example::

        >>> from raft.callbacks import PairsCallback, open_pairs
        >>> callbacks = [PairsCallback(open_pairs("zorro", "zorro/", items=20), tokenizer)]  # doctest: +SKIP
    """

    def __init__(self, test: Test[PairsResult], tokenizer: PreTrainedTokenizerBase) -> None:
        self.test, self.tokenizer = test, tokenizer

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Test the model, and note its accuracy."""
        model = kwargs["model"]
        checked = check_language_model(model, self.tokenizer, type(model).__name__)
        accuracy = {f"eval_{self.test.name}_accuracy": self.test(checked).overall.by_sum.value}
        kwargs.get("metrics", {}).update(accuracy)
        state.log_history.append({**accuracy, "step": state.global_step})
