"""``raft report``: what runs found out, as tables here and as a page to show around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raft.cli.commands.grid import SHARED, parse_grid, write_results, write_tables
from raft.cli.options import parse
from raft.cli.quiet import Console
from raft.errors import InputError
from raft.experiments.cells import LOCKS, CellFolder
from raft.experiments.grid import result_rows
from raft.experiments.modular_addition import SumComparison
from raft.experiments.pretraining import PretrainingComparison
from raft.files import check_writable, write_text
from raft.finetuning.run import FinetuningResult
from raft.report.page.page import REPORT, render_page
from raft.report.page.viewer import share_budget
from raft.report.paper_figures import write_figures
from raft.report.runs import build_section, detect_kind, read_single
from raft.report.tables import pretraining
from raft.report.tables.demo import tabulate_sums
from raft.report.tables.finetuning import tabulate_result
from raft.report.tables.grid import RESULTS, build_frame, read_results
from raft.report.tables.text_table import TextTable
from raft.training.run_folder import RECIPE

DESCRIPTION = """Show what runs found out: folders of raft demo, pretrain, finetune and grid, the last also
while it is at work. Prints their tables, and writes one HTML page (--out) with tables, figures and the
learned curves to look into; it needs nothing beside it and no network. A grid's tables are written into its
folder too, as results.csv, tables.md and tables.tex; a folder with a grid's results.csv alone will do."""


@dataclass
class ReportSettings:
    """``raft report``."""

    run: list[str] = field(
        default_factory=list,
        metadata={"help": "Folders of runs; a section of the page each.", "positional": True},
    )
    out: str | None = field(
        default=None, metadata={"help": f"The page; {REPORT} in the first folder where it is not given."}
    )
    figures: str | None = field(
        default=None,
        metadata={
            "help": "A folder: write each figure of the page there too, as pdf, svg and png for papers.",
            "metavar": "DIR",
        },
    )


def main(arguments: Sequence[str]) -> None:
    settings = parse(ReportSettings, "raft report", DESCRIPTION, arguments)
    folders = [Path(name) for name in settings.run]
    console = Console()
    sections = []
    for folder in folders:
        print_tables(folder, console)
        sections.append(build_section(folder))
    out = folders[0] / REPORT if settings.out is None else Path(settings.out)
    check_writable(out)
    if settings.figures is not None:
        if Path(settings.figures).resolve() == out.resolve():
            raise InputError(f"--out and --figures are both {out}: the one is a file, the other a folder")
        files = write_figures(sections, Path(settings.figures))
        figures = len({file.stem for file in files})
        console.say_whole(f"{figures} figures are in {settings.figures}")
    write_text(out, render_page(share_budget(sections)))
    console.say_whole(f"Open {out}")


def print_tables(folder: Path, console: Console) -> None:
    """Print the tables of a run.

    Raises:
        InputError: where the folder holds none, or is not there.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    kind = detect_kind(folder)
    if kind in ("comparison", "pretraining"):
        compared = PretrainingComparison.read(folder) if kind == "comparison" else read_single(folder)
        console.print(pretraining.tabulate_losses(compared).console(), crop=False)
        console.say(pretraining.describe_numbers(compared))
        if answer := pretraining.summarize(compared):
            console.say(answer)
    elif kind == "demo":
        console.print(tabulate_sums(SumComparison.read(folder)).console(), crop=False)
    elif kind == "finetuning":
        table = tabulate_result(FinetuningResult.read(folder), folder.resolve().name)
        console.print(table.console(), crop=False)
    elif kind == "grid" or (folder / SHARED).is_file():
        for table in read_grid_tables(folder, console):
            console.print(table.console(), crop=False)
    elif kind is None and (folder / RECIPE).is_file():
        raise InputError(f"the run in {folder} is not finished: the command that began it goes on with it")


def read_grid_tables(folder: Path, console: Console) -> list[TextTable]:
    """Tables of a grid, which are written into its folder.

    Raises:
        InputError: where there is no grid, none of its cells is done, or one cannot be read.
    """
    # what is kept of a grid has no locks: its few cells are not those that its results rest on
    is_kept = (folder / RESULTS).is_file() and not (folder / LOCKS).is_dir()
    if (folder / RECIPE).is_file() and not is_kept:
        cells = CellFolder(folder)
        try:
            grid = parse_grid(["--config", str(folder / RECIPE), "--output_dir", str(folder)])[0]
            grid.check_models()
        except InputError as error:  # of models that are gone, or of an older version's recipe
            if not (folder / RESULTS).is_file():
                raise
            console.say_whole(f"As last written: {error}")
        else:
            rows = result_rows(cells, grid.final_cells(cells))
            if rows:
                return write_results(build_frame(rows, grid.recipe), folder)
            raise InputError(f"no cell of the grid in {folder} counts yet")
    return write_tables(read_results(folder / RESULTS), folder)
