"""The losses of language modelling, with the vocabulary's logits computed where, and as long as, needed."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from raft.data.text.masking import predicted_positions
from raft.data.text.sequences import IGNORED, TokenSequences
from raft.networks.calibration import evaluating

MAX_ROUNDING = 1e-4
"""Largest difference of logits that is rounding, relative to the largest logit."""

MAGNIFIED = 4096.0
"""Factor of logits at which a bound shows that new weights are too small to reach."""

CPU_CHUNK = 256
"""Tokens whose logits a CPU makes at a time; torch's own choice takes 1.2 to 3.2 times as long as all at
once where the vocabulary is large."""


def masked_lm_loss(
    model: PreTrainedModel,
    input_ids: Tensor,
    labels: Tensor,
    predicted: Tensor | None = None,
    *,
    head: nn.Module | None = None,
) -> Tensor:
    """Cross entropy of each token that is to be predicted, in the order of the flattened batch.

    A ``head`` sees the hidden states of those positions alone, 15 % of its work.

    Args:
        model: a ``…ForMaskedLM``.
        input_ids: ``[B, L]``, without padding.
        labels: ``[B, L]``, −100 where nothing is predicted.
        predicted: ``raft.data.text.masking.predicted_positions(labels)``; computed here where not given,
            which makes the host wait for a GPU.
        head: of ``find_head(model)``; the model makes all logits where it is None.

    Returns:
        ``[number of predicted tokens]``, in nats.
    """
    if predicted is None:
        predicted = predicted_positions(labels)
    if head is None:
        logits = model(input_ids=input_ids).logits.flatten(0, 1).index_select(0, predicted)
    else:
        hidden = model.base_model(input_ids=input_ids).last_hidden_state
        logits = head(hidden.flatten(0, 1).index_select(0, predicted))
    targets = labels.flatten().index_select(0, predicted)
    return F.cross_entropy(logits.float(), targets, reduction="none")


def causal_lm_loss(
    model: PreTrainedModel,
    input_ids: Tensor,
    labels: Tensor,
    position_ids: Tensor | None = None,
    *,
    head: nn.Module | None = None,
    reduction: str = "sum",
) -> Tensor:
    """Cross entropy of each token, predicted from those before it.

    With a ``head`` that is linear, the logits of a part of the tokens at a time are made, and are gone when
    their gradients are there, where torch can do that (``torch.nn.functional.linear_cross_entropy``, from
    2.13 on).

    Args:
        model: a ``…ForCausalLM``.
        input_ids: ``[B, L]``, without padding.
        labels: ``[B, L]``, −100 where nothing is predicted; those of the first position are not read.
        position_ids: ``[B, L]``; where they begin anew, attention does, too.
        head: of ``find_head(model)``; the model makes all logits where it is None.
        reduction: ``"sum"``, or ``"none"``.

    Returns:
        A number in nats, or ``[B, L − 1]`` with zeros where nothing is predicted.
    """
    inputs = {"input_ids": input_ids, "use_cache": False}
    if position_ids is not None:
        inputs["position_ids"] = position_ids
    targets = labels[:, 1:].flatten()
    if head is None:
        logits = model(**inputs).logits[:, :-1].flatten(0, 1).float()
        losses = F.cross_entropy(logits, targets, reduction=reduction)
    else:
        hidden = model.base_model(**inputs).last_hidden_state[:, :-1].flatten(0, 1)
        has_chunks = hasattr(F, "linear_cross_entropy") and not torch.compiler.is_compiling()
        if (
            has_chunks
            and type(head) is nn.Linear
            and hidden.dtype == head.weight.dtype == torch.float32
            and reduction == "sum"
        ):
            losses = F.linear_cross_entropy(
                hidden,
                head.weight,
                targets,
                linear_bias=head.bias,
                reduction=reduction,
                options=nn.LinearCrossEntropyOptions(
                    batch_chunk_size=CPU_CHUNK if hidden.device.type == "cpu" else None
                ),
            )
        else:
            losses = F.cross_entropy(head(hidden).float(), targets, reduction=reduction)
    return losses if reduction == "sum" else losses.view(len(labels), -1)


def find_head(model: PreTrainedModel, input_ids: Tensor) -> nn.Module | None:
    """The module that makes a language model's logits of its last hidden states, if it alone does.

    Some models scale or bound their logits: whether this one does is seen from those of ``input_ids``,
    ``[B, L]``, as they are and magnified.
    """
    heads = [module for name, module in model.named_children() if name != model.base_model_prefix]
    if len(heads) != 1:
        return None
    ids = input_ids.to(model.device)
    for factor in (1.0, MAGNIFIED):
        hook = heads[0].register_forward_hook(
            lambda head, args, out, factor=factor: out * factor if isinstance(out, Tensor) else out
        )
        try:
            with evaluating(model):
                logits, hidden = model(input_ids=ids).logits, model.base_model(input_ids=ids)[0]
                parts = heads[0](hidden)
        finally:
            hook.remove()
        if not isinstance(parts, Tensor) or parts.shape != logits.shape:
            return None
        if not (logits - parts).abs().max() <= MAX_ROUNDING * parts.abs().max() < math.inf:
            return None  # NaN, too
    return heads[0]


def validation_losses(
    model: PreTrainedModel, dataset: TokenSequences, batch_size: int, head: nn.Module | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Summed loss and number of predicted tokens of each sequence.

    Several processes share the work, and each gets all of the result.

    Args:
        model: masked or causal, as the data are.
        dataset: that is predicted.
        batch_size: sequences of a forward pass.
        head: of ``find_head(model)``; the model makes all logits where it is None.

    Returns:
        Two arrays of shape ``[len(dataset)]``.
    """
    state = PartialState()
    starts = range(0, len(dataset), batch_size)
    totals = torch.zeros(2, len(dataset), dtype=torch.float64)
    with evaluating(model):
        for number in range(
            state.process_index, _round_up(len(starts), state.num_processes), state.num_processes
        ):
            # a sharded model's processes call it equally often: what is done twice is left out
            start = starts[number % len(starts)]
            places = range(start, min(start + batch_size, len(dataset)))
            batch = dataset.prepare(*dataset.batch(places))
            is_target = batch["labels"] != IGNORED
            batch = {name: value.to(model.device) for name, value in batch.items()}
            losses = _losses_by_sequence(model, batch, head)
            if number < len(starts):
                totals[0, places.start : places.stop] = losses.cpu()
                totals[1, places.start : places.stop] = is_target.sum(dim=1)
    if state.num_processes > 1:
        shared = totals.to(state.device)
        torch.distributed.all_reduce(shared)
        totals = shared.cpu()
    return totals[0].numpy(), totals[1].long().numpy()


def _losses_by_sequence(model: PreTrainedModel, batch: dict[str, Tensor], head: nn.Module | None) -> Tensor:
    """Summed loss of each sequence of a batch, float64 ``[B]``."""
    if "predicted" not in batch:
        inputs, labels, positions = batch["input_ids"], batch["labels"], batch.get("position_ids")
        losses = causal_lm_loss(model, inputs, labels, positions, head=head, reduction="none")
        return losses.double().sum(dim=1)
    labels, predicted = batch["labels"], batch["predicted"]
    losses = masked_lm_loss(model, **batch, head=head).double().cpu()
    sums = torch.zeros(len(labels), dtype=torch.float64)
    return sums.index_add_(0, (predicted // labels.shape[1]).cpu(), losses)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
