"""Curves, figures and the page."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import BertConfig, BertForMaskedLM

import raft
from raft.analysis.curves import curves
from raft.analysis.figures import activations_figure, loss_figure
from raft.analysis.report import console_table, html_page, markdown_table, summary
from raft.data.masking import MaskedSequences
from tests.experiments.test_experiments import results
from tests.training.test_training import SEQUENCES, TOKENIZER, config


def model() -> BertForMaskedLM:
    made: BertConfig = config({})
    torch.manual_seed(0)
    built = BertForMaskedLM(made)
    built.eval()
    return built


def test_curves_follow_the_activations_and_their_inputs() -> None:
    made = model()
    act = raft.hf.rationals(made)["bert.encoder.layer.1.intermediate.intermediate_act_fn"]
    with torch.no_grad():
        act.numerator[0] += 0.5  # the second layer's curve is GELU's, half a unit higher
    seen = []
    handle = act.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    found = curves(made, MaskedSequences(SEQUENCES, TOKENIZER, 0), "gelu", sequences=64)
    handle.remove()
    assert [curve.site.split(".")[3] for curve in found] == ["0", "1"]
    assert found[0].distance < 0.01
    values = torch.cat([v.flatten() for v in seen]).double().numpy()
    second = found[1]
    np.testing.assert_allclose(second.y, act(torch.from_numpy(second.x)).detach().numpy())
    assert second.x[0] < np.quantile(values, 0.01)
    assert second.x[-1] > np.quantile(values, 0.99)
    assert np.trapezoid(second.density, second.x) == pytest.approx(1.0, abs=0.03)
    lift = 0.5 / (
        1 + np.abs(np.array([b * values ** (k + 1) for k, b in enumerate(act.denominator.tolist())])).sum(0)
    )
    assert second.distance == pytest.approx(np.sqrt((lift**2).mean()), rel=0.03)


def test_the_page_is_whole_and_loads_nothing() -> None:
    found = curves(model(), MaskedSequences(SEQUENCES, TOKENIZER, 0), "gelu", sequences=32)
    page = html_page(results(), activations_figure(found, "gelu"), loss_figure(results().history, 6.5))
    assert "$" not in page
    assert page.count("<svg") == page.count("</svg>") == 2
    assert not re.search(r"<(script|link|img|iframe)|url\((?!#)|@import", page)
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    for text in ("5.250", "5.000", "−0.250 [−0.300, −0.200]", "12.0 ± 2.0", "6.500", "raft demo --steps 100"):
        assert text in page


def test_tables_agree_and_the_summary_takes_no_side() -> None:
    console = Console(width=140)
    with console.capture() as captured:
        console.print(console_table(results()))
    printed = captured.get()
    for line in markdown_table(results()).splitlines()[2:]:
        assert all(cell.strip() in printed for cell in line.strip("|").split("|"))
    text = summary(results())
    assert "the RAFT has the lower validation loss: 5.000 against the FAFT's 5.250" in text
    assert "scores higher on 1 of 1 tasks; on 0 of them" in text
