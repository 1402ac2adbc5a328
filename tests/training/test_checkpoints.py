"""What is left of a training that was killed, stopped, cut short, moved, or ran out of disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from raft.data.text.masking import MaskedSequences
from raft.errors import InputError, TrainingError, TrainingStopped
from raft.training import checkpoints, stopping
from raft.training.checkpoints import (
    find_corruption,
    find_newest_valid,
    list_checkpoints,
    rotate,
    seal,
    step_number,
)
from tests.training import tiny

STEPS = 60
SLOW = pytest.mark.slow


def weights(folder: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    actual: dict[str, torch.Tensor] = torch.load(folder / f"weights-{rank}.pt", weights_only=True)
    return actual


def assert_same_bits(folder: Path, other: Path) -> None:
    one, two = weights(folder), weights(other)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def output(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob("output-*.txt")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert tiny.join(tiny.start(folder, max_steps=STEPS)) == [0]
    return folder


def made(folder: Path, step: int) -> Path:
    """A checkpoint as FSDP lays it out, with folders inside; not from a training."""
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "optimizer_0").mkdir(parents=True)
    for name in ("trainer_state.json", "scheduler.pt", "optimizer_0/__0_0.distcp", "empty"):
        (checkpoint / name).write_bytes(b"" if name == "empty" else os.urandom(3000))
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    (checkpoint / "raft_state.json").write_text(json.dumps({"clock": {}, "sequences_a_step": 8}))
    seal(checkpoint)
    return checkpoint


# ---- folders ----


def flip_a_bit(checkpoint: Path) -> None:
    path = checkpoint / "optimizer_0" / "__0_0.distcp"
    data = bytearray(path.read_bytes())
    data[1500] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda c: os.truncate(c / "scheduler.pt", 2999), "scheduler.pt has 2999 bytes instead of 3000"),
        (lambda c: (c / "scheduler.pt").unlink(), "scheduler.pt is missing"),
        (lambda c: shutil.rmtree(c / "optimizer_0"), "optimizer_0/__0_0.distcp is missing"),
        (lambda c: (c / "empty").unlink(), "empty is missing"),
        (flip_a_bit, "the content of optimizer_0/__0_0.distcp has changed"),
        (lambda c: (c / "manifest.json").unlink(), "it has no manifest.json"),
        (lambda c: os.truncate(c / "manifest.json", 100), "its manifest.json cannot be read"),
        (lambda c: (c / "manifest.json").write_text("[]"), "its manifest.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_an_older_one_found(
    damage: Callable[[Path], Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = made(tmp_path, 9), made(tmp_path, 10)
    assert find_newest_valid(tmp_path) == newer
    assert not caplog.records
    damage(newer)
    with caplog.at_level(logging.WARNING, "raft"):
        assert find_newest_valid(tmp_path) == older
    assert len(caplog.messages) == 1
    assert reason in caplog.messages[0]
    assert "checkpoint-10 is refused" in caplog.messages[0]


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("raft_state.json", "[]", "raft_state.json holds no state of a training"),
        ("raft_state.json", '{"clock": {"seconds": "x"}, "sequences_a_step": 8}', "clock.seconds must be"),
        ("trainer_state.json", "[]", "trainer_state.json holds no state of a Trainer"),
        ("trainer_state.json", '{"global_step": "x"}', "global_step must be a whole number, not 'x'"),
        ("trainer_state.json", '{"global_step": -5}', "its trainer_state.json is of step -5"),
        ("trainer_state.json", '{"global_step": 10, "other": 1}', "trainer_state.json holds no state of a T"),
    ],
)
def test_a_sealed_checkpoint_of_no_training_is_refused_and_an_older_one_found(
    file: str, content: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = made(tmp_path, 9), made(tmp_path, 10)
    (newer / file).write_text(content)
    seal(newer)
    with caplog.at_level(logging.WARNING, "raft"):
        assert find_newest_valid(tmp_path) == older
    assert reason in caplog.messages[0]


def test_all_files_of_a_checkpoint_are_on_the_disk_before_it_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda d: synced.append(Path(f"/proc/self/fd/{d}").readlink().name))
    files = {path.name for path in made(tmp_path, 3).rglob("*") if path.is_file()}
    assert {*synced[: len(files)]} == files  # then the folders' names
    assert synced[len(files) - 1 :] == ["manifest.json", "optimizer_0", "checkpoint-3"]
    checkpoints.publish(tmp_path / "checkpoint-3", tmp_path / "checkpoint-4")
    assert synced[-1] == tmp_path.name


def test_nothing_valid_is_none(tmp_path: Path) -> None:
    assert find_newest_valid(tmp_path / "absent") is None
    (made(tmp_path, 3) / "scheduler.pt").unlink()
    assert find_newest_valid(tmp_path) is None


def test_a_model_without_its_optimizer_cannot_be_resumed_from(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-1"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    (checkpoint / "trainer_state.json").write_text("{}")
    seal(checkpoint)
    assert find_corruption(checkpoint) == "it was saved without an optimizer and a scheduler"


def test_rotation_keeps_the_newest_the_best_and_what_lies_ahead(tmp_path: Path) -> None:
    for step in (5, 10, 15, 100, 200):
        made(tmp_path, step)
    rotate(tmp_path / "checkpoint-100", None)
    assert len(list_checkpoints(tmp_path)) == 5
    rotate(tmp_path / "checkpoint-100", 3, keep=tmp_path / "checkpoint-5")
    assert [step_number(path) for path in list_checkpoints(tmp_path)] == [200, 100, 15, 5]
    rotate(tmp_path / "checkpoint-100", 1)
    assert [step_number(path) for path in list_checkpoints(tmp_path)] == [200, 100]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-200"]


def test_a_folder_that_goes_while_it_is_looked_at_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda _: True)  # as it was a moment ago
    assert list_checkpoints(tmp_path / "gone") == []


def test_a_checkpoint_is_replaced_by_one_of_its_step(tmp_path: Path) -> None:
    final, staged = made(tmp_path, 4), made(tmp_path / ".saving", 4)
    content = (staged / "scheduler.pt").read_bytes()
    checkpoints.publish(staged, final)
    assert (final / "scheduler.pt").read_bytes() == content
    assert find_corruption(final) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [".saving", "checkpoint-4"]


# ---- kill -9 ----


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(whole: Path, tmp_path: Path) -> None:
    chance, kills, seen = random.Random(7), 0, -1
    while kills < 5:
        (process,) = tiny.start(tmp_path, max_steps=STEPS)
        while process.is_alive() and max(map(step_number, list_checkpoints(tmp_path)), default=0) <= seen:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.1))
        seen = max(map(step_number, list_checkpoints(tmp_path)), default=0)
        process.kill()
        (status,) = tiny.join([process])
        assert status in (0, -signal.SIGKILL), output(tmp_path)
        kills += status != 0
        if status == 0:  # a fast machine: the rest of the kills has nothing left to hit
            break
    assert kills >= 3
    assert tiny.join(tiny.start(tmp_path, max_steps=STEPS)) == [0], output(tmp_path)
    assert_same_bits(tmp_path, whole)


@pytest.mark.parametrize(
    "where", ["publish", *(pytest.param(name, marks=SLOW) for name in ("seal", "remove_stale", "rotate"))]
)
def test_a_kill_inside_saving_changes_nothing(where: str, whole: Path, tmp_path: Path) -> None:
    assert tiny.join(tiny.start(tmp_path, die_at=where, max_steps=STEPS)) == [-signal.SIGKILL]
    assert not any(map(find_corruption, list_checkpoints(tmp_path)))
    assert tiny.join(tiny.start(tmp_path, max_steps=STEPS)) == [0], output(tmp_path)
    assert [step_number(path) for path in list_checkpoints(tmp_path)] == [STEPS, STEPS - 4]
    assert not list(tmp_path.glob(".*"))
    assert_same_bits(tmp_path, whole)


def test_a_finished_training_trains_no_step_more(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "again")
    (tmp_path / "again" / "weights-0.pt").unlink()  # as if killed right after the last checkpoint
    assert tiny.join(tiny.start(tmp_path / "again", max_steps=STEPS)) == [0]
    assert_same_bits(tmp_path / "again", whole)


# ---- damage, seen by the trainer ----


@pytest.mark.parametrize("name", ["model.safetensors", pytest.param("optimizer.pt", marks=SLOW)])
def test_the_trainer_falls_back_and_says_so(name: str, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    newest, older = list_checkpoints(tmp_path)
    if name == "optimizer.pt":
        (newest / name).unlink()
    else:
        os.truncate(newest / name, 1000)
    assert tiny.join(tiny.start(tmp_path, max_steps=STEPS)) == [0]
    said = output(tmp_path)
    assert f"{newest.name} is refused: {name} " in said
    assert find_corruption(newest) is None, "the refused checkpoint is replaced as the training gets there"
    assert find_corruption(older) is None
    assert_same_bits(tmp_path, whole)


def test_a_named_checkpoint_is_verified_and_a_step_of_another_size_refused(tmp_path: Path) -> None:
    tiny.trainer(tmp_path, max_steps=8).train()
    newest, older = list_checkpoints(tmp_path)
    (newest / "optimizer.pt").unlink()
    with pytest.raises(InputError, match=r"cannot resume from .*checkpoint-8: optimizer.pt is missing"):
        tiny.trainer(tmp_path).train(resume_from_checkpoint=str(newest))
    larger = tiny.trainer(tmp_path)
    larger.args.gradient_accumulation_steps = 2
    with pytest.raises(InputError, match=r"checkpoint-4 was trained with 8 sequences a step, and now .* 16"):
        larger.train(resume_from_checkpoint=str(older))


class Counting(MaskedSequences):
    """Knows which draws were read."""

    read: list[int]

    def __getitems__(self, draws: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        self.read += draws
        return super().__getitems__(draws)


def test_skipped_draws_are_not_read(tmp_path: Path) -> None:
    tiny.trainer(tmp_path, max_steps=8).train()
    again = tiny.trainer(tmp_path, max_steps=10)
    data = again.train_dataset
    assert isinstance(data, MaskedSequences)
    data.__class__, data.read = Counting, []  # type: ignore[attr-defined]
    again.train(resume_from_checkpoint=True)
    assert isinstance(data, Counting)
    assert data.read[: 2 * tiny.BATCH] == list(range(8 * tiny.BATCH, 10 * tiny.BATCH))


# ---- a full disk, a loss that is not finite ----


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 1.5 MB; two checkpoints have 1.2."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def assert_stopped_with_the_last_good_one(folder: Path, message: str) -> None:
    assert "the disk is full; the last good one is checkpoint-" in message
    assert "\n" not in message
    actual = list_checkpoints(folder)
    assert actual
    assert [find_corruption(path) for path in actual] == [None] * len(actual)
    assert not list(folder.glob(".*"))


def test_a_disk_that_fills_up_stops_with_one_line(small_disk: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        tiny.trainer(small_disk, save_total_limit=None).train()
    assert_stopped_with_the_last_good_one(small_disk, str(caught.value))


@pytest.mark.parametrize("call", ["fsync", "mkdir"])
def test_no_space_at_any_call_stops_with_one_line(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = tiny.trainer(tmp_path)
    original = getattr(os, call)

    def full(*args: Any, **kwargs: Any) -> Any:
        if each.state.global_step >= 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args, **kwargs)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(TrainingError) as caught:
        each.train()
    assert_stopped_with_the_last_good_one(tmp_path, str(caught.value))


class Spoiling(tiny.Recorder):
    """The loss or, unseen by it, a weight turns NaN in the step before the third checkpoint."""

    spoiled = "loss"

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 11 and self.spoiled == "loss":
            with torch.no_grad():
                self.model.get_output_embeddings().bias.fill_(float("nan"))
        actual = super().training_step(*args, **kwargs)
        if self.state.global_step == 11 and self.spoiled == "gradient":
            self.model.get_output_embeddings().bias.grad.fill_(float("nan"))
        return actual


@pytest.mark.parametrize(
    ("spoiled", "at_once", "said"),
    [
        ("loss", True, "the loss is nan at step 11"),
        ("loss", False, "the loss is not finite at step 11"),  # as where looking makes a device wait
        ("gradient", True, "the weights are not finite after step 12"),
    ],
)
def test_nothing_that_is_not_finite_is_saved(spoiled: str, at_once: bool, said: str, tmp_path: Path) -> None:
    each = tiny.trainer(tmp_path)
    each.__class__ = Spoiling
    each.spoiled, each._checks_each_step = spoiled, at_once  # type: ignore[attr-defined]
    with pytest.raises(TrainingError, match=f"{said}: the training has diverged"):
        each.train()
    assert [step_number(path) for path in list_checkpoints(tmp_path)] == [8, 4]
    assert [find_corruption(path) for path in list_checkpoints(tmp_path)] == [None, None]


# ---- signals ----


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=SLOW)])
def test_a_signal_saves_and_exits_with_zero(number: signal.Signals, whole: Path, tmp_path: Path) -> None:
    (process,) = tiny.start(tmp_path, max_steps=STEPS)
    while not list_checkpoints(tmp_path):
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert tiny.join([process]) == [0]
    step = step_number(list_checkpoints(tmp_path)[0])
    assert f"{number.name}: stopped after step {step}; to go on: {tiny.COMMAND}\n" in output(tmp_path)
    assert not (tmp_path / "weights-0.pt").exists()
    assert tiny.join(tiny.start(tmp_path, max_steps=STEPS)) == [0]
    assert_same_bits(tmp_path, whole)


@pytest.mark.slow
def test_a_command_that_is_stopped_has_status_zero(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.tiny", str(tmp_path), "500"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        while not list_checkpoints(tmp_path) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert said.endswith(f"; to go on: {tiny.COMMAND}\n")


def test_a_second_interrupt_is_not_waited_for(tmp_path: Path) -> None:
    each = tiny.trainer(tmp_path, max_steps=500, save_strategy="no")
    before = signal.getsignal(signal.SIGINT)
    started = time.monotonic()
    each.add_callback(Interrupting())
    with pytest.raises(KeyboardInterrupt):
        each.train()
    assert time.monotonic() - started < 20
    assert signal.getsignal(signal.SIGINT) is before


class Interrupting(TrainerCallback):
    """Ctrl-C, its echo from a launcher within the second, then one that is meant; in one step."""

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.1)
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_is_an_exit_with_status_zero() -> None:
    stopped = TrainingStopped("SIGTERM: stopped")
    assert isinstance(stopped, SystemExit)
    assert stopped.code == 0


# ---- a time budget ----


class Observed(TrainerCallback):
    """A clock that a step moves by a second, and the learning rates of each step."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.rates: list[list[float]] = []

    def perf_counter(self) -> float:
        return self.now

    def on_step_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        self.rates.append([group["lr"] for group in optimizer.param_groups])
        self.now += 1.0


