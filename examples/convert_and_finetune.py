"""Convert a pretrained model, fine-tune it with ``transformers.Trainer``: at the end you have a saved RAFT.

Any model of ``transformers`` and any data set with the columns ``text`` and ``label``: a name on the hub, or
a folder that holds ``train`` and ``test`` (or ``validation``) as csv, jsonl or parquet.

    python examples/convert_and_finetune.py
    python examples/convert_and_finetune.py --model roberta-base --data my-folder --out my-raft
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from datasets import load_dataset
from torch.optim import AdamW
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

import raft


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bert-base-uncased")
    parser.add_argument("--data", default="cornell-movie-review-data/rotten_tomatoes")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--lr", type=float, default=2e-5)
    parser.add_argument("--raf_lr", type=float, default=5e-4, help="of the RAFs' coefficients")
    parser.add_argument("--out", default="runs/finetuned")
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    data = load_dataset(options.data)
    tokens = data.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True)
    labels = len(set(data["train"]["label"]))
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=labels)

    # each RAF is fitted to the activation that it replaces, over the inputs that it gets from these texts
    model = raft.convert(model, calibration=data["train"][:64]["text"], tokenizer=tokenizer)
    print(model.conversion_report)

    # the RAFs have a learning rate of their own
    groups = raft.param_groups(model, lr=options.lr, raf_lr=options.raf_lr)
    trainer = Trainer(
        model,
        TrainingArguments(
            options.out, num_train_epochs=options.epochs, per_device_train_batch_size=32,
            save_strategy="no", report_to="none",
        ),
        train_dataset=tokens["train"],
        eval_dataset=tokens["test" if "test" in tokens else "validation"],
        processing_class=tokenizer,
        compute_metrics=lambda scores: {"accuracy": np.mean(scores[0].argmax(-1) == scores[1])},
        optimizers=(AdamW(groups), None),
    )  # fmt: skip
    print("before", trainer.evaluate())
    trainer.train()
    print("after ", trainer.evaluate())

    trainer.save_model(options.out)
    again = AutoModelForSequenceClassification.from_pretrained(options.out)  # anywhere, after `import raft`
    print(f"{len(raft.hf.rationals(again))} RAFs in {options.out}")


if __name__ == "__main__":
    main()
