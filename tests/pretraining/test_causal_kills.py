"""A causal pretraining that is killed at any moment ends with the weights of one that was not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raft.training.checkpoints import list_checkpoints, step_number

KILLS, STEPS = 5, 60


def start(texts: Path, folder: Path) -> subprocess.Popen[bytes]:
    words = [
        "--objective", "clm", "--corpus", texts, "--tokenizer", "train", "--vocab_size", "300",
        "--model", '{"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 32}', "--sequence_length", "32",
        "--attention_within_documents", "true", "--validation_sequences", "8", "--global_batch_size", "64",
        "--per_device_train_batch_size", "16", "--max_steps", STEPS, "--save_steps", "3", "--eval_strategy",
        "no", "--learning_rate", "1e-2", "--use_cpu", "true", "--disable_tqdm", "true",
        "--output_dir", folder,
    ]  # fmt: skip
    command = [sys.executable, "-m", "raft", "pretrain", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_kills_at_five_moments_change_no_bit(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    lines = (f"the {i % 7} foxes of number {i % 5} jump over {i % 3} lazy dogs ." for i in range(3000))
    texts.write_text("\n\n".join(lines))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(texts, whole)
    assert process.wait() == 0, process.communicate()
    chance, seen = random.Random(3), 0
    for _ in range(KILLS):
        process = start(texts, killed)
        while process.poll() is None and newest(killed) <= seen:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.2))
        seen = newest(killed)
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.communicate()
    assert 0 < seen < STEPS
    process = start(texts, killed)
    assert process.wait() == 0, process.communicate()
    for name in ("model.safetensors", "samples.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    before, after = (load_file(folder / "rafs.safetensors") for folder in (whole, killed))
    assert before.keys() == after.keys()  # the order in a file is any
    assert all(torch.equal(before[name], after[name]) for name in before)


def newest(folder: Path) -> int:
    return max(map(step_number, list_checkpoints(folder)), default=0)
