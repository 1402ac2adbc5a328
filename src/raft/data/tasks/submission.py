"""Predictions as submissions to the GLUE server: a line for each sentence of a test set, in order.

Source: the sample submission of gluebenchmark.com.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raft.data.tasks.glue import GLUE, GlueTask
from raft.errors import InputError
from raft.files import write_text

FILES = {file: task for task in GLUE.values() for file in task.test_sets.values()}
"""The task of each submission file: ``CoLA``, ``SST-2``, ``MNLI-m``, ``MNLI-mm`` …"""


def write_submission(folder: str | Path, file: str, predictions: NDArray[Any]) -> Path:
    """Write the predictions for one hidden test set to ``<folder>/<file>.tsv``, atomically.

    Args:
        folder: made where it does not exist.
        file: one of ``FILES``, as in ``Task.hidden``.
        predictions: ``[N]`` classes (int64), or scores (floating point), which are cut to 0 … 5.

    Returns:
        The file.

    Raises:
        InputError: for an unknown file, a prediction that the task does not have, or a folder that cannot be
            written to.
    """
    if file not in FILES:
        raise InputError(f"the GLUE server knows no {file!r}, only {', '.join(FILES)}")
    return write_lines(folder, file, _prediction_words(FILES[file], predictions))


def write_lines(folder: str | Path, file: str, words: Sequence[str]) -> Path:
    """Write a prediction a line to ``<folder>/<file>.tsv``, in GLUE's form, atomically.

    Raises:
        InputError: for a folder that cannot be written to.
    """
    path = Path(folder).expanduser() / f"{file}.tsv"
    lines = ["index\tprediction", *(f"{number}\t{word}" for number, word in enumerate(words))]
    write_text(path, "\n".join(lines) + "\n")
    return path


def _prediction_words(task: GlueTask, predictions: NDArray[Any]) -> list[str]:
    classes = task.written or task.labels
    if classes is None:
        if not np.isfinite(predictions).all():
            raise InputError(f"{task.folder}: predictions that are not finite cannot be sent")
        return [f"{score:.5f}" for score in np.clip(predictions, task.low, task.high)]
    unknown = next((int(number) for number in predictions if not 0 <= number < len(classes)), None)
    if unknown is not None:
        raise InputError(f"{task.folder}: class {unknown} is none of its {len(classes)}")
    return [classes[number] for number in predictions]
