"""Which kind of run a folder holds, and what the page shows of it."""

from __future__ import annotations

import shlex
from pathlib import Path

from raft.errors import InputError
from raft.experiments.pretraining import COMPARISON, PretrainingComparison, Variant
from raft.finetuning.task_source import RESULT as FINETUNING
from raft.pretraining.run import RESULT, PretrainingResult
from raft.report.page.demo_section import build_demo_section
from raft.report.page.finetuning_section import build_finetuning_section
from raft.report.page.grid_section import build_grid_section
from raft.report.page.page import Section
from raft.report.page.pretraining_section import build_pretraining_section
from raft.report.tables.grid import RESULTS as GRID_RESULTS
from raft.training.run_folder import RESULTS


def detect_kind(folder: Path) -> str | None:
    """``"comparison"``, ``"pretraining"``, ``"finetuning"``, ``"demo"`` or ``"grid"``; None for a folder of
    anything else."""
    marks = {
        "comparison": COMPARISON, "pretraining": RESULT, "finetuning": FINETUNING, "demo": RESULTS,
        "grid": GRID_RESULTS,
    }  # fmt: skip
    return next((name for name, file in marks.items() if (folder / file).is_file()), None)


def build_section(folder: Path) -> Section:
    """What the page shows of a run's folder.

    Raises:
        InputError: where it holds no run, or its files cannot be read.
    """
    kind = detect_kind(folder)
    if kind == "comparison":
        return build_pretraining_section(folder, PretrainingComparison.read(folder))
    if kind == "pretraining":
        return build_pretraining_section(folder, read_single(folder))
    if kind == "finetuning":
        return build_finetuning_section(folder)
    if kind == "demo":
        return build_demo_section(folder)
    if kind == "grid":
        return build_grid_section(folder)
    finished = [path for path in sorted(folder.iterdir()) if path.is_dir() and detect_kind(path)]
    if finished:
        raise InputError(
            f"{folder} is no finished run, but holds some: raft report {shlex.join(map(str, finished))}"
        )
    raise InputError(
        f"{folder} holds no run: no {RESULTS} of 'raft demo', {COMPARISON} or {RESULT} of 'raft pretrain', "
        f"{FINETUNING} of 'raft finetune', nor {GRID_RESULTS} of 'raft grid'"
    )


def read_single(folder: Path) -> PretrainingComparison:
    """A single pretraining as a comparison of one.

    Raises:
        InputError: where its result cannot be read.
    """
    result = PretrainingResult.read(folder)
    return PretrainingComparison(
        [Variant(result.activation, [result])], "raft pretrain --config recipe.yaml --output_dir NEW", {}
    )
