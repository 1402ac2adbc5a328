"""Seconds of BLiMP for a causal and a masked model of some 6 million random weights.

    python results/evaluation/measure_time.py BLIMP TEXTS --items 100

Prints a row a model and precision, with the time of all pairs estimated where ``--items`` leaves some out.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, GPT2Config

from raft.data.pairs.blimp import read_blimp
from raft.data.text.corpora import first_texts
from raft.data.text.tokens import train_bpe_tokenizer, train_tokenizer
from raft.evaluation.language_model import check_language_model
from raft.evaluation.tasks import make_pairs_test

VOCABULARY, WIDTH, LAYERS = 8192, 256, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blimp")
    parser.add_argument("texts", help="a corpus, for the tokenizers")
    parser.add_argument("--items", type=int, help="pairs of each paradigm")
    parser.add_argument("--only", choices=("causal", "masked"))
    options = parser.parse_args()
    documents = first_texts(options.texts, 5000)
    size: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 1}
    causal = AutoModelForCausalLM.from_config(GPT2Config(n_embd=WIDTH, n_layer=LAYERS, n_head=4, **size))
    masked = AutoModelForMaskedLM.from_config(
        BertConfig(
            hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=1024, **size
        )
    )
    whole = sum(len(paradigm.pairs) for paradigm in read_blimp(options.blimp))
    paradigms = read_blimp(options.blimp, options.items)
    pairs = sum(len(paradigm.pairs) for paradigm in paradigms)
    test = make_pairs_test("blimp", paradigms)
    print("| model | parameters | threads | precision | pairs | seconds | all pairs, minutes |")
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: |")
    for name, model, train in (("causal", causal, train_bpe_tokenizer), ("masked", masked, train_tokenizer)):
        if options.only not in (None, name):
            continue
        tokenizer = train(documents, VOCABULARY)
        for dtype in (torch.float32, torch.bfloat16):
            ready = check_language_model(model.to(dtype), tokenizer, name)
            begun = time.perf_counter()
            test(ready)
            seconds = time.perf_counter() - begun
            cells = [
                name,
                f"{model.num_parameters():,}",
                torch.get_num_threads(),
                str(dtype)[6:],
                f"{pairs:,}",
            ]
            cells += [f"{seconds:.0f}", f"{seconds * whole / pairs / 60:.1f}"]
            print("|", " | ".join(map(str, cells)), "|")


if __name__ == "__main__":
    main()
