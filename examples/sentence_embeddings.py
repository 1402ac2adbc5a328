"""RAFs in a model of sentence-transformers: at the end you have one that was trained on pairs of texts.

The transformer inside is converted; everything around it stays. The data have two columns, texts that belong
together, such as questions and answers: a name on the hub, or a folder of csv, jsonl or parquet.

    pip install sentence-transformers
    python examples/sentence_embeddings.py
    python examples/sentence_embeddings.py --model my-model --data my-folder --out my-embedder
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)  # fmt: skip
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.optim import AdamW

import raft
from raft.training import schedule


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--data", default="sentence-transformers/natural-questions")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", default="runs/embedder")
    options = parser.parse_args(arguments)

    pairs = load_dataset(options.data, split="train")
    texts = [text for pair in pairs.select(range(64)).to_list() for text in pair.values()]
    model: Any = SentenceTransformer(options.model)
    original = model.encode(texts)

    transformer = model.transformers_model  # which is converted in place
    raft.convert(transformer, calibration=texts, tokenizer=model.tokenizer)
    print(transformer.conversion_report)
    print(f"cosine to the original: {model.similarity_pairwise(original, model.encode(texts)).mean():.4f}")

    # the RAFs have a learning rate of their own
    optimizer = AdamW(raft.param_groups(model, lr=2e-5, raf_lr=5e-4))
    trainer = SentenceTransformerTrainer(
        model,
        SentenceTransformerTrainingArguments(
            options.out, max_steps=options.steps, per_device_train_batch_size=32,
            logging_steps=max(1, options.steps // 10), save_strategy="no", report_to="none",
        ),
        train_dataset=pairs,
        loss=MultipleNegativesRankingLoss(model),
        optimizers=(optimizer, schedule(optimizer, warmup=0.1, steps=options.steps)),
    )  # fmt: skip
    trainer.train()
    print(f"after training: {model.similarity_pairwise(original, model.encode(texts)).mean():.4f}")

    model.save_pretrained(options.out)
    again = SentenceTransformer(options.out)  # anywhere, after `import raft`
    print(f"{len(raft.hf.rationals(again))} RAFs in {options.out}")


if __name__ == "__main__":
    main()
