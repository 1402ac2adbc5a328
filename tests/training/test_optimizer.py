"""How long a warm-up is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from raft.training.optimizer import schedule


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25, 0.3, 0.99, 1, 2, 7])
@pytest.mark.parametrize("steps", [5, 10, 33])
def test_a_warm_up_is_as_long_as_transformers_has_it(warmup: float, steps: int, tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), warmup_steps=warmup, report_to=[], use_cpu=True)
    expected = arguments.get_warmup_steps(steps)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule(optimizer, warmup, steps, "constant")
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert sum(rate < 1 for rate in rates) == min(expected, steps)
    assert rates == pytest.approx([min(1.0, (step + 1) / (expected + 1)) for step in range(steps)])
