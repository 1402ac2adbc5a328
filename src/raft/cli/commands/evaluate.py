"""``raft evaluate``: zero-shot tests of language models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from raft.cli.options import parse
from raft.cli.quiet import Console, quieten
from raft.errors import InputError
from raft.evaluation.language_model import DTYPES, load_language_model
from raft.evaluation.tasks import EvaluationOptions, open_test
from raft.files import write_text
from raft.report.tables.evaluation import make_evaluation_tables
from raft.report.tables.grid import shorten_model_names

DESCRIPTION = """Test causal and masked language models without training: which sentence of a minimal pair
(BLiMP, Zorro) they find more probable, the last word of a passage (LAMBADA), or the perplexity of a corpus
(both causal). Several models are compared with the first, paired by item."""
RESULT, TABLES = "evaluation.json", "evaluation.md"


@dataclass
class EvaluateSettings(EvaluationOptions):
    """``raft evaluate``."""

    model: list[str] = field(
        default_factory=list,
        metadata={"help": "Folders or hub names of models.", "positional": True, "metavar": "MODEL"},
    )
    dtype: str = field(
        default="float32", metadata={"help": f"Compute in {', '.join(DTYPES)}, however weights are saved."}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": f"Folder for {RESULT} (all numbers) and {TABLES}."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace the results in --output_dir."})

    def check(self) -> None:
        """``InputError`` for what can be refused before data and models are read."""
        names = [name.rstrip("/") for name in self.model]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{twice} is given twice")
        if self.dtype not in DTYPES:
            raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")
        folder = None if self.output_dir is None else Path(self.output_dir)
        if folder is not None and folder.exists() and not folder.is_dir():
            raise InputError(f"--output_dir {folder} is a file, not a folder")
        if folder is not None and (folder / RESULT).exists() and not self.overwrite:
            raise InputError(f"{folder} holds {RESULT} already: give --overwrite, or choose another folder")


def main(arguments: Sequence[str]) -> None:
    settings = parse(EvaluateSettings, "raft evaluate", DESCRIPTION, arguments)
    settings.check()
    quieten()
    console = Console()
    test = open_test(settings)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores, results = [], []
    for name in settings.model:
        with console.status(f"evaluating {name}"):
            language_model = load_language_model(name, device, settings.dtype)
            scores.append(test.score(language_model))
            results.append(test.summarize(language_model, scores[-1]))
            del language_model
    names = [*shorten_model_names(settings.model).values()]
    comparisons = [test.compare(other, scores[0]) for other in scores[1:]]
    tables = make_evaluation_tables(settings.task, names, results, comparisons)
    for table in tables[:1]:
        console.print(table.console(), crop=False)
    if settings.output_dir is not None:
        folder = Path(settings.output_dir)
        content = {
            "settings": asdict(settings),
            "results": {name: asdict(r) for name, r in zip(settings.model, results, strict=True)},
            "differences_to_the_first": {
                name: asdict(c) for name, c in zip(settings.model[1:], comparisons, strict=True)
            },
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RESULT, json.dumps(content, indent=1) + "\n")
        write_text(folder / TABLES, "\n".join(f"{table.title}\n\n{table.markdown()}" for table in tables))
