"""Norms of gradients."""

from __future__ import annotations

import torch
from torch import nn

import raft


def norms(model: nn.Module) -> tuple[float, float]:
    """Of the RAFs' gradients, and of all others."""
    rafs = {id(p) for act in raft.hf.rationals(model).values() for p in act.parameters()}
    parts: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for p in model.parameters():
        if p.grad is not None:
            parts[id(p) not in rafs].append(p.grad.flatten())
    return float(torch.cat(parts[0]).norm()), float(torch.cat(parts[1]).norm())
