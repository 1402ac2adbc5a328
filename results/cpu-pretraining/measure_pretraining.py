"""Tokens a second of pretraining: the plain way with ``transformers`` beside this library's, on one model.

    python results/cpu-pretraining/measure_pretraining.py WIKIPEDIA results/cpu-pretraining --seconds 100

A BERT, or with ``--objective clm`` a GPT-2, of four layers of width 256. Writes ``results.json`` and
``results.csv``.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import (
    BertConfig,
    DataCollatorForLanguageModeling,
    GPT2Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from raft.benchmarks.results import write_rows
from raft.benchmarks.timing import Ratio, compute_ratio, flatten_ratio
from raft.data.text.causal import CausalSequences
from raft.data.text.corpora import open_corpus
from raft.data.text.masking import MaskedSequences
from raft.data.text.token_store import corpus_tokenizer, tokenize_corpus
from raft.data.text.tokens import MLM, OBJECTIVES
from raft.pretraining.architectures import new_model
from raft.training.arguments import RaftTrainingArguments
from raft.training.trainer import RaftTrainer

PLAIN = "transformers.Trainer"
WAYS: dict[str, tuple[bool, dict[str, Any] | None]] = {
    PLAIN: (False, None),
    "raft, FAFT": (True, None),
    "raft, RAFT": (True, {}),
}
"""By name: whether it is this library's training, and the model's ``raf`` block."""

SETTLING = 3
"""Steps of a training that are not counted."""


@dataclass(frozen=True)
class PretrainingMeasurement:
    """One way to pretrain.

    Attributes:
        way: its name.
        milliseconds: median time from the end of a step to the end of the next, data included.
        tokens_per_second: read by the model.
        ratio: of the time to that of the plain way in the same rounds.
        rounds: how many.
    """

    way: str
    milliseconds: float
    tokens_per_second: float
    ratio: Ratio
    rounds: int


def measure_pretraining(
    config: PreTrainedConfig,
    objective: str,
    sequences: NDArray[np.integer],
    tokenizer: PreTrainedTokenizerFast,
    batch_size: int,
    seconds: float,
    options: dict[str, Any],
) -> list[PretrainingMeasurement]:
    """Train one model in each way, some steps at a time, in turn.

    The plain way is ``Trainer`` with ``DataCollatorForLanguageModeling``.

    Args:
        config: of the FAFT.
        objective: ``"mlm"`` or ``"clm"``.
        sequences: ``[N, L]`` tokens, at least a batch.
        tokenizer: that made them.
        batch_size: sequences of a step.
        seconds: for all of it.
        options: training arguments of all ways, such as ``bf16``.
    """
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            name: _build_training(
                config, objective, sequences, tokenizer, batch_size, folder, options, ours, block
            )
            for name, (ours, block) in WAYS.items()
        }
        seconds_by_way: dict[str, list[float]] = {name: [] for name in ways}
        random, begun = np.random.default_rng(0), time.perf_counter()
        while len(seconds_by_way[PLAIN]) < 5 or time.perf_counter() - begun < seconds:
            for name in random.permutation(list(ways)):
                seconds_by_way[name].append(ways[name]())
    times = {name: np.array(values) for name, values in seconds_by_way.items()}
    tokens = batch_size * sequences.shape[1]
    return [
        PretrainingMeasurement(
            name,
            1e3 * float(np.median(values)),
            tokens / float(np.median(values)),
            compute_ratio(values, times[PLAIN]),
            len(values),
        )
        for name, values in times.items()
    ]


class _StepEnds(TrainerCallback):
    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.at.append(time.perf_counter())


def _build_training(
    config: PreTrainedConfig,
    objective: str,
    sequences: NDArray[np.integer],
    tokenizer: PreTrainedTokenizerFast,
    batch_size: int,
    folder: str,
    options: dict[str, Any],
    ours: bool,
    block: dict[str, Any] | None,
    steps: int = 10,
) -> Callable[[], float]:
    """Build a function that trains some more steps and returns the median step time in seconds."""
    torch.manual_seed(0)
    config = copy.deepcopy(config)
    config.raf = block
    model = new_model(config, objective)
    arguments: dict[str, Any] = {
        "output_dir": folder,
        "max_steps": SETTLING + steps,
        "per_device_train_batch_size": batch_size,
        "learning_rate": 1e-4,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        **options,
    }

    def train() -> float:
        ends = _StepEnds()
        trainer: Trainer
        if ours:
            kind = MaskedSequences if objective == MLM else CausalSequences
            draws = kind(sequences, tokenizer, seed=0, draws=(SETTLING + steps) * batch_size)
            trainer = RaftTrainer(
                model, RaftTrainingArguments(**arguments), train_dataset=draws, callbacks=[ends]
            )
        else:
            examples: Any = [{"input_ids": row} for row in sequences.tolist()]
            collator = DataCollatorForLanguageModeling(
                tokenizer, mlm=objective == MLM, mlm_probability=0.15 if objective == MLM else None
            )
            trainer = Trainer(
                model, TrainingArguments(**arguments), collator, train_dataset=examples, callbacks=[ends]
            )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return float(np.median(np.diff(ends.at)[SETTLING - 1 :]))

    return train


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--objective", choices=OBJECTIVES, default=MLM)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--sequence_length", type=int, default=128)
    parser.add_argument("--vocab_size", type=int, default=30522)
    settings = parser.parse_args()
    width, length, vocabulary = settings.width, settings.sequence_length, settings.vocab_size
    config: PreTrainedConfig = BertConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=4,
        num_attention_heads=max(1, width // 64), intermediate_size=4 * width, max_position_embeddings=length,
    )  # fmt: skip
    if settings.objective != MLM:
        config = GPT2Config(
            vocab_size=vocabulary, n_embd=width, n_layer=4, n_head=max(1, width // 64), n_positions=length,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
    corpus = open_corpus(settings.corpus)
    tokenizer = corpus_tokenizer(corpus, vocabulary, length, settings.objective)
    store = tokenize_corpus(corpus, tokenizer, length, objective=settings.objective)
    measurements = measure_pretraining(
        config, settings.objective, store.train[: 200 * settings.batch_size], tokenizer,
        settings.batch_size, settings.seconds,
        {"use_cpu": not torch.cuda.is_available(), "bf16": settings.bf16},
    )  # fmt: skip
    rows = [flatten_ratio(measurement) for measurement in measurements]
    write_rows(settings.out, Path(__file__).name, vars(settings), rows)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
