"""The loss of masked language modelling, with the vocabulary's logits computed at the masked positions
only."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from raft.data.masking import IGNORED, MaskedSequences


def masked_lm_loss(model: PreTrainedModel, input_ids: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each token that is to be predicted, in the order of the flattened batch.

    The MLM head sees the hidden states of those positions alone, 15 % of the work; a model whose head is not
    one module after the encoder computes all logits.

    Args:
        model: a ``…ForMaskedLM``.
        input_ids: ``[B, L]``, without padding.
        labels: ``[B, L]``, −100 where nothing is predicted.

    Returns:
        ``[number of predicted tokens]``, in nats.
    """
    predicted = labels != IGNORED
    heads = [module for name, module in model.named_children() if name != model.base_model_prefix]
    if len(heads) == 1:
        hidden = model.base_model(input_ids=input_ids).last_hidden_state
        logits = heads[0](hidden[predicted])
    else:
        logits = model(input_ids=input_ids).logits[predicted]
    return F.cross_entropy(logits.float(), labels[predicted], reduction="none")


@torch.no_grad()
def validation_losses(
    model: PreTrainedModel, dataset: MaskedSequences, batch_size: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Summed loss and number of predicted tokens of each sequence; the model's mode is restored.

    Returns:
        Two arrays of shape ``[len(dataset)]``.
    """
    training = model.training
    model.eval()
    sums, counts = [], []
    for start in range(0, len(dataset), batch_size):
        places = range(start, min(start + batch_size, len(dataset)))
        input_ids, labels = (tensor.to(model.device) for tensor in dataset.batch(places))
        losses = masked_lm_loss(model, input_ids, labels).double().cpu()
        rows = (labels != IGNORED).nonzero()[:, 0].cpu()
        sums.append(torch.zeros(len(places), dtype=torch.float64).index_add(0, rows, losses))
        counts.append(torch.bincount(rows, minlength=len(places)))
    model.train(training)
    return torch.cat(sums).numpy(), torch.cat(counts).numpy()
