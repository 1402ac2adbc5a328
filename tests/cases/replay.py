"""What a case is, and the small models, data and commands that cases are made of."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

import raft
from raft.cli.main import main
from raft.data.text.tokens import train_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 32,
}  # fmt: skip
WORDS = "anna sees a friend in the old red garden today and where is the library".split()  # noqa: SIM905
QUIET = "--report_to none --disable_tqdm true"
PRETRAIN = (
    "pretrain --corpus docs.txt --tokenizer train --vocab_size 100 --validation_sequences 10 "
    "--sequence_length 16 --max_position_embeddings 16 --num_hidden_layers 1 --hidden_size 16 "
    "--num_attention_heads 2 --global_batch_size 4 --per_device_train_batch_size 2 --max_steps 2 "
    f"--save_steps 1 {QUIET}"
).split()
TUNING = f"--data_dir glue --num_train_epochs 1 --max_length 16 {QUIET}"
FINETUNE = f"finetune --task rte {TUNING}".split()
GRID = f"grid --tasks rte --seeds 2 --sizes 4 --activations keep --tunings full {TUNING}".split()
"""Small commands that work, but for a model and a folder."""

LEFTOVERS = re.compile(r"\.unfinished|\.tmp$|\.saving")


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        group: letter of its group.
        name: what is done, in a few words.
        expected: a pattern that the outcome matches.
        run: gives the outcome, in a folder of its own that is the current one.
        is_slow: whether it takes seconds, as a process of its own does.
    """

    group: str
    name: str
    expected: str
    run: Callable[[], str]
    is_slow: bool = False

    @property
    def id(self) -> str:
        """For a test's name."""
        return f"{self.group}: {self.name}"

    def outcome(self, folder: Path) -> str:
        """What happens, in one line; an error of another kind than those that are meant is part of it."""
        before = Path.cwd()
        os.chdir(folder)
        try:
            return " ".join(self.run().split())
        except Exception as error:
            return " ".join(f"{type(error).__name__}: {error}".split())
        finally:
            os.chdir(before)

    def holds(self, outcome: str) -> bool:
        """Whether that is right."""
        return re.search(self.expected, outcome) is not None


CASES: list[Case] = []


def case(
    group: str, name: str, expected: str, is_slow: bool = False
) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Make a function that gives an outcome a case."""

    def add(run: Callable[[], str]) -> Callable[[], str]:
        CASES.append(Case(group, name, expected, run, is_slow))
        return run

    return add


def command(*words: object) -> str:
    """Run ``raft`` in this process: its status, and the one line that it says of an error.

    More lines of errors, and whatever a refused command leaves behind, are part of the outcome.
    """
    before = set(Path().rglob("*"))
    out, err = io.StringIO(), io.StringIO()
    wide = mock.patch.dict(os.environ, COLUMNS="200")  # a sentence a line
    with wide, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in words])
    said = [
        line for line in err.getvalue().splitlines() if line.startswith("raft:")
    ] or out.getvalue().splitlines()
    problems = [] if status == 0 or len(said) == 1 else [f"{len(said)} lines"]
    new = sorted(str(path) for path in set(Path().rglob("*")) - before)
    left = [name for name in new if status == 2 or LEFTOVERS.search(name)]
    problems += [f"left {', '.join(left)}"] if left else []
    return f"status {status}; {'; '.join([*problems, *said[-3:]])}"


def pretrain(*words: object, out: str = "out") -> str:
    """``raft pretrain`` of two steps on a few documents."""
    documents()
    return command(*PRETRAIN, "--output_dir", out, *words)


@cache
def _pretrained() -> Path:
    before, folder = Path.cwd(), Path(tempfile.mkdtemp())
    os.chdir(folder)
    done = pretrain()
    os.chdir(before)
    if not done.startswith("status 0"):
        raise AssertionError(done)
    return folder


def take_run() -> Path:
    """``out``, which ``pretrain`` left, and what it read, in the current folder."""
    shutil.copytree(_pretrained(), Path.cwd(), dirs_exist_ok=True)
    return Path("out")


def finetune(*words: object, model: str = "raft", out: str = "out") -> str:
    """``raft finetune`` of one epoch on a tiny RTE."""
    glue()
    return command(*FINETUNE, "--model", take(model), "--output_dir", out, *words)


def grid(*words: object, model: str = "base") -> str:
    """``raft grid`` of one setting and two seeds on a tiny RTE."""
    glue()
    return command(*GRID, "--models", take(model), "--output_dir", "out", *words)


def documents() -> Path:
    """``docs.txt``: some documents."""
    file = Path("docs.txt")
    lines = [" ".join(WORDS[(i * j + i // 9) % len(WORDS)] for j in range(40)) for i in range(400)]
    file.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return file


def glue() -> Path:
    """``glue/RTE`` in the official layout."""
    folder = Path("glue/RTE")
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 16), ("dev", 8)):
        rows = [
            f"{i}\tanna sees the {WORDS[i % 9]}\tthe {WORDS[i % 7]} is old\t{'not_' * (i % 2)}entailment"
            for i in range(count)
        ]
        (folder / f"{part}.tsv").write_text("\n".join(["index\tsentence1\tsentence2\tlabel", *rows]) + "\n")
    return folder.parent


@cache
def _made(name: str) -> Path:
    folder = Path(tempfile.mkdtemp()) / name
    tokenizer = train_tokenizer([" ".join(WORDS)] * 50, 100, max_length=32)
    config = BertConfig(vocab_size=len(tokenizer), **SIZES)
    torch.manual_seed(0)
    kinds: dict[str, Any] = {
        "base": lambda: BertModel(config),
        "raft": lambda: raft.convert(BertModel(config)),
        "version-b": lambda: raft.convert(BertModel(config), {"version": "B"}),
        "residual": lambda: raft.convert(BertModel(config), {"residual": True}),
        "two-labels": lambda: BertForSequenceClassification(config),
    }
    kinds[name]().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def take(name: str) -> str:
    """A model in the current folder: ``base``, ``raft``, ``version-b``, ``residual`` or ``two-labels``."""
    if not Path(name).exists():
        shutil.copytree(_made(name), name)
    return name


def change_json(file: str, **values: Any) -> None:
    """Set keys of a JSON file."""
    path = Path(file)
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
