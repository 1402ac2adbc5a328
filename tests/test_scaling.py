"""The costs in ``docs/scaling.md`` come from formulas that hold for the model that is built."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from raft.models import RaftBertConfig, RaftBertForMaskedLM
from tests.stored_scripts import load_script, needs_results

pytestmark = needs_results

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def costs() -> ModuleType:
    return load_script("tabulate_costs")


def test_the_work_of_a_token_is_what_torch_counts(costs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    length, hidden, layers, vocabulary, masked = 24, 32, 3, 500, 6
    for name, value in (("LENGTH", length), ("VOCABULARY", vocabulary), ("MASKED", masked / length)):
        monkeypatch.setattr(costs, name, value)
    config = RaftBertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=4 * hidden, max_position_embeddings=length,
    )  # fmt: skip
    model = RaftBertForMaskedLM(config)
    model.set_attn_implementation("eager")
    ids = torch.randint(vocabulary, (4, length))
    labels = torch.full_like(ids, -100)
    labels[:, :masked] = 1
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=labels).loss.backward()
    expected = costs.Model("tiny", hidden, layers, 0, 0.0).flops_per_token * ids.numel()
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-3)


def test_more_gpus_take_less_time_and_no_less_money(costs: ModuleType) -> None:
    model = costs.Model("BERT-base", 768, 12, 109_514_418, 577_900.0)
    rows = [costs.cost(model, gpus) for gpus in costs.GPUS]
    for row, following in pairwise(rows):
        assert row["sequences_at_once"] * row["accumulation"] * row["gpus"] == costs.BATCH
        assert row["gigabytes"] < 1e-9 * costs.MEMORY
        assert following["dollars"] >= 0.999 * row["dollars"]
    compute = model.flops_per_token * costs.BATCH * costs.LENGTH / (costs.PEAK * costs.UTILISATION)
    assert rows[0]["step_seconds"] == pytest.approx(compute)


def test_the_page_shows_the_numbers_of_the_file(costs: ModuleType) -> None:
    rows = pd.read_csv(ROOT / "results" / "scaling" / "costs.csv").to_dict("records")
    assert costs.cost_table(rows) in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
