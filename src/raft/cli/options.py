"""One dataclass is a command's options: its fields are the flags, their metadata the help.

Commands with recipes read the same fields from a YAML file, ``--config``; flags beside it take precedence.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from raft.bounds import check_numbers
from raft.cli.quiet import print_plain
from raft.errors import InputError, suggest
from raft.training.arguments import is_slow_bfloat16

Settings = TypeVar("Settings")

SHOWN_IN_HELP = {
    "output_dir", "learning_rate", "max_steps", "num_train_epochs", "per_device_train_batch_size", "seed",
}  # fmt: skip
"""Training arguments that a command's help shows beside its own."""

FOREIGN_NAMES = {
    "lr": "learning_rate", "batch_size": "per_device_train_batch_size", "epochs": "num_train_epochs",
    "model_name_or_path": "model", "task_name": "task", "dataset_name": "dataset",
    "max_seq_length": "max_length",
}  # fmt: skip
"""What other scripts call these options."""


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
        InputError: for an unknown option, or a value that is of a wrong type, empty or out of bounds.
    """
    # transformers' annotation asks for its own DataClassType
    parser = _Parser(settings, prog=command, description=description, allow_abbrev=False)  # type: ignore[arg-type]
    parsed: Settings = _parse_words(parser, words)[0]
    return parsed


def parse_recipe(
    kinds: Sequence[Any],
    command: str,
    description: str,
    words: Sequence[str],
    instead: Mapping[str, str] | None = None,
    hidden: Collection[str] = (),
) -> tuple[Any, ...]:
    """Settings of several kinds, from a recipe (``--config FILE``) and from flags, which count more.

    The fields of ``transformers.TrainingArguments`` are flags too, and left out of the help.

    Args:
        kinds: dataclasses.
        command: as it is called.
        description: of it.
        words: of the command line.
        instead: fields that are no options of this command, and which option stands for each.
        hidden: fields that its help does not show, as they are of other commands.

    Raises:
        InputError: for an unknown option or key, a value that is of a wrong type, empty or out of bounds, or
            a file that is no recipe.
    """
    parser = _Parser(
        list(kinds),
        prog=command,
        description=description,
        epilog="Every argument of transformers.TrainingArguments is an option and a key of a recipe too.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", help="Recipe: a YAML file with any of these options.")
    inherited = ({field.name for field in fields(TrainingArguments)} - SHOWN_IN_HELP) | set(hidden)
    for action in parser._actions:
        if action.dest.removeprefix("no_") in inherited or action.dest in (instead or ()):
            action.help = argparse.SUPPRESS
    for name, other in (instead or {}).items():
        if any(word.partition("=")[0].replace("-", "_") == f"__{name}" for word in words):
            raise InputError(f"--{name} is no option of {command}: give --{other}")
    config = _find_recipe(words, parser)
    if config is not None:
        _set_defaults(parser, config, instead or {})
    return _parse_words(parser, words)[: len(kinds)]


def check_machine(arguments: TrainingArguments) -> None:
    """Say where this machine is slow at what is asked for, and raise ``InputError`` for what it cannot do:
    a service of ``--report_to`` or a library whose package is missing, a compiler's unknown mode."""
    if arguments.process_index == 0 and is_slow_bfloat16(arguments):
        print_plain("--bf16 is slow on this CPU, which has no instructions for bfloat16: leave it out")
    if arguments.use_liger_kernel and find_spec("liger_kernel") is None:
        raise InputError("--use_liger_kernel needs liger-kernel: pip install liger-kernel, or leave it out")
    if arguments.torch_compile:
        _check_compiler(arguments.torch_compile_mode, arguments.torch_compile_backend)
    try:
        for kind in get_reporting_integration_callbacks(arguments.report_to):
            kind()
    except (RuntimeError, ValueError, ImportError) as error:
        raise InputError(f"--report_to {' '.join(arguments.report_to or [])}: {error}") from error


