"""Command lines and damaged files that nobody wrote by hand: ``python -m tests.cases.fuzz [--seed N]``.

Whatever is drawn, a command ends within seconds with a status of 0, 1 or 2, says at most one line of an
error, and leaves nothing half written. What does otherwise is printed, and counted at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from raft.cli.commands.convert import ConvertSettings
from raft.cli.commands.inspect import InspectSettings
from raft.cli.commands.report import ReportSettings
from raft.cli.commands.transfer import TransferSettings
from raft.cli.processes import ProcessOptions
from raft.experiments.grid import GridRecipe
from raft.finetuning.run import FinetuningRecipe
from raft.pretraining.recipe import PretrainingRecipe
from raft.training.arguments import RaftTrainingArguments
from tests.cases.replay import FINETUNE, GRID, PRETRAIN, command, documents, glue, take

SECONDS = 10.0
"""A command on these sizes that takes longer hangs."""

VALUES = (
    "", " ", "\N{ZERO WIDTH SPACE}", "x" * 5000, "[1]", "{}", "--", "--seed", "-", "*", "%s", "$HOME",
    "é", "²", "٣", "0", "-1", "-0.0", "1", "2", "3.5", "nan", "inf", "-inf", "1e309", "1e-400",
    "99999999999999999999", "0x10", "true", "None", "null", "a", "a,b", "0-5,11", "5-0", "../..", "/",
    "/dev/null", "docs.txt", "glue", "base", "raft", "no/such/thing", "A", "B", "gelu", "raf", "sst2",
    "rte", "linear", "adamw_torch", "bf16",
)  # fmt: skip
BEYOND = {
    "deepspeed", "fsdp", "fsdp_config", "parallelism_config", "push_to_hub", "hub_model_id", "report_to",
    "torch_compile", "torch_compile_backend", "torch_compile_mode", "accelerator_config", "processes",
    "streaming", "corpus", "tokenizer", "model", "models",
}  # fmt: skip
"""Options that reach for other programs, the network, or minutes of work."""

TRAINING = fields(RaftTrainingArguments)
COMMANDS: dict[str, tuple[list[str], list[Any]]] = {
    "pretrain": ([*PRETRAIN, "--output_dir", "out"], [*fields(PretrainingRecipe), *TRAINING]),
    "finetune": (
        [*FINETUNE, "--model", "raft", "--output_dir", "out"],
        [*fields(FinetuningRecipe), *TRAINING],
    ),
    "grid": (
        [*GRID, "--models", "raft", "--output_dir", "out"],
        [*fields(GridRecipe), *fields(ProcessOptions), *fields(FinetuningRecipe), *TRAINING],
    ),
    "convert": (["convert", "base", "out"], [*fields(ConvertSettings)]),
    "inspect": (["inspect", "raft"], [*fields(InspectSettings)]),
    "transfer": (
        ["transfer", "--model", "two-labels", "--task", "rte", "--data_dir", "glue"],
        [*fields(TransferSettings)],
    ),
    "report": (["report", "run"], [*fields(ReportSettings)]),
}
"""A small command that works, and the options that it has."""


def lines(draw: random.Random) -> Iterator[list[str]]:
    """Command lines: small ones that work, with one to three options drawn."""
    while True:
        words, options = COMMANDS[draw.choice([*COMMANDS, "pretrain", "finetune", "grid"])]
        names = [each.name for each in options if each.init and each.name not in BEYOND]
        drawn: list[str] = []
        for _ in range(draw.randint(1, 3)):
            drawn += [f"--{draw.choice(names)}", *([draw.choice(VALUES)] if draw.random() < 0.95 else [])]
        if draw.random() < 0.1:
            drawn += [draw.choice(VALUES)]
        yield [*words, *drawn]


def damages(draw: random.Random) -> Iterator[tuple[Path, str, bytes | None, list[str]]]:
    """Files of runs and models with something else in them, and a command that reads them.

    Yields:
        The file, what is done to it, its new content (None where it becomes a folder), and the command.
    """
    tune = COMMANDS["finetune"][0]
    commands = {
        "run": [["report", "run"], [*PRETRAIN, "--output_dir", "run"]],
        "tuned": [["report", "tuned"], [*COMMANDS["transfer"][0], "--model", "tuned"]],
        "cells": [["report", "cells"], [*GRID, "--models", "raft", "--output_dir", "cells"]],
        "raft": [["inspect", "raft"], ["report", "raft"], tune],
        "glue": [tune],
    }
    while True:
        folder = draw.choice([*commands])
        file = draw.choice(sorted(path for path in Path(folder).rglob("*") if path.is_file()))
        content = file.read_bytes()
        middle = draw.randrange(max(1, len(content)))
        kinds: dict[str, bytes | None] = {
            "emptied": b"",
            "a list": b"[1, 2]",
            "a number": b"7",
            "null": b"null",
            "an object": b'{"a": {"b": [1e999, NaN, null, "x"]}}',
            "nested": b"[" * 20_000,
            "bytes": bytes(range(256)),
            "cut off": content[:middle],
            "its end": content[middle:],
            "one byte": content[:middle] + b"\xff" + content[middle + 1 :],
            "numbers made strings": content.replace(b": 0", b': "x"').replace(b": 1", b': "y"'),
            "numbers made huge": content.replace(b"1", b"1e400"),
            "lists made objects": content.replace(b"[", b"{"),
            "another encoding": content.decode("utf-8", "replace").encode("utf-16"),
            "a folder": None,
        }
        kind = draw.choice([*kinds])
        yield file, kind, kinds[kind], draw.choice(commands[folder])


def world() -> None:
    """What commands work on: models, data, and finished runs of each kind."""
    documents(), glue()
    for name in ("base", "raft", "two-labels"):
        take(name)
    done = [
        command(*PRETRAIN, "--output_dir", "run", "--max_steps", 4, "--save_steps", 2),
        command(*FINETUNE, "--model", "raft", "--output_dir", "tuned", "--save_model", "true"),
        command(*GRID, "--models", "raft", "--output_dir", "cells"),
    ]
    assert all(each.startswith("status 0") for each in done), done


def judged(words: list[str]) -> str | None:
    """Run a command: what is wrong with what it did, or None."""
    begun = time.perf_counter()
    stream = io.StringIO()
    try:
        with contextlib.redirect_stderr(stream):
            outcome = command(*words)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begun
    if seconds > SECONDS:
        return f"took {seconds:.0f} s: {outcome}"
    is_whole = outcome.startswith("status 0") or re.match(r"status [12]; raft: \S", outcome)
    return None if is_whole and "left " not in outcome and "Traceback" not in outcome else outcome


def main() -> int:
    """Draw, run, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", type=int, default=200)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--verbose", action="store_true", help="Print what each came to.")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    wrong, here = 0, Path.cwd()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as place:
        os.chdir(made)
        world()
        plans: list[tuple[str, list[str], Path | None, bytes | None]] = []
        for words, _ in zip(lines(draw), range(arguments.commands), strict=False):
            plans.append((" ".join(words[-8:]), words, None, None))
        for (file, kind, content, words), _ in zip(damages(draw), range(arguments.files), strict=False):
            plans.append((f"{file} {kind}: {' '.join(words)[:80]}", words, file, content))
        for number, (what, words, damaged, content) in enumerate(plans):
            folder = Path(place) / str(number)
            shutil.copytree(made, folder)
            os.chdir(folder)
            if damaged is not None:
                damaged.unlink()
                if content is None:
                    damaged.mkdir()
                else:
                    damaged.write_bytes(content)
            problem = judged(words)
            os.chdir(here)
            shutil.rmtree(folder)
            wrong += problem is not None
            if problem is not None or arguments.verbose:
                print(f"{'WRONG' if problem else 'ok'} {number} {what}\n    {problem}"[:800], flush=True)
    print(f"{len(plans)} inputs, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
