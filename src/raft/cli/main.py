"""``raft``: choose a command, and tell a user's mistake in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from rich.console import Console

import raft
from raft.cli import bench, convert, demo, finetune, grid, inspect, pretrain, report, transfer
from raft.errors import InputError, TrainingError

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "demo": (demo.main, "pretrain, fine-tune and compare a RAFT and its FAFT, in minutes, offline"),
    "pretrain": (pretrain.main, "pretrain a RAFT or its FAFT from a recipe, or compare several"),
    "finetune": (finetune.main, "fine-tune a pretrained model on a task of GLUE, SNLI, SQuAD or your own"),
    "grid": (grid.main, "fine-tune tasks x models x activations x seeds, each once, and compare them"),
    "report": (
        report.main,
        "show runs of demo, pretrain and grid: tables, and a page with the learned curves",
    ),
    "transfer": (transfer.main, "judge a tuned model on another task, without training"),
    "bench": (bench.main, "time RAFs on this machine: 'raft bench kernel|step|pretraining|finetuning'"),
    "convert": (convert.main, "make a RAFT of a model with fixed activations"),
    "inspect": (inspect.main, "show the RAFs of a RAFT, and what they began as"),
}


def usage() -> str:
    """The help text."""
    lines = [f"  {name:10s} {text}" for name, (_, text) in COMMANDS.items()]
    return (
        "usage: raft COMMAND [options]\n\nTransformers with learnable activation functions.\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\n'raft COMMAND --help' lists a command's options; 'raft --version' prints the version."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0, 1 for a failure at work, 2 for bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"raft {raft.__version__}")
        return 0
    if words[0] not in COMMANDS:
        return _fail(f"unknown command {words[0]!r}; known are {', '.join(COMMANDS)}", 2)
    try:
        COMMANDS[words[0]][0](words[1:])
    except InputError as error:
        return _fail(str(error), 2)
    except (TrainingError, OSError) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; what is not whole was not written", 130)
    return 0


def _fail(message: str, status: int) -> int:
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"[bold red]raft:[/] {line.replace('[', chr(92) + '[')}"
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
