"""A training of a second or two, for tests that kill it; run in processes of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, GPT2Config

from raft.data.text.causal import CausalSequences
from raft.data.text.masking import MaskedSequences
from raft.data.text.tokens import CLM, MLM, train_bpe_tokenizer, train_tokenizer
from raft.pretraining.train import build_model
from raft.training import checkpoints
from raft.training.arguments import RaftTrainingArguments
from raft.training.distributed import destroy_process_group
from raft.training.stopping import StopOnSignal
from raft.training.trainer import RaftTrainer
from tests.data.text.packing import pack

TEXTS = [f"the {i % 5} quick foxes jump over {i % 3} lazy dogs in street number {i % 7}." for i in range(400)]
BATCH = 8
COMMAND = "python train.py --again"

# children of a server that has imported everything start in no time, and are processes like any other
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


class Recorder(RaftTrainer):
    """Writes down what it is shown, and the first step's gradients."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        line = {"step": self.state.global_step, "sequences": inputs["input_ids"].tolist()}
        with (self._folder / f"seen-{self.args.process_index}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if self.state.global_step == 0:
            gradients = {name: p.grad for name, p in self.model.named_parameters()}
            torch.save(gradients, self._folder / f"gradients-{self.args.process_index}.pt")
        return super()._get_grad_norm(model, grad_norm)


def trainer(folder: Path, dropout: float = 0.1, objective: str = MLM, **values: Any) -> Recorder:
    """A RAFT of two layers, a BERT or a GPT-2; a step of 8 sequences, whatever the number of processes."""
    torch.set_num_threads(1)
    is_causal = objective == CLM
    tokenizer = (
        train_bpe_tokenizer(TEXTS, 270, 16) if is_causal else train_tokenizer(TEXTS, 120, max_length=16)
    )
    size: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    size |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout, "raf": {}}
    kind: Any = GPT2Config if is_causal else BertConfig
    if is_causal:
        size = {"n_embd": 32, "n_layer": 2, "n_head": 2, "raf": {}}
        size |= {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
    config = kind(vocab_size=len(tokenizer), max_position_embeddings=16, **size)
    quiet = {"report_to": "none", "logging_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    start = {"max_steps": 30, "learning_rate": 3e-3, "seed": 5, "save_steps": 4, "save_total_limit": 2}
    parts = int(os.environ.get("WORLD_SIZE", 1)) * values.get("gradient_accumulation_steps", 1)
    args = RaftTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH // parts,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        **{**quiet, **start, **values},
    )
    # more draws than steps: the end of the data is not the end of the training
    sequences = pack(TEXTS, tokenizer, 16, objective=objective)
    data = (CausalSequences if is_causal else MaskedSequences)(sequences, tokenizer, 5, draws=4096)
    callbacks = [StopOnSignal(COMMAND)]
    return Recorder(
        model=build_model(config, 5, objective=objective), args=args, train_dataset=data, callbacks=callbacks
    )


def train(folder: Path, die_at: str | None = None, **values: Any) -> None:
    """Train, or go on, to the end; then ``weights-RANK.pt`` holds the weights. The same command each time.

    Args:
        folder: of the checkpoints.
        die_at: a function of ``raft.training.checkpoints`` whose second call is a ``kill -9`` instead.
        values: training arguments.
    """
    if die_at is not None:
        _die_in(die_at)
    each = trainer(folder, **values)
    each.train(resume_from_checkpoint=True)
    torch.save(each.model.state_dict(), folder / f"weights-{each.args.process_index}.pt")
    destroy_process_group()


def _die_in(name: str) -> None:
    calls = []
    original = getattr(checkpoints, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(checkpoints, name, deadly)


def start(folder: Path, processes: int = 1, **values: Any) -> list[ForkServerProcess]:
    """``train`` in one process, or in several with gloo, as ``torchrun`` starts them."""
    folder.mkdir(exist_ok=True, parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(processes):
        process = PROCESSES.Process(target=_process, args=(rank, processes, port, folder, values))
        process.start()
        started.append(process)
    return started


def join(processes: Sequence[ForkServerProcess], seconds: float = 60) -> list[int | None]:
    """Exit statuses; minus the signal's number where one ended the process."""
    for process in processes:
        process.join(seconds)
        if process.is_alive():
            process.kill()
    return [process.exitcode for process in processes]


def _process(rank: int, processes: int, port: int, folder: Path, values: dict[str, Any]) -> None:
    output = os.open(folder / f"output-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if processes > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ["OMP_NUM_THREADS"] = "1"  # as torchrun does; accelerate sets more threads otherwise
        values = {"ddp_backend": "gloo", **values}
    train(folder, **values)


if __name__ == "__main__":
    train(Path(sys.argv[1]), max_steps=int(sys.argv[2]))
