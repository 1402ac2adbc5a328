"""Parameter groups and schedules: RAF coefficients have a learning rate of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from raft.errors import InputError
from raft.learned_activation import learned_activations

RAF_GROUP = "raf"
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")

SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}
"""Learning rates after the warm-up, by the share of the training that is done."""


def param_groups(
    model: nn.Module,
    lr: float,
    raf_lr: float = 5e-4,
    weight_decay: float = 0.01,
    raf_weight_decay: float = 0.1,
) -> list[dict[str, Any]]:
    """Groups for a ``torch.optim`` optimizer: ``decay`` (matrices), ``no_decay`` (biases, norms) and ``raf``.

    Parameters that do not require a gradient, and groups that would be empty, are left out. Coefficients are
    in ``raf`` alone, whatever their shape: with ``groups=8`` they have two axes, and an optimizer of matrices
    such as Muon would take them for some. It gets what ``decay`` has, but embeddings and the output layer.

    Args:
        model: any module.
        lr: learning rate of everything but the RAF coefficients.
        raf_lr: learning rate of the RAF coefficients; the paper's is 5e-3, at which our models lost.
        weight_decay: of matrices and embeddings.
        raf_weight_decay: of the RAF coefficients.

    Source: Fang et al. 2023, the official scripts' groups and values.

    Example::

        >>> import torch, raft
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), raft.Rational())
        >>> groups = raft.param_groups(model, lr=7e-4)
        >>> [(group["name"], len(group["params"]), group["lr"]) for group in groups]
        [('decay', 1, 0.0007), ('no_decay', 1, 0.0007), ('raf', 2, 0.0005)]
        >>> optimizer = torch.optim.AdamW(groups)

    Muon for the hidden matrices, AdamW for the rest::

        >>> model = torch.nn.Sequential(
        ...     torch.nn.Embedding(50, 8),
        ...     torch.nn.Linear(8, 16), raft.Rational(groups=8), torch.nn.Linear(16, 8),
        ...     torch.nn.Linear(8, 50),
        ... )
        >>> decay, no_decay, raf = raft.param_groups(model, lr=1e-3)
        >>> outer = {id(model[0].weight), id(model[-1].weight)}
        >>> hidden = [p for p in decay["params"] if id(p) not in outer]
        >>> [list(p.shape) for p in hidden]
        [[16, 8], [8, 16]]
        >>> muon = torch.optim.Muon(hidden, lr=2e-2)
        >>> decay["params"] = [p for p in decay["params"] if id(p) in outer]
        >>> adamw = torch.optim.AdamW([decay, no_decay, raf])
    """
    raf = {id(parameter) for act in learned_activations(model).values() for parameter in act.parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rest = [parameter for parameter in trained if id(parameter) not in raf]
    groups = [
        {"name": "decay", "params": [p for p in rest if p.dim() > 1], "lr": lr, "weight_decay": weight_decay},
        {"name": "no_decay", "params": [p for p in rest if p.dim() <= 1], "lr": lr, "weight_decay": 0.0},
        {
            "name": RAF_GROUP,
            "params": [p for p in trained if id(p) in raf],
            "lr": raf_lr,
            "weight_decay": raf_weight_decay,
        },
    ]
    return [group for group in groups if group["params"]]


def can_fuse(groups: list[dict[str, Any]]) -> bool:
    """Whether AdamW has one fused pass over these groups.

    On two CPU cores it takes a fifth of the time of the others, and gives the same bits with any number of
    threads.
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    return all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters)


def schedule(
    optimizer: Optimizer,
    warmup: float,
    steps: int,
    kind: str = "linear",
    raf_kind: str = "constant",
    spent: Callable[[], float] | None = None,
) -> LambdaLR:
    """Warm up all groups linearly, then follow the schedule of each to the last step, or in a time budget.

    With ``spent`` the learning rates follow the clock, and training is not reproducible bit for bit.

    Args:
        optimizer: over groups from :func:`param_groups`.
        warmup: steps of warm-up; below 1, a share of the steps or of the time.
        steps: all steps.
        kind: ``"constant"``, ``"linear"`` (to zero) or ``"cosine"`` (to zero, half a period).
        raf_kind: the same for the group ``raf``.
        spent: returns the share of a time budget that is spent, in [0, 1]; ``steps`` is then ignored.

    Raises:
        InputError: for another kind.

    Source: time budgets, Izsak et al., "How to Train BERT with an Academic Budget", EMNLP 2021, section 3.4.

    Example::

        >>> import torch
        >>> from raft.training import schedule
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = schedule(optimizer, warmup=1, steps=5)
        >>> rates = []
        >>> for _ in range(5):
        ...     rates.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.5, 1.0, 0.75, 0.5, 0.25]
    """
    for name in (kind, raf_kind):
        if name not in SHAPES:
            raise InputError(f"unknown schedule {name!r}; known are {', '.join(SHAPES)}")
    at = _steps_done(warmup, steps) if spent is None else _time_spent(warmup, spent)

    def factor(shape: Callable[[float], float]) -> Callable[[int], float]:
        def of(step: int) -> float:
            warm, done = at(step)
            return min(1.0, warm) * shape(min(1.0, max(0.0, done)))

        return of

    kinds = [raf_kind if group.get("name") == RAF_GROUP else kind for group in optimizer.param_groups]
    return LambdaLR(optimizer, [factor(SHAPES[name]) for name in kinds])


def _steps_done(warmup: float, steps: int) -> Callable[[int], tuple[float, float]]:
    """Of a step: the warm-up's share, then the rest's share."""
    first = math.ceil(warmup * steps) if warmup < 1 else int(warmup)
    return lambda step: ((step + 1) / (first + 1), (step - first) / max(1, steps - first))


def _time_spent(warmup: float, spent: Callable[[], float]) -> Callable[[int], tuple[float, float]]:
    if warmup < 1:
        return lambda step: (
            (spent() / warmup if warmup else 1.0),
            (spent() - warmup) / (1 - warmup),
        )
    return lambda step: ((step + 1) / (int(warmup) + 1), spent())
