"""``raft bench``: how fast RAFs are on this machine."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import BertConfig

from raft.benchmarks.kernel import SHAPES, measure_kernels
from raft.benchmarks.kernel_peers import FORMS, GROUPS
from raft.benchmarks.results import TABLE, write_rows
from raft.benchmarks.step import measure_steps
from raft.benchmarks.timing import flatten_ratio
from raft.cli.help import WIDTH
from raft.cli.options import parse
from raft.cli.quiet import Console
from raft.errors import InputError
from raft.report.tables.text_table import TextTable
from raft.training.run_folder import RESULTS, check_free, run_folder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

PARTIAL = ".partial"
"""Behind the name of ``--out``, as long as not everything is measured."""

UNITS = {
    "milliseconds": "ms",
    "host_milliseconds": "host's ms",
    "gigabytes_per_second": "GB/s",
    "tokens_per_second": "tokens/s",
    "teraflops_per_second": "TFLOP/s",
    "peak_megabytes": "peak MB",
}
"""How columns are headed on the screen."""

KERNEL = """Time the activation alone, forward and backward: raft.Rational beside F.gelu, F.gelu again (the
noise), the formula in plain torch, F.relu(x)² and a RAF of degrees (6, 4), a copy of the same bytes, and
other rational kernels if installed; then raft.rational_glu beside F.silu(gate) * up. Shapes of four sizes
have groups of channels at the second; those of three, tokens, hidden and width, are of whole SwiGLU blocks.
The peak is of memory beyond the inputs'.
Until all is measured, a folder named as --out with .partial behind it holds what there is."""

STEP = """Time a whole training step of a BERT with learned activations (RAFT) beside its baseline (FAFT)."""


@dataclass
class BenchSettings:
    """What all benchmarks take."""

    device: str = field(default="auto", metadata={"help": "cpu, cuda, or auto: a GPU where there is one."})
    seconds: float = field(default=10.0, metadata={"help": "Time for each line of comparisons."})
    compile: bool = field(default=False, metadata={"help": "Compile too: the formula, or the models."})
    out: str | None = field(default=None, metadata={"help": "Folder for results.json and results.csv."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a run that --out holds."})

    def torch_device(self) -> torch.device:
        """The device; ``InputError`` where it is not there."""
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"--device must be cpu, cuda or auto, not {self.device!r}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch finds no CUDA device here")
        return torch.device("cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass
class KernelSettings(BenchSettings):
    """``raft bench kernel``."""

    dtypes: list[str] = field(
        default_factory=lambda: ["float32", "bfloat16"], metadata={"help": "float32, bfloat16, float16."}
    )
    shapes: list[str] | None = field(
        default=None,
        metadata={
            "help": "Shapes such as 4096x3072, 16x64x28x28 (channels second) or 256x512x1408 (a SwiGLU "
            "block), instead of the device's usual ones."
        },
    )


@dataclass
class StepSettings(BenchSettings):
    """``raft bench step``."""

    dtype: str = field(default="float32", metadata={"help": "float32, bfloat16 or float16 (autocast)."})
    layers: int = field(default=4, metadata={"help": "Layers of the encoder."})
    hidden_size: int = field(default=256, metadata={"help": "Width; feed-forward layers have 4 times it."})
    batch_size: int = field(default=32, metadata={"help": "Sequences of a step."})
    sequence_length: int = field(default=128, metadata={"help": "Tokens of a sequence."})
    vocab_size: int = field(default=30522, metadata={"help": "Size of the vocabulary."})

    def bert_config(self) -> BertConfig:
        """Of the FAFT; ``InputError`` for a width that heads of 64 do not divide."""
        if self.hidden_size % 64:
            raise InputError(f"--hidden_size must be a multiple of 64, not {self.hidden_size}")
        return BertConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden_size // 64,
            intermediate_size=4 * self.hidden_size,
            max_position_embeddings=self.sequence_length,
        )


def main(arguments: Sequence[str]) -> None:
    commands = {"kernel": bench_kernel, "step": bench_step}
    if list(arguments) in (["-h"], ["--help"], ["--help-all"]):
        texts = {"kernel": KERNEL, "step": STEP}
        lines = [textwrap.fill(f"{name}: {' '.join(text.split())}", WIDTH) for name, text in texts.items()]
        usage = "usage: raft bench kernel|step [options]"
        print("\n\n".join([usage, "example:\n  raft bench kernel --seconds 2", *lines]))
        print("\n'raft bench kernel --help' lists the options of one.")
        return
    if not arguments or arguments[0] not in commands:
        raise InputError("raft bench measures kernel or step; 'raft bench kernel --help' lists the options")
    commands[arguments[0]](arguments[1:])


def bench_kernel(arguments: Sequence[str]) -> None:
    """``raft bench kernel``."""
    settings = parse(KernelSettings, "raft bench kernel", KERNEL, arguments)
    device = settings.torch_device()
    dtypes = [_parse_dtype(name) for name in settings.dtypes]
    shapes = [_parse_shape(text) for text in settings.shapes or []] or SHAPES[device.type]
    results = _Results(settings, "raft bench kernel")
    columns = ("function", "milliseconds", "gigabytes_per_second", "peak_megabytes")
    for together in measure_kernels(device, dtypes, shapes, settings.seconds, settings.compile):
        rows = [measurement.row() for measurement in together]
        results.add(rows)
        title = f"{rows[0]['dtype']}, {rows[0]['shape']}; ratio to {rows[0]['function']} [95 %]"
        _print_table(title, rows, columns)
    results.finish()


def bench_step(arguments: Sequence[str]) -> None:
    """``raft bench step``."""
    settings = parse(StepSettings, "raft bench step", STEP, arguments)
    config = settings.bert_config()
    results = _Results(settings, "raft bench step")
    measurements = measure_steps(
        config,
        settings.batch_size,
        settings.sequence_length,
        settings.torch_device(),
        _parse_dtype(settings.dtype),
        settings.compile,
        settings.seconds,
    )
    rows = [flatten_ratio(measurement) for measurement in measurements]
    columns = ("model", "milliseconds", "host_milliseconds", "tokens_per_second", "teraflops_per_second",
               "peak_megabytes")  # fmt: skip
    results.finish(rows)
    _print_table("A training step; ratio of medians to the FAFT [95 %]", rows, columns)


class _Results:
    """The folder of ``--out``, and until all is measured another beside it with the rows that there are."""

    def __init__(self, settings: BenchSettings, command: str) -> None:
        self.command, self.settings = command, vars(settings)
        self.rows: list[dict[str, Any]] = []
        self.out = Path(settings.out).resolve() if settings.out else None
        self.overwrite = settings.overwrite
        if self.out is not None:
            check_free(self.out, self.overwrite)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows += rows
        if self.out is not None:
            write_rows(self._partial, self.command, self.settings, self.rows)

    def finish(self, rows: Sequence[dict[str, Any]] = ()) -> None:
        self.rows += rows
        if self.out is not None:
            with run_folder(self.out, self.overwrite) as folder:
                write_rows(folder, self.command, self.settings, self.rows)
            for file in (RESULTS, TABLE):
                (self._partial / file).unlink(missing_ok=True)
            with suppress(OSError):  # others' files stay
                self._partial.rmdir()

    @property
    def _partial(self) -> Path:
        assert self.out is not None
        return self.out.with_name(self.out.name + PARTIAL)


def _print_table(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    used = [column for column in columns if any(row[column] is not None for row in rows)]
    cells = [
        [
            *(_format_cell(row[column]) for column in used),
            f"{row['ratio_value']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
        ]
        for row in rows
    ]
    headers = [UNITS.get(column, column) for column in (*used, "ratio")]
    Console().print(TextTable(title, pd.DataFrame(cells, columns=headers), labels=1).console(), crop=False)


def _format_cell(value: str | float | None) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _parse_dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise InputError(f"dtypes are {', '.join(DTYPES)}, not {name!r}")
    return DTYPES[name]


def _parse_shape(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if not all(size.isdecimal() and len(size) < 10 and int(size) > 0 for size in sizes):
        raise InputError(f"a shape is written as 4096x3072, not {text!r}")
    if len(sizes) not in FORMS:
        raise InputError(f"a shape has two to four sizes, as 4096x3072 has, not {text!r}")
    if len(sizes) == 4 and int(sizes[1]) % GROUPS:
        raise InputError(
            f"of four sizes the second, channels, must be a multiple of {GROUPS}, not {sizes[1]}"
        )
    return tuple(int(size) for size in sizes)