def observed(folder: Path, monkeypatch: pytest.MonkeyPatch, **values: Any) -> tuple[tiny.Recorder, Observed]:
    watch = Observed()
    monkeypatch.setattr(stopping, "time", watch)
    each = tiny.trainer(folder, time_budget_hours=20 / 3600, **values)
    each.add_callback(watch)
    return each, watch


def test_a_time_budget_ends_the_training_and_counts_what_was_spent_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"raf_lr_scheduler_type": "cosine", "learning_rate": 1e-3, "raf_learning_rate": 1e-3}
    first, watch = observed(tmp_path, monkeypatch, max_steps=1000, **values)
    first.add_callback(Ending(after=9))
    first.train()
    second, again = observed(tmp_path, monkeypatch, max_steps=1000, **values)
    second.train(resume_from_checkpoint=True)
    assert first.state.global_step == 9
    assert second.state.global_step == 20
    assert second.clock.seconds == second.clock.step_seconds == 20.0
    rates = np.array(watch.rates[:8] + again.rates)  # from the checkpoint of step 8 on
    spent = np.arange(20) / 20
    np.testing.assert_allclose(rates[:, 0], 1e-3 * (1 - spent))
    np.testing.assert_allclose(rates[:, -1], 1e-3 * (1 + np.cos(np.pi * spent)) / 2)
    assert step_number(list_checkpoints(tmp_path)[0]) == 20

    third, unused = observed(tmp_path, monkeypatch, max_steps=1000, **values)
    third.train(resume_from_checkpoint=True)
    assert third.state.global_step == 20
    assert unused.rates == []


