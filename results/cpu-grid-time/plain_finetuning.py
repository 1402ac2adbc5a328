"""One fine-tuning without this library, for comparison by `measure_grid_time.py`.

python results/cpu-grid-time/plain_finetuning.py RUN.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)


def main() -> None:
    """Train on few examples, keep the best epoch's weights, and print the score of the test set."""
    run = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(run["model"])

    def encode(split: str) -> list[dict[str, Any]]:
        rows = []
        for first, second, label in run[split]:
            row = tokenizer(first, second, truncation=True, max_length=run["max_length"])
            rows.append({**row, "labels": label})
        return rows

    def score(output: EvalPrediction) -> dict[str, float]:
        logits: Any = output.predictions
        if run["labels"] == 1:
            return {"points": float(np.corrcoef(logits[:, 0], output.label_ids)[0, 1])}
        return {"points": float((logits.argmax(axis=1) == output.label_ids).mean())}

    model = AutoModelForSequenceClassification.from_pretrained(run["model"], num_labels=run["labels"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_only_model=True,
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="points",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **run["arguments"],
        )
        trainer = Trainer(
            model,
            arguments,
            DataCollatorWithPadding(tokenizer),
            train_dataset=encode("train"),  # a list is enough
            eval_dataset=encode("validation"),
            compute_metrics=score,
        )
        trainer.train()
        output = trainer.predict(encode("test"))  # type: ignore[arg-type]
    print((output.metrics or {})["test_points"])


if __name__ == "__main__":
    main()
