"""Causal language models train through kills, in parts and in processes as masked ones do."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import torch

from raft.data.text.sequences import IGNORED, TokenSequences
from raft.training.checkpoints import list_checkpoints, step_number
from tests.training import tiny

STEPS = 24


def weights(folder: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / f"weights-{rank}.pt")
    return state


def train(folder: Path, processes: int = 1, **values: object) -> None:
    values = {"objective": "clm", "max_steps": STEPS, **values}
    assert tiny.join(tiny.start(folder, processes, **values)) == [0] * processes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


def test_five_kills_change_no_bit(whole: Path, tmp_path: Path) -> None:
    kills = 0
    for number in range(5):
        (process,) = tiny.start(tmp_path, objective="clm", max_steps=STEPS)
        while process.is_alive() and len(list_checkpoints(tmp_path)) == 0 < number:
            time.sleep(0.001)
        steps = {step_number(path) for path in list_checkpoints(tmp_path)}
        while process.is_alive() and {step_number(path) for path in list_checkpoints(tmp_path)} == steps:
            time.sleep(0.001)
        process.kill()
        kills += tiny.join([process]) == [-signal.SIGKILL]
    assert kills >= 3
    train(tmp_path)
    expected, state = weights(whole), weights(tmp_path)
    assert expected.keys() == state.keys()
    assert all(torch.equal(expected[name], state[name]) for name in expected)


def test_two_processes_and_parts_of_batches_give_the_gradients_of_one(tmp_path: Path) -> None:
    train(tmp_path / "one", max_steps=1, dropout=0.0)
    train(tmp_path / "parts", max_steps=1, dropout=0.0, gradient_accumulation_steps=4)
    train(tmp_path / "two", 2, max_steps=1, dropout=0.0)
    one, parts, two = (torch.load(tmp_path / name / "gradients-0.pt") for name in ("one", "parts", "two"))
    assert any("numerator" in name for name in one)
    for other in (parts, two):
        for name, gradient in one.items():
            assert torch.allclose(gradient, other[name], rtol=1e-3, atol=1e-6), name


def test_a_step_follows_the_mean_over_all_targets(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, 0.0, objective="clm", max_steps=1, max_grad_norm=0.0)
    model, data = trainer.model, trainer.train_dataset
    assert isinstance(data, TokenSequences)
    inputs, labels = data.batch(range(tiny.BATCH))
    assert (labels[:, 0] == IGNORED).all()
    expected = model(input_ids=inputs, labels=labels).loss
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    trainer.train()
    seen = torch.load(tmp_path / "gradients-0.pt")
    for name, gradient in gradients.items():
        assert torch.allclose(seen[name], gradient, rtol=1e-3, atol=1e-6), name


@pytest.mark.slow
def test_a_compiled_training_is_the_plain_one(tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        trainer = tiny.trainer(
            tmp_path / str(compiled), 0.0, objective="clm", max_steps=6, torch_compile=compiled,
            logging_strategy="steps", logging_steps=1,
        )  # fmt: skip
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
