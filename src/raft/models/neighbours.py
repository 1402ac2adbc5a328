"""Initial weights with which attention looks at the neighbours of each position.

Attention that begins at random is the mean over a whole sequence, in which no single token shows: a small
model reads tens of millions of tokens before its attention finds the neighbours, and knows no more than token
frequencies until then (the plateau of masked language modelling). Here positions begin as waves, for which a
shift by o positions is a rotation R(o); with keys K = s·I and queries Q = s·R(o), position i looks at i + o.
In a sequence of 128 a head of width 32 gives it 0.7 of its attention, one of 16 about half; the rest lies on
positions at which the waves of the head happen to be alike. All of it is trained.

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
"""Attention score of the position that is looked at; those of others lie around zero."""

# of the variance of the normalised embeddings, in which tokens and segments have 1 each
_SHARE = POSITION_SCALE**2 / (POSITION_SCALE**2 + 2)
_GOLDEN = (math.sqrt(5) - 1) / 2


def frequencies(width: int) -> Tensor:
    """Of ``width / 2`` waves, in radians a position: evenly over (0, π), and so are those of each head.

    Returns:
        float64 ``[width / 2]``.
    """
    return torch.pi * ((torch.arange(width // 2, dtype=torch.float64) + 0.5) * _GOLDEN % 1)


def position_waves(positions: int, width: int, deviation: float) -> Tensor:
    """Position embeddings: a cosine and a sine of each frequency, side by side.

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


def offset(head: int) -> int:
    """Which neighbour a head looks at: −1, 1, −2, 2, …"""
    return (head // 2 + 1) * (1 if head % 2 else -1)


def key_weight(width: int, heads: int) -> Tensor:
    """s·I, float32 ``[width, width]``."""
    return _scale(width // heads) * torch.eye(width)


def query_weight(width: int, heads: int) -> Tensor:
    """s·R, each head's waves turned by its offset; float32 ``[width, width]``."""
    pairs = width // heads // 2
    turns = frequencies(width) * torch.tensor([offset(head) for head in range(heads)]).repeat_interleave(
        pairs
    )
    blocks = torch.stack([turns.cos(), -turns.sin(), turns.sin(), turns.cos()], dim=-1).view(-1, 2, 2)
    weight: Tensor = _scale(width // heads) * torch.block_diag(*blocks)
    return weight.float()


def _scale(head_width: int) -> float:
    """s: the score is s² times the waves' squared norm within a head, over the root of its width."""
    return math.sqrt(SCORE / (_SHARE * math.sqrt(head_width)))
