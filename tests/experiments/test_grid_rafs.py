"""What is kept of a grid's RAFs, in one file, is what its cells hold."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from raft.analysis.snapshots import Raf
from raft.errors import InputError
from raft.experiments.grid_rafs import keep_grid_rafs, read_grid_rafs
from raft.functions import make
from raft.report.page.grid_section import build_grid_section
from raft.report.page.page import render_page
from raft.training.monitoring import append_snapshot, read_coefficients, write_snapshots
from tests.report import run_folders
from tests.stored_scripts import load_script


def test_other_learned_functions_are_kept_too(tmp_path: Path) -> None:
    act = make("spline", knots=5, groups=2)
    values = {"a.act.knot_values": act.coefficients()[0].detach()}
    metadata = {"a.act.function": "spline", "a.act.settings": json.dumps(act.settings())}
    write_snapshots(tmp_path / "grid" / "cell", append_snapshot({}, 3, values), metadata)
    keep_grid_rafs([tmp_path / "grid" / "cell"], tmp_path / "kept")
    (cell,) = read_grid_rafs(tmp_path / "kept")
    x = np.linspace(-9, 9, 50)
    assert np.array_equal(cell.snapshots[0].rafs["a.act"].values(x), act.values(x))


def test_a_kept_file_holds_what_the_cells_held(tmp_path: Path) -> None:
    grid, kept = run_folders.grid(tmp_path / "grid"), tmp_path / "kept"
    cells = [grid / name for name in ("raf-1", "raf-0", "raf-residual-2")]
    keep_grid_rafs(cells, kept)
    assert [path.name for path in kept.iterdir()] == ["rafs.safetensors"]
    expected = {cell.cell: cell for cell in read_grid_rafs(grid)}
    assert len(expected) == 7
    actual = read_grid_rafs(kept)
    assert [cell.cell for cell in actual] == ["raf-0", "raf-1", "raf-residual-2"]
    for cell in actual:
        original = expected[cell.cell]
        assert cell.options == original.options
        assert [snapshot.step for snapshot in cell.snapshots] == [0, 40]
        for now, then in zip(cell.snapshots, original.snapshots, strict=True):
            assert list(now.rafs) == list(then.rafs)
            for site, raf in now.rafs.items():
                before = then.rafs[site]
                assert isinstance(raf, Raf)
                assert isinstance(before, Raf)
                assert np.array_equal(raf.numerator, before.numerator)
                assert np.array_equal(raf.denominator, before.denominator)
                assert (raf.version, raf.beside) == (before.version, before.beside)
        assert cell.inputs.keys() == original.inputs.keys()
        for site, inputs in cell.inputs.items():
            assert np.array_equal(inputs.counts, original.inputs[site].counts)
    assert actual[-1].snapshots[0].rafs[run_folders.SITES[0]].beside == "gelu"


def test_the_page_of_what_is_kept_is_that_of_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, kept = run_folders.grid(tmp_path / "a" / "grid"), tmp_path / "b" / "grid"
    (grid / "recipe.yaml").write_text("models: [runs/minilm]\ndata_dir: /data/glue\n")
    monkeypatch.setattr(sys, "argv", ["keep_grid", str(grid), str(kept)])
    load_script("keep_grid").main()
    names = {path.name for path in kept.iterdir()}
    assert names == {"rafs.safetensors", "recipe.yaml", "results.csv", "tables.md", "tables.tex"}
    assert len(read_grid_rafs(kept)) == 6  # the cell of the search for rates is not kept
    (grid / "recipe.yaml").write_text((kept / "recipe.yaml").read_text())
    pages = [render_page([build_grid_section(folder)]) for folder in (grid, kept)]
    assert pages[0] == pages[1]
    monkeypatch.setattr(sys, "argv", ["keep_grid", str(grid), str(kept), "--seeds", "1"])
    load_script("keep_grid").main()
    assert [cell.cell for cell in read_grid_rafs(kept)] == ["raf-0", "raf-residual-0"]


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("raf-0/cell.json", "[]", "holds no options of a cell"),
        ("raf-0/inputs.json", "{", "holds no histograms of inputs"),
        ("raf-0/steps", None, "does not say after which steps"),
    ],
)
def test_a_damaged_kept_file_is_named(key: str, text: str | None, message: str, tmp_path: Path) -> None:
    keep_grid_rafs([run_folders.grid(tmp_path / "grid") / "raf-0"], tmp_path / "kept")
    file = tmp_path / "kept" / "rafs.safetensors"
    tensors, metadata = load_file(file), read_coefficients(file)[1]
    assert key in {*tensors, *metadata}
    tensors.pop(key, None)
    save_file(tensors, file, {**metadata, key: text} if text is not None else metadata)
    with pytest.raises(InputError, match=rf"{re.escape(str(file))} {message}"):
        read_grid_rafs(tmp_path / "kept")
