"""Parameter groups and their schedules: RAF coefficients learn at their own rate, which does not decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from raft.modules import Rational

RAF_GROUP = "raf"


def param_groups(
    model: nn.Module,
    lr: float,
    raf_lr: float = 5e-3,
    weight_decay: float = 0.01,
    raf_weight_decay: float = 0.1,
) -> list[dict[str, Any]]:
    """Groups for a ``torch.optim`` optimizer: ``decay``, ``no_decay`` (biases and norms) and ``raf``.

    Parameters that do not require a gradient, and groups that would be empty, are left out.

    Args:
        model: any module.
        lr: learning rate of everything but the RAF coefficients.
        raf_lr: learning rate of the RAF coefficients.
        weight_decay: of matrices and embeddings.
        raf_weight_decay: of the RAF coefficients.

    Source: Fang et al. 2023, the official scripts' groups and values.

    Example::

        >>> import torch, raft
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), raft.Rational())
        >>> groups = raft.param_groups(model, lr=7e-4)
        >>> [(group["name"], len(group["params"]), group["lr"]) for group in groups]
        [('decay', 1, 0.0007), ('no_decay', 1, 0.0007), ('raf', 2, 0.005)]
        >>> optimizer = torch.optim.AdamW(groups)
    """
    rationals = [module for module in model.modules() if isinstance(module, Rational)]
    raf = {id(parameter) for module in rationals for parameter in module.parameters()}
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


def schedule(optimizer: Optimizer, warmup_steps: int, steps: int) -> LambdaLR:
    """Linear warm-up for all groups; then linear decay to zero, for the group ``raf`` a constant rate.

    Args:
        optimizer: over groups from :func:`param_groups`.
        warmup_steps: steps of warm-up.
        steps: all steps.
    """

    def factor(constant: bool) -> Callable[[int], float]:
        def at(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / (warmup_steps + 1)
            return 1.0 if constant else max(0.0, (steps - step) / max(1, steps - warmup_steps))

        return at

    return LambdaLR(optimizer, [factor(group.get("name") == RAF_GROUP) for group in optimizer.param_groups])
