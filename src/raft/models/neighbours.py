"""Initial weights with which attention heads attend to neighbouring positions.

With random weights, attention is nearly a mean over the sequence: a small model reads tens of millions of
tokens before its attention finds the neighbours, and predicts token frequencies until then (the plateau of
masked language modelling). Here position embeddings are waves, for which a shift by o positions is a rotation
R(o); with keys K = s·I and queries Q = s·R(o), position i attends to i + o. In a sequence of 128, a head of
width 32 gives it 0.7 of its attention, and one of width 16 about half; the rest goes to positions where the
head's waves are similar. All weights are trained.

Sinusoidal positions: Vaswani et al., "Attention Is All You Need", 2017, section 3.5. Initial queries and keys
with the structure of trained ones: Trockman & Kolter, "Mimetic Initialization of Self-Attention Layers",
2023.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

POSITION_SCALE = 2.0
"""Standard deviation of the position embeddings over that of the tokens'."""
SCORE = 10.0
"""Attention score of the attended position; the others are around zero."""

# fraction of the variance of the normalised embeddings, to which tokens and segments add 1 each
_POSITION_VARIANCE = POSITION_SCALE**2 / (POSITION_SCALE**2 + 2)
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def frequencies(width: int) -> Tensor:
    """Frequencies of ``width / 2`` waves, in radians a position: evenly over (0, π), also within a head.

    Returns:
        float64 ``[width / 2]``.
    """
    return torch.pi * ((torch.arange(width // 2, dtype=torch.float64) + 0.5) * _GOLDEN_RATIO % 1)


def position_waves(positions: int, width: int, deviation: float) -> Tensor:
    """Position embeddings: a cosine and a sine of each frequency, adjacent.

    Args:
        positions: how many.
        width: of the model, even.
        deviation: of the tokens' embeddings.

    Returns:
        float32 ``[positions, width]``.
    """
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * frequencies(width)
    waves = torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1)
    return (math.sqrt(2) * POSITION_SCALE * deviation * waves).float()


def head_offset(head: int) -> int:
    """The offset of the neighbour that a head attends to: −1, 1, −2, 2, …"""
    return (head // 2 + 1) * (1 if head % 2 else -1)


def key_weight(width: int, heads: int) -> Tensor:
    """Initial key weight s·I, float32 ``[width, width]``."""
    return _weight_scale(width // heads) * torch.eye(width)


def query_weight(width: int, heads: int) -> Tensor:
    """Initial query weight s·R, which rotates waves by the heads' offsets; float32 ``[width, width]``."""
    pairs = width // heads // 2
    offsets = torch.tensor([head_offset(head) for head in range(heads)])
    angles = frequencies(width) * offsets.repeat_interleave(pairs)
    blocks = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=-1).view(-1, 2, 2)
    weight: Tensor = _weight_scale(width // heads) * torch.block_diag(*blocks)
    return weight.float()


def _weight_scale(head_width: int) -> float:
    """s: the score is s² times the squared norm of a head's waves, over the root of its width."""
    return math.sqrt(SCORE / (_POSITION_VARIANCE * math.sqrt(head_width)))
