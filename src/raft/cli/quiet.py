"""What a command silences: the progress bars and remarks of libraries, in which its own would drown."""

from __future__ import annotations

import os

import datasets
import transformers


def quieten(tokenizer_threads: bool = True) -> None:
    """Leave the talking to the command.

    Args:
        tokenizer_threads: without them where small batches are tokenized and processes work side by side.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    if not tokenizer_threads:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
