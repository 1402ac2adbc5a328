"""``raft demo``: a task in which the activation decides, and a learned one wins, in about a minute."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from raft.analysis.figure_style import write_figure
from raft.analysis.sketch import sketch
from raft.cli.options import parse
from raft.cli.quiet import Console, quieten
from raft.experiments.machine import machine
from raft.experiments.modular_addition import (
    FUNCTIONS,
    PRIME,
    RATES,
    SITE,
    SumRun,
    compare_sums,
    find_function,
)
from raft.files import write_text
from raft.functions import load_functions
from raft.report.page.demo_section import build_demo_section
from raft.report.page.page import REPORT, render_page
from raft.report.sum_figures import draw_sum_curves
from raft.report.tables.demo import summarize_sums, tabulate_sums
from raft.training.run_folder import check_free, run_folder

DESCRIPTION = f"""See what a learned activation is good for: networks learn to add modulo {PRIME}, with GELU,
with a sine, with a rational function that starts as GELU and is learned (RAF), with one whose gain is held,
and with what one network made of that, frozen in new ones. Takes about a minute and needs no internet. Writes
a folder with report.html, results.json, table.md, a figure, and the function (functions.json), from which
other models can start."""
NEXT = """pretrain --config gpt-cpu-15min --compare raf,gelu \\
      --max_steps 500 --output_dir runs/gpt"""
SKETCH = (-3.0, 3.0, 32, 7)
"""Ends of the inputs, and characters and lines of the drawing."""


@dataclass
class DemoSettings:
    """How many networks, for how long, and where the run goes."""

    seeds: int = field(default=5, metadata={"help": "Networks of each activation."})
    max_steps: int = field(default=5_000, metadata={"help": "Steps after which a network is given up."})
    out: str = field(
        default="runs/demo", metadata={"help": "Folder for the run; it must not hold another one."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a run that --out holds."})


def main(arguments: Sequence[str]) -> None:
    settings = parse(DemoSettings, "raft demo", DESCRIPTION, arguments)
    out = Path(settings.out)
    check_free(out, settings.overwrite)
    quieten()
    console = Console()
    begun = time.perf_counter()
    words = ["raft", "demo", "--seeds", str(settings.seeds), "--max_steps", str(settings.max_steps)]
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())

    with run_folder(out, settings.overwrite) as folder, one_thread():
        first = find_function(folder, settings.max_steps)
        console.say(f"One network learns to add, with a RAF whose gain is held: {tell(first)}.")
        console.say(f"The RAF was GELU and became this, for inputs from {SKETCH[0]:g} to {SKETCH[1]:g}:")
        console.say_whole(draw_function(folder))
        console.say(f"Now new networks, each for at most {settings.max_steps:,} steps:")
        with Progress(*columns, console=console, transient=True) as bar:
            networks = bar.add_task("networks", total=settings.seeds * len(RATES))

            def done(run: SumRun) -> None:
                bar.advance(networks)
                console.say(f"  {run.activation}, seed {run.seed}: {tell(run)}")

            comparison = compare_sums(
                folder, settings.seeds, settings.max_steps, shlex.join(words), machine(), done
            )
        table = tabulate_sums(comparison)
        comparison.write(folder)
        write_text(folder / "table.md", table.markdown())
        write_figure(draw_sum_curves(comparison), folder / "accuracies.png")
        write_text(folder / REPORT, render_page([build_demo_section(folder, out.resolve().name)]))
    console.print(table.console(), crop=False)
    console.say(summarize_sums(comparison))
    console.say(f"Done in {time.perf_counter() - begun:.0f} seconds. Open the page, and move its slider:")
    console.say_whole(f"  {out / REPORT}")
    console.say("The function, for --raf_init and raft.functions.load_functions:")
    console.say_whole(f"  {out / FUNCTIONS}")
    raft = "raft" if shutil.which("raft") else Path(sys.argv[0])
    console.say_whole(f"Next, a transformer:\n  {raft} {NEXT}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: so small a network is slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tell(run: SumRun) -> str:
    """What became of a network."""
    return f"{run.history[-1][0]:,} steps, {100 * run.accuracy:.1f} % right"


def draw_function(folder: Path) -> str:
    """The function that was found, as lines of characters."""
    low, high, width, height = SKETCH
    x = np.linspace(low, high, 2 * width)
    return sketch([load_functions(folder / FUNCTIONS)[SITE].values(x)[0]], width, height)
