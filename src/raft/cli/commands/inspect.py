"""``raft inspect``: what the learned functions of a model are now, beside what they began as."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedModel

from raft.analysis.ablation import ablate, masked_loss
from raft.analysis.figure_style import FAFT_COLOUR, RAFT_COLOUR, write_figure
from raft.analysis.figures import draw_functions
from raft.analysis.formulas import KINDS, format_functions
from raft.analysis.learned import LearnedFunction, join_names, learned_functions, shorten_names
from raft.analysis.model_measures import ARROWS, FunctionMeasures, measure_functions, rational_functions
from raft.analysis.sketch import sketch
from raft.analysis.snapshots import label_sites, read_inputs
from raft.cli.checkpoints import load_model, load_tokenizer
from raft.cli.options import parse
from raft.cli.quiet import Console
from raft.cli.tables import NARROW, fit_name_width, fold_name
from raft.coefficients.functions import canonical_name
from raft.data.text.corpora import first_texts
from raft.errors import InputError
from raft.files import write_text
from raft.hf.histogram import count_inputs, joint_range
from raft.hf.positions import max_positions
from raft.report.tables.numbers import format_signed
from raft.report.tables.text_table import TextTable, make_rich_table
from raft.training.monitoring import INPUTS

DESCRIPTION = """Show every learned activation (RAF) of a RAFT: where it is, its form, how far it is from the
function that it began as (root mean square and largest distance), the values that it takes, and sketches of
its curve and of its difference to that function, each scaled to its own height. With --texts the model reads
them, and each RAF is measured where its inputs lie: how far it is from GELU and from its start, which
classical function it resembles, where it rises and falls; --ablation adds what it is worth."""

PLOTS = (".png", ".pdf", ".svg")
INTERVAL = (-5.0, 5.0)
SKETCH_LINES, NARROWEST, WIDEST = 3, 12, 24
SAME_INPUTS = (
    "Distances are over these inputs in every row, also where a RAF gets none of them; --texts PATH measures "
    "each RAF over its own."
)


@dataclass
class InspectSettings:
    """``raft inspect``."""

    model: str = field(
        metadata={
            "help": "Folder of a RAFT or of an adapter with RAFs, or a RAFT's name on the hub.",
            "positional": True,
            "metavar": "MODEL",
        }
    )
    plot: str | None = field(default=None, metadata={"help": "Draw the curves to a png, pdf or svg file."})
    json: str | None = field(default=None, metadata={"help": "Write the table and coefficients to a file."})
    interval: list[float] | None = field(
        default=None,
        metadata={
            "help": "Inputs to look at, from LOW to HIGH. (default: those that the folder records in "
            f"{INPUTS}, else {INTERVAL[0]:g} {INTERVAL[1]:g})"
        },
    )
    formulas: str | None = field(
        default=None,
        metadata={
            "help": "Write rational RAFs to a file: json, tex (formulas for a paper), or py (needs no torch)."
        },
    )
    texts: str | None = field(
        default=None,
        metadata={
            "help": "File or folder of texts that the model reads, to measure each RAF where its inputs "
            "lie: txt (one a line), jsonl or parquet, compressed or not.",
            "metavar": "PATH",
        },
    )
    texts_read: int = field(default=256, metadata={"help": "How many texts it reads."})
    text_column: str = field(default="text", metadata={"help": "Column of jsonl and parquet."})
    fixed: str | None = field(
        default=None,
        metadata={
            "help": "Function that the RAFs are measured against, instead of that which each replaced."
        },
    )

    ablation: bool = field(
        default=False,
        metadata={
            "help": "Print the loss at masked words of --texts with each RAF, and all, replaced by the fixed "
            "function (masked language models)."
        },
    )

    def check(self) -> None:
        """``InputError`` for what can be refused before a model is loaded."""
        ends = self.interval or INTERVAL
        is_interval = len(ends) == 2 and all(map(np.isfinite, ends))
        if not is_interval or ends[0] >= ends[1]:
            given = " ".join(f"{end:g}" for end in ends)
            raise InputError(f"--interval must be two numbers, the smaller first, not {given}")
        if self.plot is not None and Path(self.plot).suffix.lower() not in PLOTS:
            raise InputError(f"--plot must end with {', '.join(PLOTS)}, not {Path(self.plot).name!r}")
        if self.formulas is not None and Path(self.formulas).suffix.lower() not in KINDS:
            raise InputError(f"--formulas must end with {', '.join(KINDS)}, not {Path(self.formulas).name!r}")
        try:
            canonical_name(self.fixed or "gelu")
        except ValueError as error:
            raise InputError(f"--fixed: {error}") from error
        if self.fixed is not None and self.texts is None:
            raise InputError("--fixed is what RAFs are measured against on the inputs of --texts; give both")
        if self.ablation and self.texts is None:
            raise InputError("--ablation needs --texts to compute a loss on")
        for name, file in (("--plot", self.plot), ("--json", self.json), ("--formulas", self.formulas)):
            if file is not None and not Path(file).absolute().parent.is_dir():
                raise InputError(f"{name} {file}: there is no folder {Path(file).parent}")
            if file is not None and Path(file).is_dir():
                raise InputError(f"{name} {file} is a folder, not a file")


def main(arguments: Sequence[str]) -> None:
    settings = parse(InspectSettings, "raft inspect", DESCRIPTION, arguments)
    settings.check()
    texts = None
    if settings.texts is not None:
        texts = first_texts(settings.texts, settings.texts_read, settings.text_column)
    console = Console()
    with console.status("loading"):
        model, _ = load_model(settings.model, keeps_adapter=True)
    low, high = settings.interval or joint_range(read_inputs(Path(settings.model)).values()) or INTERVAL
    functions = learned_functions(model, (low, high))
    if not functions:
        raise InputError(
            f"{settings.model} ({type(model).__name__}) has no learned activation; "
            f"'raft convert {settings.model} DST' makes a RAFT of it"
        )
    kinds = ", ".join(dict.fromkeys(function.kind for function in functions))
    if settings.formulas is not None and "rational" not in kinds:
        raise InputError(f"--formulas writes rational functions, not {kinds}; --json has their numbers")
    drawn = [function for function in functions if function.has_curve]
    if settings.plot is not None and not drawn:
        raise InputError(f"--plot draws curves, and {kinds} is not elementwise: it has none")
    tokenizer = load_tokenizer(settings.model) if texts is not None else None
    if texts is not None and tokenizer is None:
        raise InputError(f"{settings.model} has no tokenizer, so it cannot read --texts")
    if settings.ablation and "ForMaskedLM" not in type(model).__name__:
        raise InputError(f"--ablation is for masked language models, not {type(model).__name__}")
    print_table(console, type(model).__name__, functions)
    if texts is None and len(drawn) > 1:
        console.say(SAME_INPUTS)
    inputs, measured, ablated = None, [], None
    if texts is not None:
        with console.status("reading and measuring"):
            try:
                inputs = count_inputs(model, texts, tokenizer)
                measured = measure_functions(model, inputs, settings.fixed)
                if settings.ablation:
                    ablated = _ablate(model, tokenizer, texts, settings.fixed)
            except ValueError as error:
                raise InputError(f"{settings.model} cannot be measured: {error}") from error
        named = label_sites([{function.site: function.places for function in functions}])
        table = tabulate_measures(measured, named, len(texts), settings.fixed or "fixed")
        console.print(table, crop=False)
    if ablated is not None:
        console.print(tabulate_ablation(ablated).console(), crop=False)
    if settings.plot is not None:
        write_figure(draw_functions(functions), Path(settings.plot))
        console.say_whole(f"Curves drawn in {settings.plot}")
    if settings.json is not None:
        whole = {
            "model": settings.model,
            "interval": [low, high],
            "rafs": [record.row() for record in functions],
            **({"measures": [record.row() for record in measured]} if measured else {}),
            **({"ablation": ablated.to_dict("records")} if ablated is not None else {}),
        }
        write_text(Path(settings.json), json.dumps(whole, indent=2) + "\n")
        console.say_whole(f"Numbers written to {settings.json}")
    if settings.formulas is not None:
        try:
            text = format_functions(rational_functions(model, inputs), Path(settings.formulas).suffix.lower())
        except ValueError as error:
            raise InputError(f"{settings.model} has no formulas: {error}") from error
        write_text(Path(settings.formulas), text)
        console.say_whole(f"Formulas written to {settings.formulas}")


def print_table(console: Console, name: str, functions: Sequence[LearnedFunction]) -> None:
    """Print the table; it takes 80 columns, and more where there are more."""
    count = sum(rows.size for function in functions for rows in function.coefficients.values())
    title = f"{name}: {len(functions)} RAFs, {count} coefficients"
    drawn = [function for function in functions if function.has_curve]
    if drawn:
        title += f"; inputs from {drawn[0].x[0]:g} to {drawn[0].x[-1]:g}"
    table = make_rich_table(title.replace("1 RAFs", "1 RAF") if len(functions) == 1 else title)
    cells = [(_format_form(function), _format_numbers(function)) for function in functions]
    form, numbers = (max(len(line) for row in cells for line in row[i].split("\n")) for i in range(2))
    names = [join_names(function.places) for function in functions]
    room = console.width - form - numbers - 2 * 4 - 2
    longest = max(map(len, names))
    # whole names first, then wider sketches; where names are folded anyway, the sketches get their room
    sketched = (room - (longest if room - longest >= 2 * NARROWEST else NARROW)) // 2
    sketched = max(NARROWEST, min(WIDEST, sketched)) if drawn else len("difference")
    width = fit_name_width(console, names, [form, numbers, sketched, sketched])
    table.add_column("RAF", min_width=width, no_wrap=True)
    table.add_column("form", min_width=form, no_wrap=True)
    table.add_column("distance", min_width=numbers, no_wrap=True)
    table.add_column("curve", min_width=sketched, no_wrap=True)
    table.add_column("difference", min_width=sketched, no_wrap=True)
    for function, site, (form_cell, numbers_cell) in zip(functions, names, cells, strict=True):
        curve = difference = ""
        if function.has_curve:
            curve = sketch(list(function.y), sketched, SKETCH_LINES)
            difference = sketch(list(function.y - function.beginning), sketched, SKETCH_LINES)
        table.add_row(
            Text(fold_name(site, width), style="bold"),
            Text(form_cell),
            Text(numbers_cell),
            Text(curve, style=RAFT_COLOUR),
            Text(difference, style=FAFT_COLOUR),
        )
        if function is not functions[-1]:
            table.add_row()
    console.print(table, crop=False)
    without = {function.kind for function in functions if not function.has_curve}
    if without:
        console.say(f"No curves of {', '.join(sorted(without))}: its outputs depend on all channels.")


def tabulate_measures(
    measures: Sequence[FunctionMeasures], named: Mapping[str, str], texts: int, fixed: str
) -> Table:
    """Each RAF over the inputs that it gets, in 80 columns where names are short."""
    table = make_rich_table(
        f"Over the inputs of {texts} texts, from the 0.05 % to the 99.95 % quantile; what each resembles is "
        "scaled and moved (*: stretched so far that a parabola would do)"
    )
    table.add_column("RAF", overflow="fold")
    for head in ("inputs", f"L2 to {fixed}", "L2 moved"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("resembles, L2", no_wrap=True)
    table.add_column("turns")
    for raf in measures:
        site, *group = raf.function.site.split("#")
        first, *rest = raf.shape.pieces
        shape = ARROWS[first.direction] + "".join(f" {p.low:.2f} {ARROWS[p.direction]}" for p in rest)
        table.add_row(
            "#".join([named[site], *group]),
            f"{raf.domain.x[0]:.1f}…{raf.domain.x[-1]:.1f}",
            f"{raf.to_fixed.l2:.3f}",
            "" if raf.to_start is None else f"{raf.to_start.l2:.3f}",
            f"{raf.match.name}{'*' if raf.match.is_stretched else ''} {raf.match.distance.l2:.3f}",
            shape,
        )
    return table


def tabulate_ablation(ablated: pd.DataFrame) -> TextTable:
    """The loss with RAFs replaced, by what is replaced."""
    names = shorten_names([site for site in ablated["replaced"] if "." in site])
    cells = pd.DataFrame(
        {
            "replaced": [names.get(site, site) for site in ablated["replaced"]],
            "by": ablated["by"],
            "loss": [f"{value:.4f}" for value in ablated["loss"]],
            "change": [format_signed(value, 4) for value in ablated["change"]],
        }
    )
    return TextTable("Loss at masked words with RAFs replaced", cells, labels=2)


def _ablate(model: PreTrainedModel, tokenizer: Any, texts: list[str], fixed: str | None) -> pd.DataFrame:
    length = max_positions(model)
    batch = tokenizer(texts, truncation=True, max_length=length, padding=True, return_tensors="pt")
    return ablate(model, masked_loss(model, tokenizer, dict(batch)), fixed)


def _format_form(function: LearnedFunction) -> str:
    lines = [f"{function.began_as} +" if function.is_residual else function.began_as]
    if function.kind == "rational":
        m, n = function.settings["degrees"]
        lines += [f"({m}, {n}) {function.settings['version']}"]
    else:
        lines += [function.kind]
        lines += [f"{k} {_format_setting(v)}" for k, v in function.settings.items() if k != "groups"]
    return "\n".join(lines + ([f"{function.groups} groups"] if function.groups > 1 else []))


def _format_setting(value: object) -> str:
    return ", ".join(f"{end:g}" for end in value) if isinstance(value, list) else str(value)


def _format_numbers(function: LearnedFunction) -> str:
    if not function.has_curve:
        return "\n".join(
            f"{name}\n{', '.join(f'{value:.2g}' for value in rows.ravel())}"
            for name, rows in function.coefficients.items()
        )
    return f"rms {function.rms:.2g}\nmax {function.max:.2g}\ny {function.low:.2f}…{function.high:.2f}"
