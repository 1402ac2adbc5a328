"""The command line: numbers, names, what is refused before anything is read or written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd

from raft.cli.main import main
from tests.cases.replay import case, change_json, command, finetune, glue, grid, pretrain, take, take_run

REFUSED = r"^status 2; raft: \S.*"

for option, value in (
    ("per_device_train_batch_size", 0), ("seed", -1), ("seed", 99999999999999999999),
    ("initializer_range", "nan"), ("warmup_steps", "nan"), ("adam_beta2", 2), ("intermediate_size", -1),
    ("validation_sequences", -1),
    ("compare", ""), ("weight_decay", -1), ("max_grad_norm", "nan"),
):  # fmt: skip
    case("C", f"pretrain --{option} {value}", rf"{REFUSED}{option}")(partial(pretrain, f"--{option}", value))

for option, value in (
    ("per_device_eval_batch_size", 0), ("gradient_accumulation_steps", 0), ("num_train_epochs", "inf"),
    ("train_examples", "²"), ("num_train_epochs", 0), ("patience", -1), ("max_steps", -5),
):  # fmt: skip
    case("C", f"finetune --{option} {value}", rf"{REFUSED}{option}")(partial(finetune, f"--{option}", value))

case("C", "finetune --tuning raf of a model without RAFs", rf"{REFUSED}RAF")(
    lambda: finetune("--tuning", "raf", model="base")
)
case("C", "convert --layers 0-99999999999", r"^status 2; raft: .*layers")(
    lambda: command("convert", take("base"), "dst", "--layers", "0-99999999999")
)


@case("C", "layers 0-99999999999 in a raf block", rf"{REFUSED}layers")
def _() -> str:
    change_json(f"{take('raft')}/config.json", raf={"layers": "0-99999999999"})
    return command("inspect", "raft")


case("C", "an unknown option", rf"{REFUSED}--learn_rate.*--learning_rate")(
    lambda: finetune("--learn_rate", "1e-3")
)
case("C", "finetune --activation gelu", "^status 0")(lambda: finetune("--activation", "gelu", model="base"))


@case("C", "grid --transfer with a task that does not map", "^status 0.*")
def _() -> str:
    sts = glue() / "STS-B"
    sts.mkdir()
    head = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
    lines = [f"{i}\tm\tm\t2012\t1\tn\tn\tanna sees {i}\tthe red {i}\t{i % 5}.0" for i in range(16)]
    for part in ("train", "dev"):
        (sts / f"{part}.tsv").write_text("\n".join([head, *lines]) + "\n")
    snli = Path("nli/snli")
    snli.mkdir(parents=True)
    rows = ["premise\thypothesis\tlabel"]
    rows += [f"anna sees\tthe old\t{['entailment', 'neutral', 'contradiction'][i % 3]}" for i in range(9)]
    for part in ("train", "dev", "test"):
        (snli / f"{part}.tsv").write_text("\n".join(rows) + "\n")
    words = [
        "--tasks",
        "rte",
        "stsb",
        "--transfer",
        "snli",
        "--transfer_data_dir",
        "nli",
        "--activations",
        "keep",
    ]
    return grid(*words)


@case("C", "a table of differences between models of one class", "^marked in md, tex$")
def _() -> str:
    done = grid("--activations", "keep", "raf", "--learning_rate", "0",
                "--raf_learning_rate", "0")  # fmt: skip
    if not done.startswith("status 0"):
        return done
    frame = pd.read_csv("out/results.csv")
    if not frame["constant"].all():
        return f"its models do not predict one class: {frame['constant'].tolist()}"
    marked = []
    for kind in ("md", "tex"):
        text = Path(f"out/tables.{kind}").read_text()
        differences = text[text.index("ifference") :]
        if "one class" in differences or "*" in differences or "dagger" in differences:
            marked.append(kind)
    return f"marked in {', '.join(marked)}"


def process(*words: object, then: str = "", **variables: str) -> str:
    """``raft`` as a process of its own, in a shell's pipe perhaps."""
    line = " ".join([sys.executable, "-m", "raft.cli.main", *map(str, words)])
    script = f"set -o pipefail; {line} {then}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, **variables}, check=False,
        errors="replace",
    )  # fmt: skip
    return f"status {done.returncode}; stderr {done.stderr.strip()[-300:]!r}; {done.stdout[-300:]}"


QUIET = r"^status (0|141); stderr ''"
case("C", "raft --help | true", QUIET, is_slow=True)(lambda: process("--help", then="| true"))
case("C", "raft inspect T | true", QUIET, is_slow=True)(
    lambda: process("inspect", take("raft"), then="| true")
)
case("C", "raft inspect T in ASCII", r"^status 0; stderr ''; .*\?", is_slow=True)(
    lambda: process("inspect", take("raft"), PYTHONIOENCODING="ascii")
)


@case("C", "raft report RUN on a terminal of ASCII", r"^status 0; stderr ''; .*\?")
def _() -> str:
    take_run()
    out, err = (io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["report", "out"])
    printed, said = (stream.buffer.getvalue().decode("ascii") for stream in (out, err))
    return f"status {status}; stderr {said!r}; {printed}"


@case("C", "a backend of notebooks in MPLBACKEND", "^status 0; (?!.*Traceback)", is_slow=True)
def _() -> str:
    take_run()
    words = ["pretrain", "--config", "out/recipe.yaml", "--output_dir", "second"]
    return process(*words, MPLBACKEND="module://matplotlib_inline.backend_inline")


@case("C", "bfloat16 on a CPU without its instructions", "^(a line says so|the CPU has them)$")
def _() -> str:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else "bf16"
    if "bf16" in flags:
        return "the CPU has them"
    words = ["--model", take("base"), "--task", "rte", "--data_dir", glue(), "--num_train_epochs", 1]
    done = process(
        "finetune",
        *words,
        "--bf16",
        "true",
        "--report_to",
        "none",
        "--output_dir",
        "out",
        then="| grep bfloat16",
    )
    return "a line says so" if "bfloat16" in done else done


def recipe(**values: object) -> None:
    """Write ``recipe.yaml``."""
    Path("recipe.yaml").write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in values.items()))


@case("C", "a number out of bounds in a recipe", rf"{REFUSED}adam_beta2")
def _() -> str:
    recipe(adam_beta2=2)
    return pretrain("--config", "recipe.yaml")