class Ending(TrainerCallback):
    """Ends the training without a checkpoint, as a kill does."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.after


# ---- several processes ----


def seen(folder: Path, processes: int) -> dict[int, list[list[int]]]:
    """The sequences of each step, in the order of the draws."""
    parts: dict[int, list[list[int]]] = {}
    for rank in range(processes):
        for line in map(json.loads, (folder / f"seen-{rank}.jsonl").read_text().splitlines()):
            parts.setdefault(line["step"], []).extend(line["sequences"])
    return parts


def test_gradients_do_not_depend_on_how_a_batch_is_split(tmp_path: Path) -> None:
    ways = {"1 × 8": (1, 1), "2 × 4 accumulated": (1, 2), "2 processes": (2, 1), "both": (2, 2)}
    actual = {}
    for name, (processes, accumulation) in ways.items():
        folder = tmp_path / name
        values = {"gradient_accumulation_steps": accumulation, "max_steps": 1, "dropout": 0.0}
        statuses = tiny.join(tiny.start(folder, processes, max_grad_norm=0.0, **values))
        assert statuses == [0] * processes, output(folder)
        for rank in range(processes):
            actual[name, rank] = torch.load(folder / f"gradients-{rank}.pt", weights_only=True)
    expected = actual.pop(("1 × 8", 0))
    for gradients in actual.values():
        for key, value in expected.items():
            torch.testing.assert_close(gradients[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_as_two_or_as_one(tmp_path: Path) -> None:
    steps = 240  # processes meet about once a second
    together, stopped, alone = (tmp_path / name for name in ("together", "stopped", "alone"))
    assert tiny.join(tiny.start(together, 2, max_steps=steps)) == [0, 0], output(together)

    processes = tiny.start(stopped, 2, max_steps=steps)
    while not list_checkpoints(stopped):
        time.sleep(0.001)
    assert processes[1].pid is not None
    os.kill(processes[1].pid, signal.SIGTERM)  # one of the two is told
    assert tiny.join(processes) == [0, 0], output(stopped)
    newest = list_checkpoints(stopped)[0]
    assert find_corruption(newest) is None
    assert {path.name for path in newest.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    if step_number(newest) == steps:
        pytest.fail("the processes met too late; the training must be longer")
    shutil.copytree(stopped, alone)

    assert tiny.join(tiny.start(stopped, 2, max_steps=steps)) == [0, 0], output(stopped)
    assert_same_bits(stopped, together)
    (alone / "seen-1.jsonl").rename(alone / "seen-1-before.jsonl")
    (alone / "seen-0.jsonl").unlink()
    assert tiny.join(tiny.start(alone, 1, max_steps=steps)) == [0], output(alone)
    expected, actual = seen(together, 2), seen(alone, 1)
    assert list(actual) == list(range(step_number(newest), steps))
    assert all(actual[step] == expected[step] for step in actual)


def test_two_killed_processes_go_on(tmp_path: Path) -> None:
    together, killed = tmp_path / "together", tmp_path / "killed"
    assert tiny.join(tiny.start(together, 2, max_steps=20)) == [0, 0], output(together)
    processes = tiny.start(killed, 2, max_steps=20)
    while not list_checkpoints(killed):
        time.sleep(0.001)
    for process in processes:
        process.kill()
    assert tiny.join(processes) == [-signal.SIGKILL] * 2
    assert tiny.join(tiny.start(killed, 2, max_steps=20)) == [0, 0], output(killed)
    assert_same_bits(killed, together)


@pytest.mark.parametrize("name", ["/dev/zero", "../other/model.safetensors", "a\0b", "\ud800"])
def test_a_manifest_names_files_of_its_checkpoint_alone(name: str, tmp_path: Path) -> None:
    checkpoint = made(tmp_path, 3)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"][name] = {"size": 0, "sha256": "0"}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    assert find_corruption(checkpoint) == f"{name} is missing"
