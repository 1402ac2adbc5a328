"""A whole training step of a RAFT beside its FAFT."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

from raft.benchmarks.timing import Ratio, compute_ratio, time_interleaved
from raft.data.text.masking import predicted_positions
from raft.training.losses import masked_lm_loss
from raft.training.optimizer import param_groups

KINDS: dict[str, dict[str, Any] | None] = {"FAFT": None, "FAFT, again": None, "RAFT": {}}
"""The models' ``raf`` blocks; the FAFT stands there twice, which shows the noise."""

MASKED = 0.15
SPECIAL = 5
"""Tokens at the beginning of a vocabulary that texts do not hold."""
HOST_ROUNDS = 10


@dataclass(frozen=True)
class StepMeasurement:
    """One model's training step.

    Attributes:
        model: ``FAFT``, ``FAFT, again`` or ``RAFT``.
        milliseconds: median of a step: forward, backward, AdamW.
        tokens_per_second: read by the model.
        teraflops_per_second: of the model's matrix products, forward and backward.
        ratio: to the FAFT in the same rounds.
        host_milliseconds: median until a GPU has been told all of a step; where it is near ``milliseconds``,
            the host holds the GPU up, or the step has more launches than wait in a queue (about 1,000). None
            on a CPU.
        peak_megabytes: of GPU memory; None on a CPU.
        rounds: how many.
    """

    model: str
    milliseconds: float
    tokens_per_second: float
    teraflops_per_second: float
    ratio: Ratio
    host_milliseconds: float | None
    peak_megabytes: float | None
    rounds: int


def measure_steps(
    config: BertConfig,
    batch_size: int,
    sequence_length: int,
    device: torch.device,
    dtype: torch.dtype,
    compiled: bool,
    seconds: float,
) -> list[StepMeasurement]:
    """Time training steps of both models on random tokens.

    Args:
        config: of the FAFT.
        batch_size: sequences of a step.
        sequence_length: tokens of a sequence.
        device: CPU or GPU.
        dtype: computed in by autocast where it is not float32.
        compiled: whether the models are compiled.
        seconds: for all of it.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, sequence_length)
    input_ids = torch.randint(SPECIAL, config.vocab_size, shape, generator=generator)
    predicted = torch.rand(shape, generator=generator) < MASKED
    labels = torch.where(predicted, input_ids, -100)
    calls: dict[str, Callable[[], object]] = {}
    peaks: dict[str, float | None] = {}
    products = 0.0
    for name, block in KINDS.items():
        others = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        torch.manual_seed(0)
        model = BertForMaskedLM(BertConfig(**{**config.to_dict(), "raf": block}))
        model.to(device)  # type: ignore[arg-type]  # a decorator of transformers hides the method's type
        products = _count_flops(model, config, int(predicted.sum()), batch_size, sequence_length)
        batch = [tensor.to(device) for tensor in (input_ids, labels, predicted_positions(labels))]
        calls[name] = _build_step(model, batch, dtype, compiled)
        calls[name]()  # after which the optimizer's moments are there
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        calls[name]()
        peaks[name] = None
        if device.type == "cuda":
            peaks[name] = (torch.cuda.max_memory_allocated(device) - others) / 1e6
    times = time_interleaved(calls, device, seconds)
    host = {name: _measure_host_milliseconds(call, device) for name, call in calls.items()}
    medians = {name: float(np.median(seconds_of_steps)) for name, seconds_of_steps in times.items()}
    return [
        StepMeasurement(
            name,
            1e3 * medians[name],
            batch_size * sequence_length / medians[name],
            products / medians[name] / 1e12,
            compute_ratio(seconds_of_steps, times["FAFT"]),
            host[name],
            peaks[name],
            len(seconds_of_steps),
        )
        for name, seconds_of_steps in times.items()
    ]


def _build_step(
    model: BertForMaskedLM, batch: Sequence[torch.Tensor], dtype: torch.dtype, compiled: bool
) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(param_groups(model, lr=1e-4), fused=True)
    if compiled:
        model.bert.compile()
    device = batch[0].device.type

    def step() -> object:
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            loss = masked_lm_loss(model, *batch, head=model.cls).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return None

    return step


def _measure_host_milliseconds(call: Callable[[], object], device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    times = []
    for _ in range(HOST_ROUNDS):
        torch.cuda.synchronize(device)
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times))


def _count_flops(
    model: BertForMaskedLM, config: BertConfig, predicted: int, batch_size: int, sequence_length: int
) -> float:
    """Floating point operations of a step: 6 for a weight and token, 12 for a pair and channel."""
    tokens = batch_size * sequence_length
    layers = sum(p.numel() for p in model.bert.encoder.parameters() if p.dim() == 2)
    head = config.hidden_size * (config.hidden_size + config.vocab_size)
    pairs = config.num_hidden_layers * config.hidden_size * sequence_length
    return 6.0 * (tokens * layers + predicted * head) + 12.0 * tokens * pairs
