"""What goes wrong by a user's input, and what goes wrong at work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

REFUSED = {
    "weights_only": "it is a pickle of more than tensors, which could run code, so it is not read: where "
    "it can be trusted, save its tensors as safetensors elsewhere, and give that",
    "trust_remote_code": "it needs code that comes with it, which is not run: only models whose architecture "
    "is part of transformers can be read",
}
"""What libraries advise to switch on, and what is said instead."""


def first_line(error: BaseException) -> str:
    """What an error of another library says in one line; its kind where it says nothing.

    Where it advises to run what was downloaded, the line says that it is not read.
    """
    for advice, instead in REFUSED.items():
        if advice in str(error):
            return instead
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known one that is written most like it, if any is."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; the nearest is {found[0]!r}" if found else ""


class InputError(ValueError):
    """Bad input; the message is one line that says what was wrong and what to do. Exit status 2."""


class TrainingError(RuntimeError):
    """A training that cannot go on, told in one line. Exit status 1."""


class WriteError(OSError):
    """A file that could not be written, told in one line that names it. Exit status 1.

    Attributes:
        path: of the file.
        reason: in a few words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} could not be written: {reason}")
        self.path, self.reason = path, reason


class TrainingStopped(SystemExit):
    """A training that was asked to stop, and has saved all it needs to go on. Exit status 0.

    Attributes:
        message: one line with the command that goes on.
    """

    def __init__(self, message: str) -> None:
        super().__init__(0)
        self.message = message
