"""The loss of masked language modelling, with the vocabulary's logits computed at the masked positions
only."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from raft.data.text.masking import MaskedSequences, predicted_positions


def masked_lm_loss(
    model: PreTrainedModel, input_ids: Tensor, labels: Tensor, predicted: Tensor | None = None
) -> Tensor:
    """Cross entropy of each token that is to be predicted, in the order of the flattened batch.

    The MLM head sees the hidden states of those positions alone, 15 % of the work; a model whose head is not
    one module after the encoder computes all logits.

    Args:
        model: a ``…ForMaskedLM``.
        input_ids: ``[B, L]``, without padding.
        labels: ``[B, L]``, −100 where nothing is predicted.
        predicted: ``raft.data.text.masking.predicted_positions(labels)``; computed here where not given,
            which makes the host wait for a GPU.

    Returns:
        ``[number of predicted tokens]``, in nats.
    """
    if predicted is None:
        predicted = predicted_positions(labels)
    heads = [module for name, module in model.named_children() if name != model.base_model_prefix]
    if len(heads) == 1:
        hidden = model.base_model(input_ids=input_ids).last_hidden_state
        logits = heads[0](hidden.flatten(0, 1).index_select(0, predicted))
    else:
        logits = model(input_ids=input_ids).logits.flatten(0, 1).index_select(0, predicted)
    targets = labels.flatten().index_select(0, predicted)
    return F.cross_entropy(logits.float(), targets, reduction="none")


@torch.no_grad()
def validation_losses(
    model: PreTrainedModel, dataset: MaskedSequences, batch_size: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Summed loss and number of predicted tokens of each sequence; the model's mode is restored.

    Several processes share the work, and each gets all of the result.

    Returns:
        Two arrays of shape ``[len(dataset)]``.
    """
    training = model.training
    model.eval()
    state = PartialState()
    starts = range(0, len(dataset), batch_size)
    totals = torch.zeros(2, len(dataset), dtype=torch.float64)
    for number in range(
        state.process_index, _round_up(len(starts), state.num_processes), state.num_processes
    ):
        # a sharded model's processes call it equally often: what is done twice is left out
        start = starts[number % len(starts)]
        places = range(start, min(start + batch_size, len(dataset)))
        input_ids, labels = dataset.batch(places)
        predicted = predicted_positions(labels)
        batch = (tensor.to(model.device) for tensor in (input_ids, labels, predicted))
        losses = masked_lm_loss(model, *batch).double().cpu()
        if number < len(starts):
            rows = predicted // labels.shape[1]
            rows_of_batch = totals[:, places.start : places.stop]
            rows_of_batch[0].index_add_(0, rows, losses)
            rows_of_batch[1] += torch.bincount(rows, minlength=len(places))
    model.train(training)
    if state.num_processes > 1:
        shared = totals.to(state.device)
        torch.distributed.all_reduce(shared)
        totals = shared.cpu()
    return totals[0].numpy(), totals[1].long().numpy()


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
