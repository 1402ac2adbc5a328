"""Run folders: claimed before the work, filled beside their place, and moved there when whole."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from raft.errors import InputError
from raft.experiments.statistics import Difference
from raft.files import hindrance, publish, read_json, working_folder, write_text

RESULTS = "results.json"


@dataclass(frozen=True)
class Content:
    """What an output folder holds.

    Attributes:
        name: of such a thing, for messages.
        marker: the file that tells it; a folder without it is never overwritten.
        option: by which the user names the folder.
    """

    name: str = "run"
    marker: str = RESULTS
    option: str = "--out"


RUN = Content()


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        measure: what was measured.
        unit: of all numbers of the row.
        faft: mean over seeds.
        raft: mean over seeds.
        faft_std: standard deviation over seeds, None for one seed.
        raft_std: standard deviation over seeds, None for one seed.
        difference: RAFT − FAFT with its 95 % interval, None where there is none to give.
        lower_is_better: which way is good.
        seeds: how many.
    """

    measure: str
    unit: str
    faft: float
    raft: float
    faft_std: float | None = None
    raft_std: float | None = None
    difference: Difference | None = None
    lower_is_better: bool = False
    seeds: int = 1


@dataclass(frozen=True)
class Results:
    """Everything a run found out; ``results.json`` holds just this.

    Attributes:
        rows: the table.
        unigram_loss: validation loss of the unigram model, in nats.
        settings: what the run was asked to do.
        command: that repeats it.
        setup: sizes, steps, versions, machine.
        history: of each twin, ``[step, validation loss]``.
        scores: of each task and twin, one score a seed.
        seconds: of the stages.
    """

    rows: list[Row]
    unigram_loss: float
    settings: dict[str, Any]
    command: str
    setup: dict[str, Any]
    history: dict[str, list[tuple[int, float]]]
    scores: dict[str, dict[str, list[float]]]
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Of a run's folder.

        Raises:
            InputError: where ``results.json`` is not such a run's.
        """
        file = folder / RESULTS
        what = "comparison of 'raft demo'"
        results = read_json(file, cls, what)
        missing = {"steps", "validation_sequences", "train_examples"} - {*results.setup, *results.settings}
        if missing or not results.rows:
            raise InputError(f"{file} holds no {what}: it has no {min(missing, default='rows')}")
        return results

    def write(self, folder: Path) -> None:
        """Write ``results.json`` and ``results.csv``."""
        write_text(folder / RESULTS, json.dumps(asdict(self), indent=2) + "\n")
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            interval = row.pop("difference") or {"mean": None, "low": None, "high": None}
            row |= {f"difference_{key}": value for key, value in interval.items()}
        write_text(folder / "results.csv", pd.DataFrame(rows).to_csv(index=False))


def check_free(out: Path, overwrite: bool, content: Content = RUN) -> None:
    """Refuse an output folder that holds another run (or other ``content``), or anything else.

    Raises:
        InputError: unless the folder is missing or empty, or holds a run that may be overwritten.
    """
    if not out.exists():
        return
    other = f"choose another {content.option}"
    if not out.is_dir():
        raise InputError(f"{out} is a file; {other}")
    if not any(out.iterdir()):
        return
    if not (out / content.marker).exists():
        raise InputError(f"{out} is not empty and holds no {content.name}; {other}")
    if not overwrite:
        raise InputError(f"{out} holds another {content.name}; {other}, or give --overwrite")


@contextmanager
def run_folder(out: Path, overwrite: bool, content: Content = RUN) -> Iterator[Path]:
    """A folder to fill, which takes its place only when the block ends well; else it is removed.

    Raises:
        InputError: as ``check_free``, and where the folder cannot be made.
        WriteError: where a file in it cannot be written.
    """
    out = out.resolve()  # "." has no name
    check_free(out, overwrite, content)
    reason = hindrance(out.parent)
    if reason:
        raise InputError(f"cannot write to {out.parent}: {reason}")
    with working_folder(out.with_name(f".{out.name}.unfinished-{os.getpid()}"), out) as unfinished:
        yield unfinished
        check_free(out, overwrite, content)
        if out.exists():
            _replace_content(out, unfinished, content.marker)
        else:
            publish(unfinished, out)


def _replace_content(out: Path, new: Path, marker: str) -> None:
    """The folder itself stays, in which a shell may stand; what tells that it is whole comes last."""
    old = sorted(out.iterdir(), key=lambda path: path.name != marker)
    for path in old:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in sorted(new.iterdir(), key=lambda path: path.name == marker):
        path.rename(out / path.name)


def machine() -> dict[str, Any]:
    """What the run was made with and on."""
    packages = ("torch", "transformers", "tokenizers", "numpy", "raft-transformers")
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "processor": _processor(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
