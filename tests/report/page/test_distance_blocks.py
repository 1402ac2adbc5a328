"""The distances that a page tells, of RAFs whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raft.analysis.snapshots import Raf, Snapshot
from raft.hf.histogram import InputHistogram
from raft.report.page.blocks import Drawing, Tabular
from raft.report.page.distance_blocks import build_distance_blocks
from raft.report.page.sections import find_baselines
from raft.report.page.viewer import ViewerRun

SITES = ["encoder.layer.0.act", "encoder.layer.1.act", "pooler.act"]


def raf(constant: float, groups: int = 1) -> Raf:
    """GELU and a constant."""
    return Raf(np.full((groups, 1), constant, np.float32), np.zeros((groups, 0), np.float32), "A", "gelu")


def test_the_function_that_a_raf_is_compared_with() -> None:
    rows = np.zeros((1, 2), np.float32)
    rafs = {
        "layer": Raf(rows, rows, "A", None, "relu"), "pooler": Raf(rows, rows), "old": Raf(rows, rows),
        "beside": Raf(rows, rows, "A", "silu", "silu"), "other": Raf(rows, rows, "A", None, "PReLU"),
    }  # fmt: skip
    assert find_baselines([Snapshot(0, rafs)]) == {
        "layer": "relu", "pooler": "tanh", "old": "gelu", "beside": "silu", "other": "gelu",
    }  # fmt: skip
    # a pretraining's baselines have the function that it was compared with, whatever the RAFs began as
    assert find_baselines([Snapshot(0, rafs)], "mish")["layer"] == "mish"


def run(task: str, *constants: float, groups: int = 1) -> ViewerRun:
    start = Snapshot(0, {site: raf(1.0, groups) for site in SITES})
    end = Snapshot(8, {site: raf(value, groups) for site, value in zip(SITES, constants, strict=True)})
    inputs = InputHistogram()
    inputs.add(torch.linspace(-2, 2, 5000))
    baselines = {SITES[0]: "gelu", SITES[1]: "gelu", SITES[2]: "tanh"}
    return ViewerRun({"task": task}, [start, end], baselines, dict.fromkeys(SITES, inputs))


def test_distances_are_means_of_each_kind() -> None:
    _, table, *_ = build_distance_blocks(
        [run("cola", 1.5, 3, 1), run("rte", 1, 1, 1), run("cola", 2.5, 3, 1)], "task"
    )
    assert isinstance(table, Tabular)
    assert [*table.table.cells] == ["RAF", "cola", "rte"]
    # to GELU the constant itself; from the start, where it was 1, what it moved
    assert table.table.rows[0] == ["layer 0", "2.000 / 1.000", "1.000 / 0.000"]
    assert table.table.rows[1] == ["layer 1", "3.000 / 2.000", "1.000 / 0.000"]
    assert "where their inputs lie" in table.html("a")


def test_the_heat_map_leaves_out_sites_of_another_baseline() -> None:
    *_, drawing = build_distance_blocks([run("cola", 1, 3, 9), run("rte", 1, 2, 9)], "task")
    assert isinstance(drawing, Drawing)
    axes = drawing.figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(names) == ["cola layer 0", "cola layer 1", "rte layer 0", "rte layer 1"]
    values = dict(
        zip(names, np.asarray(axes.collections[0].get_array())[names.index("cola layer 0")], strict=True)
    )
    expected = {"cola layer 0": 0, "rte layer 0": 0, "cola layer 1": 2, "rte layer 1": 1}
    assert values == pytest.approx(expected)


def test_groups_have_distances_and_no_heat_map() -> None:
    blocks = build_distance_blocks([run("cola", 1, 3, 9, groups=2), run("rte", 1, 2, 9, groups=2)], "task")
    assert [type(block).__name__ for block in blocks] == ["Heading", "Tabular"]
