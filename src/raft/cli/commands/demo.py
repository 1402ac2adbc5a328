"""``raft demo``: the whole comparison, from text to report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raft.analysis.curves import measure_curves
from raft.analysis.figure_style import write_figure
from raft.analysis.figures import draw_activations
from raft.cli.options import parse
from raft.cli.quiet import Console, quieten
from raft.errors import InputError
from raft.experiments.comparison import Comparison, ComparisonSettings, compare
from raft.files import write_text
from raft.pretraining.train import save
from raft.report.loss_figures import draw_losses
from raft.report.page.demo_section import build_demo_section
from raft.report.page.page import REPORT, render_page
from raft.report.tables.demo import summarize, tabulate_comparison
from raft.training.monitoring import (
    append_snapshot,
    coefficients,
    raf_metadata,
    write_inputs,
    write_snapshots,
)
from raft.training.run_folder import check_free, run_folder

DESCRIPTION = """Pretrain a transformer with learned rational activations (RAFT) and the same with a fixed
activation (FAFT) on the same batches of real text, fine-tune both on few examples over several seeds, and
compare them. Needs no network. Writes a folder with report.html, the table (results.csv, results.json,
table.md), figures, the learned coefficients (rafs.safetensors) and both models."""


@dataclass
class DemoSettings(ComparisonSettings):
    """The comparison, and where it goes."""

    out: str = field(
        default="runs/demo", metadata={"help": "Folder for the run; it must not hold another one."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a run that --out holds."})


def main(arguments: Sequence[str]) -> None:
    settings = parse(DemoSettings, "raft demo", DESCRIPTION, arguments)
    settings.check()
    out = Path(settings.out)
    check_free(out, settings.overwrite)
    quieten()

    console = Console()
    begun = time.perf_counter()
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    with run_folder(out, settings.overwrite) as folder, Progress(*columns, console=console) as bar:
        bar.stop()  # started with the fine-tuning: pretraining has a bar of its own
        cells = bar.add_task("fine-tuning", total=None)

        def advance(done: int, total: int) -> None:
            bar.start()
            bar.update(cells, completed=done, total=total)
            if done == total:
                bar.stop()

        comparison = compare(settings, say, advance)
        write(comparison, folder, settings.activation, out.resolve().name)
    console.print(tabulate_comparison(comparison.results).console(), crop=False)
    console.print(summarize(comparison.results), highlight=False)
    say(f"Done in {(time.perf_counter() - begun) / 60:.1f} minutes. Open {out / REPORT}")
    say(f"To repeat it exactly: {comparison.results.command}")


def write(comparison: Comparison, folder: Path, fixed: str, name: str) -> None:
    """Fill a run folder, whose name will be ``name``."""
    raft_model = comparison.pretrained["raft"].model
    learned = measure_curves(raft_model, comparison.validation, fixed)
    if not learned:
        raise InputError("the model has no rational activation to show")
    activations = draw_activations(learned)
    losses = draw_losses(comparison.results.history, comparison.results.unigram_loss)
    for kind, figure in (("activations", activations), ("losses", losses)):
        for ending in ("png", "svg"):
            write_figure(figure, folder / f"{kind}.{ending}")
    last = append_snapshot({}, comparison.results.setup["steps"], coefficients(raft_model))
    write_snapshots(folder, last, raf_metadata(raft_model))
    write_inputs(folder, {curve.site: curve.inputs for curve in learned})
    for kind, pretrained in comparison.pretrained.items():
        save(pretrained.model, comparison.tokenizer, folder / kind)
    write_text(folder / "table.md", tabulate_comparison(comparison.results).markdown())
    comparison.results.write(folder)
    report = render_page([build_demo_section(folder, name)])
    write_text(folder / REPORT, report)
