"""One dataclass is a command's options: its fields are the flags, their metadata the help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from transformers import HfArgumentParser

from raft.errors import InputError

Settings = TypeVar("Settings")


class _Parser(HfArgumentParser):
    def add_argument(self, *names: str, positional: bool = False, **options: Any) -> Any:
        """A field whose metadata say so is given by its place, not by a flag."""
        if positional:
            options.pop("required", None)
            names = (names[0].removeprefix("--"),)
        return super().add_argument(*names, **options)

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
        word = rest[-1][0]
        parser.error(f"unknown option {word!r}" if word.startswith("-") else f"unexpected {word!r}")
    return parsed
