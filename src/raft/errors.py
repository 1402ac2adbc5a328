"""What goes wrong by a user's input, and what goes wrong at work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def first_line(error: BaseException) -> str:
    """What an error of another library says in one line; its kind where it says nothing."""
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


class TrainingStopped(SystemExit):
    """A training that was asked to stop, and has saved all it needs to go on. Exit status 0.

    Attributes:
        message: one line with the command that goes on.
    """

    def __init__(self, message: str) -> None:
        super().__init__(0)
        self.message = message
