"""What the page shows of the folder of ``raft demo``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raft.analysis.snapshots import Raf, Snapshot, read_inputs, read_snapshots
from raft.coefficients import named_fit
from raft.experiments.results import Results
from raft.report.loss_figures import draw_losses
from raft.report.page.blocks import Block, Drawing, Fact, Facts, Heading, Prose, Tabular
from raft.report.page.page import Section
from raft.report.page.sections import (
    build_learned_blocks,
    build_repeat_blocks,
    format_value,
    make_difference_fact,
    shorten_corpus,
)
from raft.report.page.viewer import ViewerRun
from raft.report.tables import demo as comparison


def build_demo_section(folder: Path, name: str | None = None) -> Section:
    """Of the folder of ``raft demo``; its models are not needed.

    Args:
        folder: with ``results.json``, and ``rafs.safetensors`` for curves.
        name: to show; the folder's without it.

    Raises:
        InputError: for files that cannot be read.
    """
    results = Results.read(folder)
    settings, setup = results.settings, results.setup
    loss = results.rows[0]
    facts = [
        Fact("validation loss, RAFT", f"{loss.raft:.3f} nats"),
        Fact("validation loss, FAFT", f"{loss.faft:.3f} nats"),
        make_difference_fact(
            loss.raft - loss.faft, loss.difference, "over validation sequences; RAFT − FAFT"
        ),
        Fact("unigram model", f"{results.unigram_loss:.3f} nats"),
    ]
    table = comparison.tabulate_comparison(results)
    blocks: list[Block] = [
        Prose(_describe_demo(settings, setup), "lead"),
        Prose(comparison.summarize(results)),
        Facts(facts),
        Tabular(table, table.note),
    ]
    if snapshots := read_snapshots(folder):
        blocks += build_learned_blocks([_make_run(folder, settings, snapshots)])
    caption = "Validation loss over the pretraining. Both models saw the same batches."
    losses = draw_losses(results.history, results.unigram_loss)
    blocks += [
        Heading("On the way"),
        Drawing(losses, "Validation losses of both models over the pretraining", caption, narrow=True),
        *build_repeat_blocks(results.command, {**setup, **_round_seconds(results.seconds)}),
    ]
    return Section(name or folder.resolve().name, "A RAFT beside its FAFT", blocks)


def _make_run(folder: Path, settings: Mapping[str, Any], snapshots: Sequence[Snapshot]) -> ViewerRun:
    """From the fit that the RAFs began as to what they became."""
    baseline = str(settings.get("activation", "gelu"))
    rafs = snapshots[-1].rafs
    start = Snapshot(0, {s: _fit_start(baseline, raf) for s, raf in rafs.items() if isinstance(raf, Raf)})
    return ViewerRun({}, [start, *snapshots], dict.fromkeys(rafs, baseline), read_inputs(folder))


def _fit_start(function: str, raf: Raf) -> Raf:
    fit = named_fit(function, (raf.numerator.shape[1] - 1, raf.denominator.shape[1]), raf.version)
    a, b = (np.array([values], np.float32) for values in (fit.numerator, fit.denominator))
    return Raf(a, b, raf.version)


def _describe_demo(settings: Mapping[str, Any], setup: Mapping[str, Any]) -> str:
    get = defaultdict(lambda: "?", {**settings, **setup})
    parameters = setup.get("parameters", {})
    text = (
        f"A transformer of {get['layers']} layers, hidden size {get['hidden_size']}, once with learned "
        f"activations (RAFT{_format_parameters(parameters, 'raft')}) and once with {get['activation']} "
        f"(FAFT{_format_parameters(parameters, 'faft')}): pretrained for {format_value(get['steps'])} "
        f"steps of {get['batch_size']} sequences of {get['sequence_length']} tokens from "
        f"{shorten_corpus(str(get['corpus']))}"
    )
    if "train_documents" in setup:
        text += f" ({setup['train_documents']:,} documents)"
    tasks = setup.get("test_examples", {})
    if tasks:
        text += (
            f", then fine-tuned on {get['train_examples']} examples of each of {len(tasks)} tasks with "
            f"{get['seeds']} seeds"
        )
    return f"{text}."


def _format_parameters(parameters: Mapping[str, int], baseline: str) -> str:
    return f", {parameters[baseline]:,} parameters" if baseline in parameters else ""


def _round_seconds(seconds: Mapping[str, float]) -> dict[str, int]:
    return {f"seconds of {stage}": round(value) for stage, value in seconds.items()}
