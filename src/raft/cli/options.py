"""One dataclass is a command's options: its fields are the flags, their metadata the help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, TypeVar

from transformers import HfArgumentParser

from raft.errors import InputError

Settings = TypeVar("Settings")


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Argparse would print the whole usage before the one line that matters."""
        raise InputError(f"{message}; '{self.prog} --help' lists the options")


def parse(settings: type[Settings], command: str, description: str, words: Sequence[str]) -> Settings:
    """The settings that the words of a command line give.

    Raises:
        InputError: for an unknown option or a value of a wrong type.
    """
    # transformers' annotation asks for its own DataClassType
    parser = _Parser(settings, prog=command, description=description, allow_abbrev=False)  # type: ignore[arg-type]
    parsed, *rest = parser.parse_args_into_dataclasses(
        list(words), return_remaining_strings=True, look_for_args_file=False
    )
    if rest[-1]:
        parser.error(f"unknown option {rest[-1][0]!r}")
    return parsed
