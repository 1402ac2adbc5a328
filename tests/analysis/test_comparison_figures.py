"""What figures show is read back from their lines, images and frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from raft.analysis.comparison_figures import Evolution, draw_distances, draw_panels, subtract
from raft.analysis.distances import distance_matrix
from raft.analysis.function_measures import Domain
from raft.analysis.learned import shorten_names
from raft.coefficients.closed_form import RationalFunction
from raft.coefficients.functions import FUNCTIONS
from raft.report.score_figures import draw_scores

LINE, DOUBLE = RationalFunction((0.0, 1.0), ()), RationalFunction((0.0, 2.0), ())
SITES = ["bert.encoder.layer.0.intermediate.act", "bert.encoder.layer.1.intermediate.act"]
DOMAINS = {SITES[0]: Domain.interval(-1, 1), SITES[1]: Domain.interval(-3, 2)}


def test_panels_hold_each_function_over_its_own_domain() -> None:
    figure = draw_panels({site: {"cola": LINE, "rte": DOUBLE} for site in SITES}, DOMAINS)
    for axes, site, name in zip(figure.axes, SITES, ["layer.0", "layer.1"], strict=True):
        assert axes.get_title() == name
        lines: dict[str, Any] = {str(line.get_label()): line.get_xydata() for line in axes.lines}
        assert list(lines) == ["cola", "rte", "gelu"]
        x = DOMAINS[site].x
        np.testing.assert_allclose(lines["rte"], np.stack([x, 2 * x], axis=1))
        np.testing.assert_allclose(lines["gelu"][:, 1], FUNCTIONS["gelu"](x))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cola", "rte", "gelu"]


def test_panels_show_differences() -> None:
    figure = draw_panels({SITES[0]: {"moved": subtract(DOUBLE, LINE)}}, DOMAINS, None, "difference")
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(line.get_ydata()), DOMAINS[SITES[0]].x)
    assert figure.axes[0].get_ylabel() == "difference"


def test_a_heat_map_shows_the_matrix() -> None:
    constants = {site: RationalFunction((float(number),), ()) for number, site in enumerate(SITES)}
    matrix = distance_matrix(constants, Domain.interval(0, 1))
    axes = draw_distances(matrix).axes[0]
    np.testing.assert_allclose(np.asarray(axes.collections[0].get_array()), matrix.to_numpy())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layer.0", "layer.1"]
    assert [text.get_text() for text in axes.texts] == ["0.00", "1.00", "1.00", "0.00"]


def test_an_evolution_is_a_strip_and_an_animation(tmp_path: Path) -> None:
    steps = {
        step: dict.fromkeys(SITES, RationalFunction((0.0, step / 100), ())) for step in range(0, 1001, 100)
    }
    evolution = Evolution(steps, DOMAINS)
    figure = evolution.strip(frames=3)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["step 0", "step 500", "step 1,000"]
    middle = figure.axes[1].lines[1]
    np.testing.assert_allclose(np.asarray(middle.get_ydata()), 5 * DOMAINS[SITES[0]].x)
    file = tmp_path / "evolution.gif"
    evolution.write_gif(file, frames=4, seconds=2)
    image: Any
    with Image.open(file) as image:
        assert image.format == "GIF"
        assert image.n_frames >= 4  # like ones at the end may be stored as one
        first = np.asarray(image.convert("L"))
        image.seek(image.n_frames - 1)
        assert (np.asarray(image.convert("L")) != first).any()
    with pytest.raises(ValueError, match="no snapshots"):
        Evolution({}, DOMAINS)
    rows = Evolution(steps, DOMAINS, {SITES[0]: "identity", SITES[1]: "relu"}).strip(frames=2).axes
    for axes, fixed in zip(rows[::2], (lambda x: x, lambda x: np.maximum(x, 0.0)), strict=True):
        x, y = map(np.asarray, axes.lines[0].get_data())
        np.testing.assert_allclose(y, fixed(x))


def test_scores_are_drawn_with_their_intervals() -> None:
    points = {"keep": [60.0, 62.0, 64.0], "raf": [61.0, 61.0, 61.0]}
    rows = [
        {"task": task, "model": "m", "activation": activation, "tuning": "full", "train_examples": "100",
         "seed": seed, "points": value}
        for task in ("cola", "rte")
        for activation in ("raf", "keep")
        for seed, value in enumerate(points[activation])
    ]  # fmt: skip
    figure = draw_scores(pd.DataFrame(rows))
    assert [axes.get_title() for axes in figure.axes] == ["cola", "rte"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["keep", "raf"]
    # also a variant that the first panel lacks
    partly = [row for row in rows if (row["task"], row["activation"]) != ("cola", "raf")]
    assert [text.get_text() for text in draw_scores(pd.DataFrame(partly)).legends[0].get_texts()] == [
        "keep", "raf",
    ]  # fmt: skip
    axes: Any = figure.axes[0]
    keep, raf = axes.containers
    mean, caps, _ = keep.lines
    assert mean.get_xdata()[0] == 62
    # Student's t with 2 degrees of freedom, 4.3027, times 2/√3
    assert [cap.get_xdata()[0] for cap in caps] == pytest.approx(
        [62 - 4.3027 * 1.1547, 62 + 4.3027 * 1.1547], abs=1e-3
    )
    assert raf.lines[1][0].get_xdata()[0] == 61
    assert {value for line in axes.lines for value in line.get_xdata()} >= {60, 62, 64}


def test_short_names() -> None:
    assert list(shorten_names(SITES).values()) == ["layer.0", "layer.1"]
    both = ["text.layer.0.mlp.act", "vision.layer.0.mlp.act"]
    assert list(shorten_names(both).values()) == ["text.layer.0", "vision.layer.0"]
    assert list(shorten_names(["bert.encoder.layer.3.act"]).values()) == ["bert.encoder.layer.3"]
    assert list(shorten_names(["layer.0.a", "layer.0.b"]).values()) == ["layer.0.a", "layer.0.b"]
