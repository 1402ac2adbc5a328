"""A causal language model with RAFs, trained on a text of yours: at the end it goes on with what you begin.

A small Llama that reads bytes, so that no tokenizer is needed. ``raf={}`` in its configuration is all that
makes it a RAFT: SiLU in the gate of each layer gives way to a RAF. ``--plain`` builds the baseline with SiLU.

    python examples/decoder.py README.md
    python examples/decoder.py book.txt --steps 5000 --prompt "It was" --out my-decoder
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import raft
from raft.training import schedule

BATCH, LENGTH = 8, 128
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="file of text to learn from")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--plain", action="store_true", help="SiLU in place of RAFs")
    parser.add_argument("--prompt", default="The ")
    parser.add_argument("--out", default="runs/decoder")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    config = LlamaConfig(  # type: ignore[call-arg]  # transformers' types know no raf
        vocab_size=256, hidden_size=128, intermediate_size=344, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, raf=None if options.plain else {},
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    with torch.device(DEVICE):
        model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(raft.param_groups(model, lr=1e-3, raf_lr=5e-3))
    scheduler = schedule(optimizer, warmup=0.05, steps=options.steps)
    data = torch.tensor(list(options.text.read_bytes()), device=DEVICE)
    for step in range(1, options.steps + 1):
        starts = torch.randint(len(data) - LENGTH, (BATCH,))
        batch = torch.stack([data[start : start + LENGTH] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if step == 1 or step % 50 == 0:
            print(f"step {step}: {loss.item():.3f} nats a byte")

    model.save_pretrained(options.out)  # and comes back with its RAFs wherever raft is imported
    again: Any = AutoModelForCausalLM.from_pretrained(options.out, device_map=DEVICE)
    prompt = torch.tensor([list(options.prompt.encode())], device=DEVICE)
    (ids,) = again.generate(prompt, max_new_tokens=200, do_sample=True, temperature=0.7)
    print(bytes(ids.tolist()).decode(errors="replace"))


if __name__ == "__main__":
    main()
