"""What a command silences: the progress bars and remarks of libraries, and itself where nobody listens."""

from __future__ import annotations

import os
import sys
import warnings

import datasets
import rich.console
import transformers


def discard_output() -> None:
    """Write what is still to be printed nowhere: a pipe's reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console(rich.console.Console):
    """A console that survives a closed pipe: a training is worth more than a pipe to ``head``."""

    def on_broken_pipe(self) -> None:
        """Go on: Rich would end the process."""
        discard_output()

    def say(self, prose: str) -> None:
        """Print sentences, broken between words where the terminal is narrower."""
        self.print(prose, markup=False, highlight=False)

    def say_whole(self, line: str) -> None:
        """Print a line with a path or a command in it, which stays whole so that it can be copied."""
        self.print(line, markup=False, highlight=False, soft_wrap=True)


def print_plain(text: str) -> None:
    """Print text without markup, highlighting or wrapping."""
    Console().say_whole(text)


def quieten(tokenizer_threads: bool = True) -> None:
    """Leave the talking to the command.

    Args:
        tokenizer_threads: without them where small batches are tokenized and processes work side by side.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    # PEFT asks for it
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    if not tokenizer_threads:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
