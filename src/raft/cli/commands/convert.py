"""``raft convert``: a model with fixed activations becomes a RAFT, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raft.cli.checkpoints import TASKS, copy_sentence_parts, load_model, load_tokenizer
from raft.cli.options import parse
from raft.cli.quiet import Console
from raft.cli.tables import print_conversion
from raft.data.text.corpora import first_texts
from raft.errors import InputError
from raft.files import save_pretrained
from raft.functions.registry import FUNCTIONS
from raft.hf.conversion import convert
from raft.hf.histogram import count_inputs
from raft.learned_activation import learned_activations
from raft.networks.config import DEFAULT_SITES, RATIONAL, SITES, RafConfig
from raft.networks.conversion_report import REPORT
from raft.training.monitoring import write_inputs
from raft.training.run_folder import Content, check_free, run_folder

DESCRIPTION = """Put learned activations (RAFs, rational ones unless --function names others) in place of a
model's fixed ones, keep all other weights, and save the RAFT with its tokenizer. With --calibration each RAF
is fitted where the inputs of its place lie."""

MODEL = Content("model", marker="config.json", option="DST")


@dataclass
class ConvertSettings:
    """``raft convert``."""

    src: str = field(
        metadata={"help": "Folder of a model, or its name on the hub.", "positional": True, "metavar": "SRC"}
    )
    dst: str = field(
        metadata={"help": "Folder for the RAFT; it must not exist.", "positional": True, "metavar": "DST"}
    )
    calibration: str | None = field(
        default=None,
        metadata={
            "help": "File or folder of texts that the model reads to see its inputs: txt (one a line), "
            "jsonl or parquet, compressed or not.",
            "metavar": "PATH",
        },
    )
    calibration_texts: int = field(default=64, metadata={"help": "How many texts it reads."})
    text_column: str = field(default="text", metadata={"help": "Column of jsonl and parquet."})
    sites: list[str] = field(
        default_factory=lambda: list(DEFAULT_SITES), metadata={"help": f"From {', '.join(SITES)}."}
    )
    layers: str = field(default="all", metadata={"help": "Layers that get RAFs, such as 0-5,11."})
    function: str = field(default=RATIONAL, metadata={"help": f"From {', '.join(FUNCTIONS)}."})
    settings: str | None = field(
        default=None,
        metadata={"help": "Of another function than the rational one: '{\"knots\": 33}'.", "metavar": "JSON"},
    )
    degrees: list[int] = field(
        default_factory=lambda: [5, 4],
        metadata={"help": "Of numerator and denominator of rational RAFs."},
    )
    version: str = field(default="A", metadata={"help": "Form of the denominator: A, B, C, D or N."})
    init: str = field(
        default="auto",
        metadata={
            "help": "Function to start from; auto: the one that was there; default: the start that the "
            "function's source gives it; or a file of 'raft discover'."
        },
    )
    groups: int = field(default=1, metadata={"help": "Groups of channels with coefficients of their own."})
    shared: list[str] | None = field(
        default=None,
        metadata={
            "help": "all: one RAF for all places in layers that start alike; kind: one for each kind; or "
            "NAME=LAYERS …, such as lower=0-5."
        },
    )
    residual: bool = field(
        default=False, metadata={"help": "Put RAFs that start at zero beside the fixed functions."}
    )
    task: str | None = field(
        default=None,
        metadata={"help": f"Load as another class than the checkpoint's own: {', '.join(TASKS)}."},
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a model that DST holds."})

    def raf_config(self) -> RafConfig:
        """Which RAFs; ``InputError`` for what ``RafConfig`` refuses."""
        shared: bool | str | dict[str, str] = False
        if self.shared is not None:
            is_word = self.shared in (["all"], ["kind"])
            shared = self.shared[0] if is_word else dict(_parse_layers(text) for text in self.shared)
        try:
            return RafConfig(
                sites=self.sites,
                layers=self.layers,
                function=self.function,
                settings=_parse_settings(self.settings),
                degrees=tuple(self.degrees),  # type: ignore[arg-type]  # which checks how many they are
                version=self.version,
                init=self.init,
                groups=self.groups,
                shared=shared,
                residual=self.residual,
            )
        except ValueError as error:
            raise InputError(str(error).replace("raf.", "--")) from error


def main(arguments: Sequence[str]) -> None:
    settings = parse(ConvertSettings, "raft convert", DESCRIPTION, arguments)
    config = settings.raf_config()
    out = Path(settings.dst).expanduser()
    _check_apart(settings.src, out)
    check_free(out, settings.overwrite, MODEL)
    texts = None
    if settings.calibration is not None:
        texts = first_texts(settings.calibration, settings.calibration_texts, settings.text_column)

    console = Console()
    with console.status("loading"):
        model, missing = load_model(settings.src, settings.task)
        tokenizer = load_tokenizer(settings.src)
    if learned_activations(model):
        raise InputError(f"{settings.src} is a RAFT already; 'raft inspect {settings.src}' shows its RAFs")
    if texts is not None and tokenizer is None:
        raise InputError(
            f"{settings.src} has no tokenizer, so it cannot read --calibration; leave that out, or calibrate "
            "with batches in Python: raft.convert(model, calibration=batches)"
        )
    try:
        with console.status("fitting"):
            convert(model, config, texts, tokenizer=tokenizer)
    except ValueError as error:
        raise InputError(str(error)) from error
    report = getattr(model, REPORT)
    with run_folder(out, settings.overwrite, MODEL) as folder:
        save_pretrained(model, folder)
        if texts is not None:
            write_inputs(folder, count_inputs(model, texts, tokenizer))
        if tokenizer is not None:
            save_pretrained(tokenizer, folder)
        is_sentence_encoder = copy_sentence_parts(settings.src, folder)

    print_conversion(console, type(model).__name__, report)
    if missing:
        console.say_whole(f"Not in {settings.src}, so random until trained: {', '.join(missing)}")
    fitted = next((site for site in report if site.max_error is not None), None)
    if texts is None and fitted is not None and not settings.residual:
        low, high = fitted.interval
        console.say(
            f"The fits are for inputs in [{low:g}, {high:g}]; for the model's own, give --calibration PATH, "
            "a file of texts like those it will read."
        )
    beside = "with its tokenizer" if tokenizer is not None else "without a tokenizer: none was found"
    if is_sentence_encoder:
        beside += " and its parts for sentence-transformers"
    console.say_whole(f"Saved in {out}, {beside}.")
    console.say_whole(f"To see its RAFs: raft inspect {out}")


def _parse_settings(text: str | None) -> dict[str, Any]:
    try:
        settings = json.loads(text or "{}")
    except json.JSONDecodeError:
        settings = None
    if not isinstance(settings, dict):
        raise InputError(f"--settings must be JSON such as '{{\"knots\": 33}}', not {text!r}")
    return settings


def _parse_layers(text: str) -> tuple[str, str]:
    name, sign, layers = text.partition("=")
    if not (name and sign and layers):
        raise InputError(f"--shared must be all, kind, or NAME=LAYERS such as lower=0-5, not {text!r}")
    return name, layers


def _check_apart(source: str, out: Path) -> None:
    """To write the RAFT, what DST holds is removed."""
    original = Path(source).expanduser().resolve()
    if original.exists() and (out.resolve() == original or out.resolve() in original.parents):
        raise InputError(f"DST {out} holds SRC {source}, which would be lost; choose another DST")
