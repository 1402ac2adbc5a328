"""What a page says of learned functions of all kinds."""

from __future__ import annotations

import warnings

from raft.analysis.snapshots import FunctionSnapshot, ParametricSnapshot, Raf, Snapshot
from raft.coefficients import named_fit
from raft.functions import make
from raft.modules import Rational
from raft.report.page.blocks import Gallery, Heading, Prose
from raft.report.page.sections import build_learned_blocks
from raft.report.page.viewer import Viewer, ViewerRun

SITES = ["encoder.layer.0.act", "encoder.layer.1.act"]


def run(variant: str, act: FunctionSnapshot) -> ViewerRun:
    snapshots = [Snapshot(step, dict.fromkeys(SITES, act)) for step in (0, 10)]
    return ViewerRun({"variant": variant}, snapshots, dict.fromkeys(SITES, "gelu"))


def rational() -> Raf:
    fit = named_fit("gelu")
    a, b = (values.detach().numpy()[None] for values in Rational(fit).coefficients())
    return Raf(a, b)


def test_functions_of_all_kinds_stand_in_one_viewer_and_one_gallery() -> None:
    runs = [
        run("raf", rational()),
        run("spline", ParametricSnapshot(make("spline", groups=2), "gelu")),
        run("polynorm", ParametricSnapshot(make("polynorm"), "gelu")),
    ]
    heading, viewer, gallery, *_ = build_learned_blocks(runs, "variant", note="A note.")
    assert heading == Heading("What was learned")
    assert isinstance(viewer, Viewer)
    assert isinstance(gallery, Gallery)
    assert [each.settings["variant"] for each in viewer.runs] == ["raf", "spline"]
    assert viewer.note == (
        "A note. Not drawn: polynorm (layer 0, layer 1), whose outputs depend on all channels, so that there "
        "is no curve."
    )
    legend = gallery.drawings[0].figure.axes[0].get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["raf", "spline", "gelu"]
    assert len(gallery.drawings[0].figure.axes[0].lines) == 1 + 1 + 2 + 1  # an axis, a curve a group, GELU
    html = str(viewer.html("a"))
    assert '"kind": "spline"' in html.replace('"kind":"', '"kind": "')


def test_where_nothing_has_a_curve_a_sentence_says_so() -> None:
    heading, prose = build_learned_blocks([run("polynorm", ParametricSnapshot(make("polynorm")))])
    assert heading == Heading("What was learned")
    assert isinstance(prose, Prose)
    assert prose.text.startswith("Not drawn: polynorm (layer 0, layer 1)")


def test_long_names_have_a_legend_beside_the_figures() -> None:
    names = [
        "raf",
        "raf:raf_shared=kind:raf_learning_rate=8e-3:raf_lr_scheduler_type=linear",
        "raf:version=B",
    ]
    runs = [run(name, rational()) for name in names]
    _, _, gallery, *_ = build_learned_blocks(runs, "variant")
    assert isinstance(gallery, Gallery)
    legend, *shapes = (drawing.figure for drawing in gallery.drawings)
    assert [text.get_text().replace("\n", "") for text in legend.legends[0].get_texts()] == [*names, "gelu"]
    assert len(shapes) == len(SITES)
    for figure in (legend, *shapes):
        with warnings.catch_warnings(action="error"):  # that the axes have no room
            figure.canvas.draw()
        assert not any(axes.get_legend() for axes in figure.axes)
