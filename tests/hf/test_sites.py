"""What is a feed-forward block and what is not, on hand-made layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

import raft


class Wrapped(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)


class Gemm(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, inputs, outputs))


class Block(nn.Module):
    """An activation beside whatever it is given: projections, or shapes of its own tensors."""

    def __init__(self, *parts: nn.Module | tuple[int, ...], act: nn.Module | None = None) -> None:
        super().__init__()
        self.act = act or nn.GELU()
        for i, part in enumerate(parts):
            setattr(self, f"part{i}", part if isinstance(part, nn.Module) else nn.Parameter(torch.ones(part)))


class LightningAttention(Block):
    pass


def kinds(block: nn.Module) -> list[str]:
    return [site.kind for site in raft.hf.sites(nn.ModuleDict({"layers": nn.ModuleList([block])}))]


@pytest.mark.parametrize(
    "block",
    [
        Block(nn.Linear(8, 32), nn.Linear(32, 8)),
        Block(nn.Linear(8, 64), nn.Linear(32, 8)),
        Block(nn.Linear(8, 32), nn.Linear(8, 32), nn.Linear(32, 8)),
        Block(Wrapped(8, 32), Wrapped(32, 8)),
        Block((4, 64, 8), (4, 8, 32)),
        Block((4, 8, 64), (4, 32, 8)),
        Block(Gemm(8, 64), Gemm(32, 8)),
        nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)),
    ],
)
def test_feed_forward_blocks(block: nn.Module) -> None:
    assert kinds(block) == ["ffn"]


@pytest.mark.parametrize(
    "block",
    [
        Block(nn.Linear(8, 32)),
        Block(nn.Linear(8, 32), nn.Linear(24, 8)),
        LightningAttention(nn.Linear(8, 32), nn.Linear(32, 8)),
        Block(nn.Linear(8, 32), nn.Linear(32, 8), act=nn.PReLU()),
        Block(nn.Linear(8, 32), nn.Linear(32, 8), act=ACT2FN["xielu"]),
        Block((4, 8), (8, 4)),
    ],
)
def test_what_only_looks_like_one(block: nn.Module) -> None:
    assert kinds(block) == []
