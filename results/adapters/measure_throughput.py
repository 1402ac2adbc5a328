"""Time a batch whose 64 samples have 64 adapters of RAFs beside one whose samples share an adapter.

    python results/adapters/measure_throughput.py --model MINILM

Forward passes of a model with 64 adapters of eight groups, interleaved; ratios of medians to one adapter
without names, which is timed twice for the noise. Writes ``throughput.json``.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from peft import get_peft_model
from transformers import AutoModelForSequenceClassification

import raft
from raft.benchmarks.timing import time_interleaved
from raft.experiments.machine import machine
from raft.learned_activation import learned_activations

SAMPLES = 64
LENGTHS = (32, 128)
FILE = Path(__file__).with_name("throughput.json")


def main() -> None:
    """Time both lengths and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds", type=float, default=60.0, help="Of each length.")
    options = parser.parse_args()
    torch.manual_seed(0)
    config = raft.RafAdapterConfig(groups=8, task_type="SEQ_CLS")
    model = get_peft_model(AutoModelForSequenceClassification.from_pretrained(options.model), config)
    names = ["default", *(f"task{number}" for number in range(1, SAMPLES))]
    for name in names[1:]:
        model.add_adapter(name, config)
    with torch.no_grad():
        for act in learned_activations(model).values():
            for values in act.parameters():
                values.add_(0.01 * torch.randn_like(values))
    model.eval()
    ratios = {}
    for length in LENGTHS:
        batch = {"input_ids": torch.randint(1000, 20000, (SAMPLES, length))}
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        with torch.no_grad():
            times = time_interleaved(
                {
                    "one adapter": partial(model, **batch),
                    "one adapter, again": partial(model, **batch),
                    "one adapter, named": partial(model, **batch, adapter_names=["default"] * SAMPLES),
                    "64 adapters": partial(model, **batch, adapter_names=names),
                },
                torch.device("cpu"),
                options.seconds,
            )
        one = float(np.median(times["one adapter"]))
        print(f"{SAMPLES} × {length} tokens, one adapter: {1000 * one:.0f} ms")
        ratios[length] = {name: round(float(np.median(of_it)) / one, 3) for name, of_it in times.items()}
        for name, ratio in ratios[length].items():
            print(f"  {name}: {ratio:.3f}")
    content = {"machine": machine(), "samples": SAMPLES, "ratios": ratios}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
