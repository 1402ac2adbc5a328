"""What ``raft COMMAND --help`` prints: the options of a command in groups, the common ones first.

To build a command's options its libraries have to be imported, which takes seconds. So the texts lie in
``help/``, one file a command; ``make help`` writes them anew.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).parent / "help"
WIDTH = 80
INDENT = 28

METAVARS = {
    "corpus": "TEXTS", "degrees": "M N", "figures": "FOLDER", "glue_dir": "FOLDER", "data_dir": "FOLDER",
    "json": "FILE", "formulas": "FILE", "labels": "OLD=NEW", "out": "PATH", "output_dir": "FOLDER",
    "plot": "FILE", "shapes": "RxC",
}  # fmt: skip
RAFS = ("raf_learning_rate", "raf_lr_scheduler_type")
TASK = ("task", "data_dir", "dataset", "text", "second_text", "label")
SLURM = ("slurm", "slurm_partition", "slurm_gpus_per_node", "slurm_hours")
TABLE = ("device", "seconds", "compile", "out", "overwrite")


@dataclass(frozen=True)
class Layout:
    """How a command's help is ordered.

    Attributes:
        example: command lines.
        groups: by heading, the options that the help shows; ``--help-all`` shows the others too.
        required: options without which the command ends with an error.
    """

    example: str
    groups: Mapping[str, Sequence[str]]
    required: Collection[str] = ()

    @property
    def takes_recipe(self) -> bool:
        return any("config" in names for names in self.groups.values())


LAYOUTS = {
    "demo": Layout(
        "raft demo --out runs/demo",
        {"run": ("seeds", "max_steps"), "output": ("out", "overwrite")},
    ),
    "pretrain": Layout(
        "raft pretrain --config cpu-15min --compare raf,gelu --seeds 3\n"
        "raft pretrain --config gpt-cpu-15min --corpus TEXTS --compare raf,gelu,relu2",
        {
            "run": ("config", "output_dir", "compare", "seeds", "seed", "processes", "evaluate"),
            "data": ("corpus", "tokenizer", "vocab_size", "sequence_length"),
            "model": ("objective", "architecture", "model", "num_hidden_layers", "hidden_size"),
            "RAFs": ("activation", "raf_sites", "raf_init", "degrees", "version", *RAFS),
            "optimisation": ("max_steps", "global_batch_size", "per_device_train_batch_size",
                             "learning_rate", "warmup_steps", "bf16"),
            "Slurm": ("slurm",),
        },
        required=("max_steps",),
    ),
    "discover": Layout(
        "raft discover --config discover-cpu --corpus TEXTS --output_dir runs/found",
        {
            "run": ("config", "output_dir", "num_models", "seeds", "seed", "processes", "fixed", "evaluate"),
            "data": ("corpus", "tokenizer", "vocab_size", "sequence_length"),
            "model": ("objective", "architecture", "model", "num_hidden_layers", "hidden_size"),
            "RAFs": ("activation", "raf_sites", "raf_shared", "raf_init", "degrees", "version", *RAFS),
            "optimisation": ("max_steps", "global_batch_size", "learning_rate", "warmup_steps", "bf16"),
        },
        required=("max_steps",),
    ),
    "finetune": Layout(
        "raft finetune --model runs/cpu-15min --task rte --output_dir runs/rte",
        {
            "run": ("config", "output_dir", "overwrite", "save_model", "seed"),
            "model": ("model", "activation", "tuning"),
            "data": (*TASK, "train_examples", "split", "max_length"),
            "RAFs": ("raf_sites", "degrees", "version", *RAFS),
            "optimisation": ("num_train_epochs", "patience", "per_device_train_batch_size", "learning_rate",
                             "bf16"),
        },
    ),
    "grid": Layout(
        "raft grid --config cpu-1hour --data_dir GLUE --output_dir runs/glue",
        {
            "run": ("config", "output_dir", "processes"),
            "what is varied": ("models", "activations", "tasks", "sizes", "tunings", "seeds",
                               "search_learning_rates", "search_raf_learning_rates"),
            "data": ("data_dir", "dataset", "split", "max_length"),
            "RAFs": RAFS,
            "optimisation": ("num_train_epochs", "patience", "per_device_train_batch_size", "learning_rate",
                             "bf16"),
            "Slurm": ("slurm", "slurm_partition", "slurm_hours"),
        },
    ),
    "report": Layout("raft report runs/cpu-15min --figures paper/figures", {"output": ("out", "figures")}),
    "transfer": Layout(
        "raft transfer --model runs/rte --task snli",
        {"model": ("model", "labels"), "data": (*TASK, "metric", "max_length"), "output": ("out",)},
        required=("model",),
    ),
    "evaluate": Layout(
        "raft evaluate runs/gelu-1 runs/raf-1 --task blimp --output_dir runs/blimp",
        {
            "what is tested": ("task", "data_dir", "items", "whole_words", "split", "max_length"),
            "run": ("dtype", "batch_tokens"),
            "output": ("output_dir", "overwrite"),
        },
        required=("task",),
    ),
    "convert": Layout(
        "raft convert google-bert/bert-base-uncased bert-raft --calibration texts.txt",
        {
            "data": ("calibration", "calibration_texts", "text_column"),
            "RAFs": ("sites", "layers", "function", "settings", "init", "degrees", "version", "groups",
                     "shared", "residual"),
            "model": ("task",),
            "output": ("overwrite",),
        },
    ),
    "inspect": Layout(
        "raft inspect runs/cpu-15min --texts texts.txt --plot curves.svg",
        {
            "data": ("texts", "texts_read", "text_column"),
            "what is shown": ("interval", "fixed", "ablation"),
            "output": ("plot", "formulas", "json"),
        },
    ),
    "bench kernel": Layout(
        "raft bench kernel --shapes 4096x3072 --dtypes bfloat16",
        {"what is measured": ("shapes", "dtypes"), "run": TABLE},
    ),
    "bench step": Layout(
        "raft bench step --layers 2",
        {
            "what is measured": ("dtype", "layers", "hidden_size", "batch_size", "sequence_length",
                                 "vocab_size"),
            "run": TABLE,
        },
    ),
}  # fmt: skip
"""By command."""

PAGE_NAMES = (*LAYOUTS, "bench")

TEXTS = {
    "output_dir": "Folder of the run.",
    "learning_rate": "Learning rate of all other weights.",
    "max_steps": "Steps of the training.",
    "num_train_epochs": "Epochs of the training.",
    "per_device_train_batch_size": "Sequences that a device takes at once.",
    "warmup_steps": "Steps in which the learning rate rises; below 1, their share of all.",
    "bf16": "Compute in bfloat16 (autocast).",
    "seed": "Seed of weights, order and dropout.",
}
"""Shorter than those of ``transformers``."""


def read_page(command: str) -> str | None:
    """What ``raft COMMAND --help`` prints; None where there is no such command."""
    file = PAGES / f"{command.replace(' ', '-')}.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else None


def format_help(
    command: str,
    description: str,
    actions: Sequence[argparse.Action],
    everything: bool,
    foreign: Collection[str] = (),
) -> str:
    """A command's help.

    Args:
        command: as it is called, without ``raft``.
        description: of it.
        actions: of its parser, with the defaults of a recipe where one is given.
        everything: show the options too that are in no group.
        foreign: those of them that are arguments of ``transformers``, which are shown last.
    """
    layout = LAYOUTS[command]
    positional = [action for action in actions if not action.option_strings]
    options = {action.dest: action for action in reversed(actions) if action.option_strings}
    words = " ".join(_format_positional(action) for action in positional)
    parts = [
        f"usage: raft {command} {words + ' ' if words else ''}[options]",
        textwrap.fill(" ".join(description.split()), WIDTH),
        "example:\n" + textwrap.indent(layout.example, "  "),
    ]
    if positional:
        parts.append("\n".join(_format_action(action, layout) for action in positional))
    for heading, names in layout.groups.items():
        lines = [_format_action(options[name], layout) for name in names]
        parts.append("\n".join([f"{heading}:", *lines]))
    shown = {name for names in layout.groups.values() for name in names}
    others = [name for name, action in options.items() if name not in shown and _is_option(action)]
    if everything:
        for heading, is_foreign in (("more", False), ("of transformers.TrainingArguments", True)):
            names = sorted(name for name in others if (name in foreign) == is_foreign)
            lines = [_format_action(options[name], layout) for name in names]
            parts += ["\n".join([f"{heading}:", *lines])] if lines else []
    elif others:
        parts.append(f"'raft {command} --help-all' lists {len(others)} more.")
    return "\n\n".join(parts) + "\n"


def _is_option(action: argparse.Action) -> bool:
    is_negation = action.dest.startswith("no_") and action.nargs == 0
    return action.help != argparse.SUPPRESS and not is_negation and not action.dest.startswith("help")


def _format_positional(action: argparse.Action) -> str:
    name = _positional_name(action)
    return f"{name} [{name} ...]" if action.nargs == "+" else name


def _positional_name(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _format_action(action: argparse.Action, layout: Layout) -> str:
    text = action.help or ""
    if layout.takes_recipe:
        text = TEXTS.get(action.dest, text)
    text = text.replace("%%", "%")
    text = " ".join([text, *_describe_default(action, layout)])
    name = _format_option(action) if action.option_strings else _positional_name(action)
    lines = textwrap.wrap(text, WIDTH - INDENT, break_on_hyphens=False) or [""]
    first = f"  {name}"
    if len(first) > INDENT - 2:
        return "\n".join([first, *(" " * INDENT + line for line in lines)])
    return "\n".join([first.ljust(INDENT) + lines[0], *(" " * INDENT + line for line in lines[1:])])


def _format_option(action: argparse.Action) -> str:
    name = next(option for option in action.option_strings if option.startswith("--"))
    if isinstance(action.default, bool) or action.nargs == 0:
        return name
    values: dict[object, str] = {int: "N", float: "X"}
    value = METAVARS.get(action.dest) or action.metavar or values.get(action.type, "NAME")
    return f"{name} {value} ..." if action.nargs in ("+", "*") and " " not in value else f"{name} {value}"


def _describe_default(action: argparse.Action, layout: Layout) -> Iterator[str]:
    value = action.default
    if action.dest in layout.required and value in (None, "", -1):
        yield "(required)"
    elif action.dest == "output_dir" and value is None and layout.takes_recipe:
        yield "(default: trainer_output)"  # which transformers sets later
    elif action.option_strings and value not in (None, "", False, argparse.SUPPRESS) and value != []:
        if isinstance(value, bool):
            yield f"(default: on; --{action.dest} false turns it off)"
        else:
            yield f"(default: {' '.join(map(str, value)) if isinstance(value, list) else value})"
