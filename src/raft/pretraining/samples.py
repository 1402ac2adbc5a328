"""What a causal language model writes: the start of held-out text, and how the model goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from raft.files import read_json, write_text

SAMPLES = "samples.json"

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 3, 12, 40
TEMPERATURE, TOP_K = 0.8, 40


@dataclass(frozen=True)
class Sample:
    """A text that a model went on with.

    Attributes:
        prompt: that was given.
        likeliest: what follows when each token is the likeliest.
        drawn: what follows when tokens are drawn, at temperature 0.8 from the 40 likeliest.
    """

    prompt: str
    likeliest: str
    drawn: str


def write_samples(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    sequences: NDArray[np.integer],
    folder: Path,
) -> None:
    """Let a model go on with the first tokens of some sequences, into ``samples.json``.

    All models get the same prompts and draw by the same random numbers, whose state is left as it was.

    Args:
        model: a causal ``PreTrainedModel``, in evaluation mode.
        tokenizer: that made the sequences.
        sequences: ``[N, L]``.
        folder: of the run.
    """
    samples = []
    length = min(PROMPT_TOKENS, sequences.shape[1] // 2)
    longest = getattr(model.config, "max_position_embeddings", None) or length + NEW_TOKENS
    new = {"max_new_tokens": min(NEW_TOKENS, longest - length), "pad_token_id": tokenizer.pad_token_id}
    for number in np.linspace(0, len(sequences) - 1, PROMPTS).astype(int):
        ids = torch.from_numpy(sequences[number : number + 1, :length].astype(np.int64)).to(model.device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            likeliest = model.generate(**inputs, **new, do_sample=False)
            drawn = model.generate(**inputs, **new, do_sample=True, temperature=TEMPERATURE, top_k=TOP_K)
        texts = [
            str(tokenizer.decode(tokens, skip_special_tokens=True))
            for tokens in (ids[0], likeliest[0, length:], drawn[0, length:])
        ]
        samples.append(Sample(*texts))
    write_text(folder / SAMPLES, json.dumps([asdict(sample) for sample in samples], indent=1) + "\n")


def read_samples(folder: Path) -> list[Sample]:
    """Of a run; none where it wrote none.

    Raises:
        InputError: for a file that holds other things.
    """
    file = folder / SAMPLES
    return read_json(file, list[Sample], "samples of a language model") if file.is_file() else []
