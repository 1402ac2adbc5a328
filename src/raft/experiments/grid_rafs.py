"""RAFs of a grid's cells: in the cells' folders, or in the one file that is kept of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from raft.analysis.snapshots import Snapshot, parse_inputs, read_inputs, read_snapshots, unstack_snapshots
from raft.experiments.grid import CELL, parse_options, read_options
from raft.files import atomic_write, read_text
from raft.hf.histogram import InputHistogram
from raft.training.monitoring import INPUTS, RAFS, read_coefficients


@dataclass(frozen=True)
class CellRafs:
    """The RAFs of one cell.

    Attributes:
        cell: its name.
        options: of its fine-tuning; none where they were not kept.
        snapshots: before and after it.
        inputs: that each RAF got, by site.
    """

    cell: str
    options: dict[str, Any]
    snapshots: list[Snapshot]
    inputs: dict[str, InputHistogram]


def read_grid_rafs(grid: Path) -> list[CellRafs]:
    """Those of all cells that have any, by name.

    Args:
        grid: folder of a grid, or of what is kept of one.

    Raises:
        InputError: for files that cannot be read.
    """
    folders = [file.parent for file in grid.glob(f"*/{RAFS}")]
    cells = [
        CellRafs(
            folder.name,
            read_options(folder) if (folder / CELL).is_file() else {},
            read_snapshots(folder),
            read_inputs(folder),
        )
        for folder in folders
    ]
    if (grid / RAFS).is_file():
        cells += _read_kept(grid / RAFS)
    return sorted(cells, key=lambda cell: cell.cell)


def keep_grid_rafs(cells: Iterable[Path], kept: Path) -> None:
    """Write one ``rafs.safetensors`` of the folders of some cells.

    Names of its tensors and its metadata are those of each cell's file after the name of the cell, as in
    ``CELL/steps``; ``CELL/cell.json`` and ``CELL/inputs.json`` of the metadata are those files.

    Args:
        cells: folders, with ``rafs.safetensors`` in each.
        kept: folder of the file.

    Raises:
        InputError: for files that cannot be read.
    """
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for cell in cells:
        of_cell, texts = read_coefficients(cell / RAFS)
        for name in (CELL, INPUTS):
            if (cell / name).is_file():
                texts[name] = json.dumps(json.loads(read_text(cell / name)), separators=(",", ":"))
        tensors |= {f"{cell.name}/{name}": tensor for name, tensor in of_cell.items()}
        metadata |= {f"{cell.name}/{name}": text for name, text in texts.items()}
    with atomic_write(kept / RAFS) as file:
        save_file(tensors, file, metadata)


def _read_kept(file: Path) -> list[CellRafs]:
    tensors: dict[str, dict[str, Tensor]] = defaultdict(dict)
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    everything, metadata = read_coefficients(file)
    for path, tensor in everything.items():
        cell, _, name = path.partition("/")
        tensors[cell][name] = tensor
    for path, text in metadata.items():
        cell, _, name = path.partition("/")
        texts[cell][name] = text
    return [
        CellRafs(
            cell,
            parse_options(file, texts[cell].get(CELL, "{}")),
            unstack_snapshots(file, tensors[cell], texts[cell]),
            parse_inputs(file, texts[cell].get(INPUTS, "{}")),
        )
        for cell in tensors
    ]
