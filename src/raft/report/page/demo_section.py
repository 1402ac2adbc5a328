"""What the page shows of the folder of ``raft demo``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from raft.analysis.figures import loss_figure
from raft.analysis.snapshots import Raf, Snapshot, read_inputs, read_rafs
from raft.coefficients import named_fit
from raft.experiments.results import Results
from raft.report.page.blocks import Block, Drawing, Fact, Facts, Heading, Prose, Tabular
from raft.report.page.page import Section
from raft.report.page.sections import corpus_name, difference_fact, learned_blocks, plain, repeat_blocks
from raft.report.page.viewer import ViewerRun
from raft.report.tables import demo as comparison

RAFS = "rafs.safetensors"
"""The coefficients that a demo ends with."""


def demo_section(folder: Path, name: str | None = None) -> Section:
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
        difference_fact(loss.raft - loss.faft, loss.difference, "over validation sequences; RAFT − FAFT"),
        Fact("unigram model", f"{results.unigram_loss:.3f} nats"),
    ]
    table = comparison.comparison_table(results)
    blocks: list[Block] = [
        Prose(_demo_sentence(settings, setup), "lead"),
        Prose(comparison.summary(results)),
        Facts(facts),
        Tabular(table, table.note),
    ]
    if (folder / RAFS).is_file():
        blocks += learned_blocks([_demo_run(folder, settings, setup)])
    caption = "Validation loss over the pretraining. Both twins saw the same batches."
    losses = loss_figure(results.history, results.unigram_loss)
    blocks += [
        Heading("On the way"),
        Drawing(losses, "Validation loss of both twins over the pretraining", caption, narrow=True),
        *repeat_blocks(results.command, {**setup, **_rounded(results.seconds)}),
    ]
    return Section(name or folder.resolve().name, "A RAFT beside its FAFT", blocks)


def _demo_run(folder: Path, settings: Mapping[str, Any], setup: Mapping[str, Any]) -> ViewerRun:
    """From the fit that the RAFs began as to what they became."""
    rafs = read_rafs(folder / RAFS)
    twin = str(settings.get("activation", "gelu"))
    snapshots = [Snapshot(0, {site: _start(twin, raf) for site, raf in rafs.items()})]
    snapshots.append(Snapshot(int(setup.get("steps", 1)), rafs))
    return ViewerRun({}, snapshots, dict.fromkeys(rafs, twin), read_inputs(folder))


def _start(function: str, raf: Raf) -> Raf:
    fit = named_fit(function, (raf.numerator.shape[1] - 1, raf.denominator.shape[1]), raf.version)
    a, b = (np.array([values], np.float32) for values in (fit.numerator, fit.denominator))
    return Raf(a, b, raf.version)


def _demo_sentence(settings: Mapping[str, Any], setup: Mapping[str, Any]) -> str:
    get = defaultdict(lambda: "?", {**settings, **setup})
    parameters = setup.get("parameters", {})
    text = (
        f"A transformer of {get['layers']} layers, hidden size {get['hidden_size']}, once with learned "
        f"activations (RAFT{_of(parameters, 'raft')}) and once with {get['activation']} "
        f"(FAFT{_of(parameters, 'faft')}): pretrained for {plain(get['steps'])} steps of "
        f"{get['batch_size']} sequences of {get['sequence_length']} tokens from "
        f"{corpus_name(str(get['corpus']))}"
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


def _of(parameters: Mapping[str, int], twin: str) -> str:
    return f", {parameters[twin]:,} parameters" if twin in parameters else ""


def _rounded(seconds: Mapping[str, float]) -> dict[str, int]:
    return {f"seconds of {stage}": round(value) for stage, value in seconds.items()}
