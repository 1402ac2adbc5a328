"""The longest input of a model."""

from __future__ import annotations

from torch import nn


def max_positions(model: nn.Module) -> int | None:
    """The number of tokens that a model has positions for; None where its configuration sets no limit.

    RoBERTa and its kin (XLM-R, CamemBERT, Longformer, MPNet, ESM, Luke, …) number positions from the padding
    id + 1 on, and so take fewer tokens than ``max_position_embeddings``.

    Args:
        model: of ``transformers``; on any device, the meta device too.
    """
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    if not positions:
        return None
    for name, module in model.named_modules():
        padding: int | None = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return positions - padding - 1
    return positions
