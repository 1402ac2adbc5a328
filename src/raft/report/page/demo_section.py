"""What the page shows of the folder of ``raft demo``."""

from __future__ import annotations

from pathlib import Path

from raft.analysis.snapshots import read_inputs, read_snapshots
from raft.experiments.modular_addition import FREE, GELU, LEARNED, PRIME, SINE, WIDTH, SumComparison
from raft.report.page.blocks import Block, Drawing, Fact, Facts, Heading, Prose, Tabular
from raft.report.page.page import Section
from raft.report.page.sections import build_repeat_blocks, find_baselines
from raft.report.page.viewer import Viewer, ViewerRun
from raft.report.sum_figures import draw_sum_curves
from raft.report.tables.demo import format_learned, format_steps, summarize_sums, tabulate_sums

LEAD = (
    f"Networks of one hidden layer, {WIDTH} wide, learn to add two numbers modulo {PRIME}. They are trained "
    "on half of the sums and asked for the other half. They have different activations, each at the learning "
    "rate and weight decay that suited it best: GELU, a sine, and rational functions (RAFs) that start as "
    "GELU and are learned."
)
NOTE = (
    "The function that one network learned, step by step: move the slider from GELU on. Its gain is fixed, "
    "so that training changes its shape."
)
CURVES = "Share of the held-out sums that each network gets right; dotted: 99 %, where its training ends."


def build_demo_section(folder: Path, name: str | None = None) -> Section:
    """Of the folder of ``raft demo``.

    Args:
        folder: with ``results.json``, and ``rafs.safetensors`` for the function.
        name: to show; the folder's without it.

    Raises:
        InputError: for files that cannot be read.
    """
    comparison = SumComparison.read(folder)
    runs = comparison.by_activation()
    facts = [
        Fact(f"{label}, learned to add", f"{format_learned(runs[activation])} networks", _tell_steps(steps))
        for label, activation in (
            ("RAF of fixed gain", LEARNED),
            ("RAF", FREE),
            ("sine", SINE),
            ("GELU", GELU),
        )
        for steps in [format_steps(runs[activation])]
    ]
    table = tabulate_sums(comparison)
    label = "Share of the held-out sums that are right against steps, for each network"
    blocks: list[Block] = [
        Prose(LEAD, "lead"),
        Prose(summarize_sums(comparison)),
        Facts(facts),
        Tabular(table, table.note),
        Drawing(draw_sum_curves(comparison), label, CURVES, narrow=True),
    ]
    if snapshots := read_snapshots(folder):
        run = ViewerRun({}, snapshots, find_baselines(snapshots), read_inputs(folder))
        blocks += [Heading("What was learned"), Viewer([run], NOTE)]
    blocks += build_repeat_blocks(comparison.command, comparison.setup)
    return Section(name or folder.resolve().name, "Which activation learns to add?", blocks)


def _tell_steps(steps: str) -> str:
    return f"after {steps} steps (median)" if steps else ""
