"""Which tokens the tokens of a causal model see, by what it computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from raft.networks.calibration import evaluating

PROBE = (0, 1, 2, 3, 4, 5, 6, 7)
CHANGED, NEXT_DOCUMENT = 3, 5
POSITIONS = (0, 1, 2, 3, 4, 0, 1, 2)
"""Of two documents, the second of which begins at the sixth token."""

MAX_ROUNDING, MAX_ROUNDING_16_BIT = 1e-4, 0.02
"""Of logits that are the same, as a share of the largest; a new model's depend little on other tokens."""


def sees_later_tokens(model: PreTrainedModel) -> bool:
    """Whether another token changes the logits of those before it: then a model is not causal."""
    return _differ(model, slice(0, CHANGED))


def sees_other_documents(model: PreTrainedModel) -> bool:
    """Whether another token changes the logits of a document whose positions begin anew after it."""
    positions = torch.tensor([POSITIONS], device=model.device)
    return _differ(model, slice(NEXT_DOCUMENT, None), position_ids=positions)


def _differ(model: Any, places: slice, **inputs: Tensor) -> bool:
    tokens = torch.tensor([PROBE], device=model.device)
    changed = tokens.clone()
    changed[0, CHANGED] = 0
    with evaluating(model):
        outputs = [model(input_ids=ids, use_cache=False, **inputs) for ids in (tokens, changed)]
    first, second = (output.logits[:, places].float() for output in outputs)
    rounding = MAX_ROUNDING_16_BIT if model.dtype in (torch.bfloat16, torch.float16) else MAX_ROUNDING
    return bool((first - second).abs().max() > rounding * first.abs().max())
