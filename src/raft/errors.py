"""Errors of a user's input, and errors at work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

REWORDED = {
    "weights_only": "it is a pickle of more than tensors, which could run code, so it is not read: where "
    "it can be trusted, save its tensors as safetensors elsewhere, and give that",
    "trust_remote_code": "it needs code that comes with it, which is not run: only models whose architecture "
    "is part of transformers can be read",
}
"""By the option that a library advises to switch on: the message instead."""


def first_line(error: BaseException) -> str:
    """The message of another library's error in one line; its type where it has none.

    Advice to run downloaded code is replaced by the reason why it is not run.
    """
    for option, message in REWORDED.items():
        if option in str(error):
            return message
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def suggest(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known name that is most similar, if any is."""
    matches = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; the nearest is {matches[0]!r}" if matches else ""


class InputError(ValueError):
    """Bad input; the message is one line that says what was wrong and what to do. Exit status 2."""


class TrainingError(RuntimeError):
    """A training that cannot continue; the message is one line. Exit status 1."""


class WriteError(OSError):
    """A file that could not be written; the message is one line that names it. Exit status 1.

    Attributes:
        path: of the file.
        reason: in a few words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} could not be written: {reason}")
        self.path, self.reason = path, reason


class TrainingStopped(SystemExit):
    """A training that was stopped by request and has saved what it needs to resume. Exit status 0.

    Attributes:
        message: one line with the command to resume.
    """

    def __init__(self, message: str) -> None:
        super().__init__(0)
        self.message = message
