"""``raft``: choose a command, and tell a user's mistake in one line.

Help and mistyped commands come at once: what takes seconds to import is imported by the commands.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import raft
from raft.cli.help import read_page
from raft.cli.recipes import find_recipe
from raft.errors import InputError, TrainingError, suggest

COMMANDS = {
    "demo": "see a learned activation win where activations decide, in a minute",
    "pretrain": "pretrain a RAFT or a FAFT from a recipe, or compare several",
    "discover": "find functions by several models, and start new ones from them",
    "finetune": "fine-tune a model on GLUE, SNLI, SQuAD or your own data",
    "grid": "fine-tune tasks x models x activations x seeds, and compare them",
    "report": "show runs: tables, and one page with figures and learned curves",
    "transfer": "evaluate a tuned model on another task, without training",
    "evaluate": "test language models without training: BLiMP, Zorro, perplexity",
    "bench": "time RAFs on this machine beside named peers",
    "convert": "make a RAFT of a model with fixed activations",
    "inspect": "show the RAFs of a RAFT, and what they started from",
    "recipes": "list the recipes for --config, and what each takes",
}
"""What each does; a module of this package has its name, and is imported when it is called."""

HELP = ("-h", "--help")
VERSION = ("-V", "--version")


def load_command(name: str) -> Callable[[Sequence[str]], None]:
    """Import a command's ``main``, which takes the remaining arguments."""
    run: Callable[[Sequence[str]], None] = import_module(f"raft.cli.commands.{name}").main
    return run


def format_usage() -> str:
    lines = [f"  {name:10s} {text}" for name, text in COMMANDS.items()]
    return (
        "usage: raft COMMAND [options]\n\nTransformers with learnable activation functions.\n\n"
        "example:\n  raft demo --out runs/demo\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\n'raft COMMAND --help' lists a command's options."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0, 1 for a failure at work, 2 for bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # figures are files: what draws them elsewhere, in a notebook say, may not be installed here
    os.environ["MPLBACKEND"] = "agg"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no "±" gets a "?"
    try:
        try:
            return _run(words)
        finally:
            if sys.stdout is not None:  # closed by the shell's ">&-"
                sys.stdout.flush()
    except OSError as error:  # of the flush
        from raft.cli.quiet import discard_output

        discard_output()  # or the interpreter would try again at its end, and tell of it
        is_wanted = not isinstance(error, BrokenPipeError)  # 'raft --help | head': who read has enough
        return _fail(f"cannot print: {error.strerror}", 1) if is_wanted else 0


def _run(words: Sequence[str]) -> int:
    if words[:1] == ["help"] or (len(words) > 1 and words[0] in HELP):
        words = [*words[1:], "--help"]
    if not words or words[0] in HELP:
        print(format_usage())
        return 0 if words else 2
    if words[0] in VERSION:
        print(f"raft {raft.__version__}")
        return 0
    if words[0] not in COMMANDS:
        known = f"known are {', '.join(COMMANDS)}{suggest(words[0], COMMANDS)}"
        return _fail(f"unknown command {words[0]!r}; {known}", 2)
    page = read_page(" ".join(words[:-1])) if words[-1] in HELP else None
    if page is not None:
        print(page, end="")
        return 0
    try:
        if "--config" in words[1:-1]:
            find_recipe(words[words.index("--config") + 1], words[0])  # a wrong name is told at once
        load_command(words[0])(words[1:])
    except InputError as error:
        return _fail(str(error), 2)
    except BrokenPipeError:
        raise  # who read the output has enough
    except (TrainingError, OSError) as error:
        return _fail(str(error), 1)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":  # torch's
            raise
        return _fail(f"{str(error).partition('. ')[0]}: smaller batches need less memory", 1)
    except KeyboardInterrupt:
        return _fail("interrupted; what is not whole was not written", 130)
    return 0


def _fail(message: str, status: int) -> int:
    from rich.console import Console

    # names in files may hold what steers a terminal
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in " ".join(message.split()))
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"[bold red]raft:[/] {line.replace('[', chr(92) + '[')}"
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
