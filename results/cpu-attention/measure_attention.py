"""Measure training steps of small encoders for each attention implementation; writes results.csv.

python results/cpu-attention/measure_attention.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import BertConfig

from raft.benchmarks.step import MASKED
from raft.benchmarks.timing import compute_ratio, time_interleaved
from raft.pretraining.train import build_model
from raft.training.arguments import ATTN_IMPLEMENTATIONS
from raft.training.losses import masked_lm_loss

FILE = Path(__file__).with_name("results.csv")
VOCABULARY = 4096
SIZES = [(2, 64, 2, 128, 32), (4, 128, 4, 32, 128), (2, 768, 12, 8, 128), (2, 768, 12, 2, 512)]
"""Layers, width, heads, sequences a step, tokens a sequence; the first two are those of recipes."""


def step(size: tuple[int, int, int, int, int], attention: str, dtype: torch.dtype) -> Callable[[], None]:
    """Forward and backward of one batch."""
    layers, width, heads, sequences, length = size
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = build_model(config, 0, attention)
    tokens = torch.randint(5, VOCABULARY, (sequences, length))
    labels = torch.where(torch.rand(sequences, length) < MASKED, tokens, -100)

    def run() -> None:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            loss = masked_lm_loss(model, tokens, labels, head=model.get_submodule("cls")).mean()
        loss.backward()
        model.zero_grad()

    return run


def main() -> None:
    """Time both in turn, for each size and precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="for each size and precision")
    options = parser.parse_args()
    rows = []
    for size in SIZES:
        for dtype in (torch.float32, torch.bfloat16):
            calls = {attention: step(size, attention, dtype) for attention in ATTN_IMPLEMENTATIONS}
            times = time_interleaved(calls, torch.device("cpu"), options.seconds)
            for attention, seconds in times.items():
                compared = compute_ratio(seconds, times["sdpa"])
                rows.append(
                    {
                        **dict(zip(("layers", "width", "heads", "sequences", "length"), size, strict=True)),
                        "dtype": str(dtype).removeprefix("torch."),
                        "attention": attention,
                        "threads": torch.get_num_threads(),
                        "milliseconds": round(1e3 * float(np.median(seconds)), 2),
                        **{f"ratio_{key}": round(value, 3) for key, value in vars(compared).items()},
                        "rounds": len(seconds),
                    }
                )
                print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(FILE, index=False)


if __name__ == "__main__":
    main()