def _check_compiler(mode: str | None, backend: str | None) -> None:
    from torch import _dynamo, _inductor  # which take a second to import

    modes, backends = list(_inductor.list_mode_options()), _dynamo.list_backends()
    if mode is not None and mode not in modes:
        raise InputError(f"--torch_compile_mode must be one of {', '.join(modes)}, not {mode!r}")
    if backend is not None and backend not in _dynamo.list_backends(exclude_tags=()):
        raise InputError(f"--torch_compile_backend must be one of {', '.join(backends)}, not {backend!r}")


def _parse_words(parser: _Parser, words: Sequence[str]) -> tuple[Any, ...]:
    try:
        parsed = parser.parse_args_into_dataclasses(
            list(words), return_remaining_strings=True, look_for_args_file=False
        )
    # a dataclass's own checks, a package or a file that an option needs
    except (ValueError, ImportError, OSError) as error:
        raise InputError(str(error)) from error
    if parsed[-1]:
        word = parsed[-1][0]
        option = word.partition("=")[0]
        close = _suggest(parser, option, "--")
        parser.error(f"unknown option {option!r}{close}" if word.startswith("-") else f"unexpected {word!r}")
    for settings in filter(is_dataclass, parsed):  # and what else there is: the recipe, the remaining words
        check_numbers(settings)
        _check_texts(settings)
    return tuple(parsed[:-1])


def _suggest(parser: _Parser, name: str, prefix: str = "") -> str:
    known = [action.dest for action in parser._actions if action.option_strings]
    plain = name.lstrip("-").replace("-", "_")
    meant = FOREIGN_NAMES.get(plain, plain)
    return suggest(f"{prefix}{meant}", [f"{prefix}{option}" for option in known])


def _check_texts(settings: Any) -> None:
    """Refuse texts that are empty, which mostly comes of a shell's variable that is not set, and those with a
    character that no path can hold."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        given = value if isinstance(value, list) else [value]
        if value != field.default and any(isinstance(text, str) and not text.strip() for text in given):
            raise InputError(f"--{field.name} is empty: give it a value, or leave it out")
        if any(isinstance(text, str) and "\0" in text for text in given):
            raise InputError(f"--{field.name} holds a NUL character")


def _find_recipe(words: Sequence[str], parser: _Parser) -> Path | None:
    alone = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    alone.add_argument("--config", type=Path)
    try:
        recipe: Path | None = alone.parse_known_args(list(words))[0].config
    except argparse.ArgumentError as error:
        parser.error(str(error))
    return recipe


def _set_defaults(parser: _Parser, file: Path, instead: Mapping[str, str]) -> None:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the recipe {file}: {reason}") from error
    if not isinstance(values, dict):
        raise InputError(f"the recipe {file} holds no 'key: value' lines")
    # the first of a name: --no_deepnorm follows --deepnorm, whose default counts
    actions = {action.dest: action for action in reversed(parser._actions)}
    for key, value in values.items():
        if key in instead:
            raise InputError(f"{key} in the recipe {file} is no option of {parser.prog}: give {instead[key]}")
        if key not in actions or key in ("config", "help"):
            raise InputError(f"unknown key {key!r} in the recipe {file}{_suggest(parser, str(key))}")
        action = actions[key]
        takes_several = action.nargs in ("+", "*")
        if value is None and action.default is not None:
            raise InputError(f"{key} in the recipe {file} has no value")
        if isinstance(value, list) and not takes_several:
            raise InputError(f"{key} in the recipe {file} is one value, not a list")
        action.required = False
        convert: Any = action.type
        if takes_several:
            values_of = value if isinstance(value, list) else [value]
            try:
                action.default = [convert(str(entry)) if convert else entry for entry in values_of]
            except ValueError as error:
                raise InputError(f"{key} in the recipe {file}: {error}") from error
            continue
        # as a string, the value goes through the option's own conversion, which YAML's 5e-3 needs
        action.default = value if value is None or isinstance(value, dict) else str(value)
