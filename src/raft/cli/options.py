"""One dataclass is a command's options: its fields are the flags, their metadata the help.

Commands with recipes read the same fields from a YAML file, ``--config``; flags beside it take precedence.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from raft.bounds import check_numbers
from raft.cli.help import WIDTH, format_help
from raft.cli.quiet import print_plain
from raft.cli.recipes import find_recipe, list_recipes
from raft.errors import InputError, suggest
from raft.training.arguments import is_slow_bfloat16

Settings = TypeVar("Settings")


class _HelpAll(argparse.Action):
    def __call__(self, parser: Any, *_: Any) -> None:
        print(parser.format_help(everything=True), end="")
        parser.exit()


ALIASES = {
    "lr": ("learning_rate",),
    "batch_size": ("per_device_train_batch_size",),
    "epochs": ("num_train_epochs",),
    "model_name_or_path": ("model", "models", "src"),
    "tokenizer_name": ("tokenizer",),
    "task_name": ("task", "tasks"),
    "dataset_name": ("dataset", "corpus"),
    "train_file": ("dataset", "corpus"),
    "text_column_name": ("text_column", "text"),
    "label_column_name": ("label",),
    "max_seq_length": ("max_length", "sequence_length"),
    "block_size": ("sequence_length",),
    "max_train_samples": ("train_examples",),
}
"""What ``run_mlm.py``, ``run_glue.py`` and TRL call options; the first that a command has is meant."""


class _Parser(HfArgumentParser):
    def __init__(self, kinds: Any, command: str, description: str, instead: Collection[str] = ()) -> None:
        self.instead = instead  # fields that are no options of this command
        super().__init__(kinds, prog=command, description=description, allow_abbrev=False)
        self.add_argument("--help-all", action=_HelpAll, nargs=0, help="List all options.")

    def options(self) -> dict[str, argparse.Action]:
        """By name; --no_deepnorm follows --deepnorm, whose default counts."""
        actions = {action.dest: action for action in reversed(self._actions)}
        return {name: action for name, action in actions.items() if name not in self.instead}

    def resolve(self, name: str) -> str:
        """The option that another project's name of it means."""
        options = self.options()
        if name in options:
            return name
        return next((own for own in ALIASES.get(name, ()) if own in options), name)

    def translate(self, words: Sequence[str]) -> list[str]:
        """Put our options in place of the names that others give them."""
        translated = []
        for word in words:
            name, equals, value = word.partition("=")
            plain = name.removeprefix("--").replace("-", "_")
            own = self.resolve(plain)
            if not name.startswith("--") or own == plain:
                translated.append(word)
            elif self.options()[own].option_strings:
                translated.append(f"--{own}{equals}{value}")
            elif value:  # given by its place
                translated.append(value)
        return translated

    def format_help(self, everything: bool = False) -> str:
        actions = [action for action in self._actions if action.dest not in self.instead]
        command = self.prog.removeprefix("raft ")
        foreign = {field.name for field in fields(TrainingArguments)}
        text = format_help(command, self.description or "", actions, everything, foreign)
        if everything:
            own = {name: self.resolve(name) for name in ALIASES}
            known = [f"--{name} for --{option}" for name, option in own.items() if option != name]
            text += "\n" + textwrap.fill(f"Other projects' names work too: {', '.join(known)}.", WIDTH) + "\n"
        return text

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
    parser = _Parser(settings, command, description)
    parsed: Settings = _parse_words(parser, parser.translate(words))[0]
    return parsed


def parse_recipe(
    kinds: Sequence[Any],
    command: str,
    description: str,
    words: Sequence[str],
    instead: Mapping[str, str] | None = None,
) -> tuple[Any, ...]:
    """Settings of several kinds, from a recipe (``--config FILE``) and from flags, which count more.

    The fields of ``transformers.TrainingArguments`` are flags too.

    Args:
        kinds: dataclasses.
        command: as it is called.
        description: of it.
        words: of the command line.
        instead: fields that are no options of this command, and which option stands for each.

    Raises:
        InputError: for an unknown option or key, a value that is of a wrong type, empty or out of bounds, or
            a file that is no recipe.
    """
    parser = _Parser(list(kinds), command, description, instead=instead or ())
    has_recipes = list_recipes(command.removeprefix("raft "))
    text = "One of 'raft recipes', or a YAML file of options." if has_recipes else "A YAML file of options."
    parser.add_argument("--config", metavar="RECIPE", help=text)
    words = parser.translate(words)
    for name, other in (instead or {}).items():
        if any(word.partition("=")[0].replace("-", "_") == f"__{name}" for word in words):
            raise InputError(f"--{name} is no option of {command}: give --{other}")
    config = _read_config(words, parser)
    if config is not None:
        _set_defaults(parser, find_recipe(_find_home(config), command.removeprefix("raft ")), instead or {})
    return _parse_words(parser, words)[: len(kinds)]


def check_alone(arguments: TrainingArguments, command: str, instead: str) -> None:
    """Raise ``InputError`` where a launcher of several processes started a command that trains in one."""
    if arguments.world_size > 1:
        raise InputError(
            f"raft {command} trains in one process, and a launcher started {arguments.world_size}: {instead}"
        )


def check_machine(arguments: TrainingArguments) -> None:
    """Say where this machine is slow at what is asked for, and raise ``InputError`` for what it cannot do:
    a service of ``--report_to`` or a library whose package is missing, a compiler's unknown mode."""
    if arguments.process_index == 0 and is_slow_bfloat16(arguments):
        print_plain("--bf16 is slow on this CPU, which has no instructions for bfloat16: leave it out")
    if arguments.fp16 and arguments.device.type == "cpu":  # Accelerate would go on in float32
        raise InputError("--fp16 needs a GPU: leave it out, or give --bf16")
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
        for field in fields(settings):
            setattr(settings, field.name, _find_home(getattr(settings, field.name)))
    return tuple(parsed[:-1])


def _suggest(parser: _Parser, name: str, prefix: str = "") -> str:
    known = [dest for dest, action in parser.options().items() if action.option_strings]
    plain = name.lstrip("-").replace("-", "_")
    # such as out, or output_dir, where only the other is known
    alike = [option for option in known if option.startswith(plain) or plain.startswith(option)]
    return suggest(
        f"{prefix}{alike[0] if len(alike) == 1 else plain}", [f"{prefix}{option}" for option in known]
    )


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


def _find_home(value: Any) -> Any:
    """A path with the home folder in the place of a ``~`` that no shell has seen, as in a recipe."""
    if isinstance(value, list):
        return [_find_home(each) for each in value]
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


def _read_config(words: Sequence[str], parser: _Parser) -> str | None:
    alone = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    alone.add_argument("--config")
    try:
        recipe: str | None = alone.parse_known_args(list(words))[0].config
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
    actions = parser.options()
    for key, value in values.items():
        if key in instead:
            raise InputError(f"{key} in the recipe {file} is no option of {parser.prog}: give {instead[key]}")
        key = parser.resolve(str(key))
        if key not in actions or key in ("config", "help", "help_all"):
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
