"""How long a warm-up is, and what clipping leaves of each part's gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

import raft
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


def test_rafs_and_the_rest_are_clipped_to_the_same_norm() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), raft.Rational(), torch.nn.Linear(8, 2))
    before = {}
    for name, parameter in model.named_parameters():
        parameter.grad = before[name] = torch.randn_like(parameter)
        before[name] = before[name].clone()
    rafs = ("1.numerator", "1.denominator")
    norms = {
        is_raf: torch.cat(
            [each.flatten() for name, each in before.items() if (name in rafs) == is_raf]
        ).norm()
        for is_raf in (True, False)
    }
    assert min(norms.values()) > 1
    torch.testing.assert_close(raft.clip_grad_norm_(model, 0.5), norms[False])
    for name, parameter in model.named_parameters():
        expected = before[name] * 0.5 / norms[name in rafs]
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-7)
