"""Time how long ``import raft`` and the command take to start, beside what they cannot do without.

    python results/start-up/measure_start_up.py --rounds 5 > results/start-up/table.md

Rounds are interleaved: each measures every line once. Imports are the sum of what ``python -X importtime``
counts, commands the wall time of a process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

TORCH, TRANSFORMERS = "import torch", "from transformers import PreTrainedModel"
IMPORTS = {
    "import raft": TORCH,
    "import raft; raft.rational, raft.Rational": TORCH,
    "import raft; from transformers import PreTrainedModel": TRANSFORMERS,
    "from transformers import PreTrainedModel; import raft": TRANSFORMERS,
    "import raft; raft.convert": TRANSFORMERS,
}
"""What is measured, and its peer."""
COMMANDS = (
    "--help", "--version", "pretrian", "demo --help", "pretrain --help", "finetune --help", "grid --help",
    "report --help", "convert --help", "inspect --help", "bench kernel --help", "recipes",
)  # fmt: skip


def main() -> None:
    """Print a table of the imports, and one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    imports: dict[str, list[float]] = {code: [] for code in (TORCH, TRANSFORMERS, *IMPORTS)}
    commands: dict[str, list[float]] = {words: [] for words in COMMANDS}
    time_command("--help")  # byte code is written, files are in memory
    for code in imports:
        time_imports(code)
    for _ in range(rounds):
        for code, seconds in imports.items():
            seconds.append(time_imports(code))
        for words, seconds in commands.items():
            seconds.append(time_command(words))
    print("| imports | seconds, each round | median | peer | ratio of medians |")
    print("| --- | --- | ---: | --- | ---: |")
    for code, seconds in imports.items():
        peer = IMPORTS.get(code)
        ratio = "" if peer is None else f"{median(seconds) / median(imports[peer]):.2f}"
        name = "" if peer is None else f"`{peer}`"
        print(f"| `{code}` | {format_seconds(seconds)} | {median(seconds):.3f} | {name} | {ratio} |")
    print("\n| command | seconds, each round | median |")
    print("| --- | --- | ---: |")
    for words, seconds in commands.items():
        print(f"| `raft {words}` | {format_seconds(seconds)} | {median(seconds):.3f} |")


def time_imports(code: str) -> float:
    """Seconds that the imports of a line of Python take, in a new process."""
    lines = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    ).stderr.splitlines()
    counted = [line.removeprefix("import time:").split("|")[0] for line in lines]
    return sum(int(microseconds) for microseconds in counted if microseconds.strip().isdecimal()) / 1e6


def time_command(words: str) -> float:
    """Seconds of ``raft WORDS``."""
    raft = Path(sys.executable).with_name("raft")
    started = time.perf_counter()
    subprocess.run([raft, *words.split()], capture_output=True, check=False)
    return time.perf_counter() - started


def format_seconds(seconds: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in seconds)


if __name__ == "__main__":
    main()
