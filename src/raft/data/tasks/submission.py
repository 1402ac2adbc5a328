"""Predictions of a test set without labels, as the GLUE server takes them: a line a sentence, in order.

Source: the sample submission of gluebenchmark.com.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raft.data.tasks.glue import GLUE
from raft.errors import InputError
from raft.files import write_text

FILES = {file: task for task in GLUE.values() for file in task.test_sets.values()}
"""The task of each submission file: ``CoLA``, ``SST-2``, ``MNLI-m``, ``MNLI-mm`` …"""


def write_submission(
    folder: Path, file: str, predictions: NDArray[Any], labels: Sequence[str] | None
) -> None:
    """Write the predictions for one hidden test set to ``<folder>/<file>.tsv``, atomically.

    Args:
        folder: made where it does not exist.
        file: as in ``Task.hidden``; GLUE's are ``FILES``.
        predictions: ``[N]`` classes (int64), or scores (floating point), of which GLUE's are cut to 0 … 5.
        labels: names of the classes in the order of their numbers, for which some of GLUE's tasks have others
            in files; None for scores.

    Raises:
        InputError: for scores of GLUE that are not finite, or a folder that cannot be written to.
    """
    task = FILES.get(file)
    if labels is not None:
        names = labels if task is None else task.written or labels
        words = [names[number] for number in predictions]
    else:
        if task is not None:
            if not np.isfinite(predictions).all():
                raise InputError(f"{file}: predictions that are not finite cannot be sent")
            predictions = np.clip(predictions, task.low, task.high)
        words = [f"{score:.5f}" for score in predictions]
    lines = ["index\tprediction", *(f"{number}\t{word}" for number, word in enumerate(words))]
    write_text(folder / f"{file}.tsv", "\n".join(lines) + "\n")
