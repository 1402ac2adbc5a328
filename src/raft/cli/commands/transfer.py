"""``raft transfer``: a tuned model, judged on another task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from raft.cli.options import parse
from raft.cli.quiet import Console, quieten
from raft.errors import InputError
from raft.files import write_text
from raft.finetuning.task_source import Sources, TaskOptions
from raft.finetuning.transfer import evaluate_transfer
from raft.report.tables.finetuning import tabulate_scores

DESCRIPTION = """Judge a tuned model on a task that it was not tuned on: zero-shot transfer, such as SNLI
after MNLI or RTE, or TriviaQA in SQuAD's form after SQuAD. Labels are mapped by their names, or by
--labels."""


@dataclass
class TransferSettings(TaskOptions):
    """``raft transfer``."""

    model: str = field(
        default="", metadata={"help": "Tuned model: a folder of raft finetune, or a hub name."}
    )
    labels: list[str] = field(
        default_factory=list,
        metadata={"help": "Other names for labels of the model or the task, as LABEL_0=entailment."},
    )
    out: str | None = field(default=None, metadata={"help": "File for the scores, as JSON."})


def main(arguments: Sequence[str]) -> None:
    settings = parse(TransferSettings, "raft transfer", DESCRIPTION, arguments)
    settings.check_task()
    if settings.predict or settings.regression:
        raise InputError("a tuned model is judged on classes with labels, not by --predict or --regression")
    if not settings.model:
        raise InputError("--model must name a tuned model")
    names = dict(pair.partition("=")[::2] for pair in settings.labels)
    if not all(names.values()):
        raise InputError(f"--labels takes name=name, not {' '.join(settings.labels)!r}")
    quieten(tokenizer_threads=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = evaluate_transfer(settings.model, settings, Sources(), names, device)
    if settings.out is not None:
        content = {
            "settings": asdict(settings),
            "scores": {name: asdict(score) for name, score in scores.items()},
        }
        write_text(Path(settings.out), json.dumps(content, indent=1) + "\n")
    table = tabulate_scores(f"{settings.model} on {settings.task}", scores)
    Console().print(table.console(), crop=False)
