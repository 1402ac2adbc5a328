"""Attention that begins at the neighbours: where it looks, and that it is nothing but initial weights."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raft.models import RaftBertConfig, RaftBertForMaskedLM, RaftBertForSequenceClassification
from raft.models.neighbours import frequencies, head_offset, position_waves

SIZE: dict[str, Any] = {
    "vocab_size": 200, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 256, "max_position_embeddings": 128, "raf": None,
}  # fmt: skip


def first_query(model: Any) -> Tensor:
    weight: Tensor = model.bert.encoder.layer[0].attention.self.query.weight
    return weight


def attentions(config: RaftBertConfig, length: int) -> list[Tensor]:
    torch.manual_seed(0)
    model = RaftBertForMaskedLM(config).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        tokens = torch.randint(5, 200, (8, length))
        return list(model.bert(tokens, output_attentions=True).attentions)


@pytest.mark.parametrize("length", [16, 128])
@pytest.mark.parametrize("deviation", [0.02, 0.1])
def test_each_head_looks_at_one_neighbour_at_any_length(length: int, deviation: float) -> None:
    config = RaftBertConfig(**SIZE, attention_init="neighbours", initializer_range=deviation)
    for of_layer in attentions(config, length):
        for head in range(4):
            at = head_offset(head)
            looked_at = of_layer[:, head].diagonal(at, -2, -1).mean()
            assert looked_at > 0.5
            assert looked_at > 10 * of_layer[:, head].diagonal(0, -2, -1).mean()
    assert [head_offset(head) for head in range(4)] == [-1, 1, -2, 2]


def test_attention_that_begins_at_random_looks_everywhere() -> None:
    for of_layer in attentions(RaftBertConfig(**SIZE), 128):
        assert of_layer.diagonal(1, -2, -1).mean() < 0.02


def test_positions_are_waves_whose_shift_is_a_rotation() -> None:
    waves = position_waves(40, 16, 0.5)
    assert waves.square().mean().sqrt() == pytest.approx(1.0, abs=1e-3)  # twice the tokens' deviation
    # the product of two positions depends on their distance alone
    products = waves @ waves.T
    for distance in range(40):
        on_it = products.diagonal(distance)
        assert torch.allclose(on_it, on_it[0].expand_as(on_it), atol=1e-4)
    chosen = frequencies(64)
    assert float(chosen.min()) > 0
    assert float(chosen.max()) < torch.pi
    # each quarter, a head of four, has its share of low and of high ones
    for part in chosen.view(4, 8):
        assert torch.histc(part, 4, 0, torch.pi).min() >= 1


def test_only_initial_weights_differ(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = RaftBertForMaskedLM(RaftBertConfig(**SIZE, attention_init="neighbours"))
    query = first_query(model)
    with torch.no_grad():
        query.normal_()
    model.save_pretrained(tmp_path)
    loaded = RaftBertForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(first_query(loaded), query)
    # a new head beside a trained encoder leaves the encoder alone
    tuned = RaftBertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(first_query(tuned), query)
    plain = RaftBertForMaskedLM(RaftBertConfig(**SIZE))
    assert {*plain.state_dict()} == {*model.state_dict()}
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(first_query(copied), query)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attention_init": "zero"}, "must be one of random, neighbours"),
        ({"attention_init": "neighbours", "embedding_layer_norm": False}, "needs embedding_layer_norm"),
        ({"attention_init": "neighbours", "hidden_size": 60}, "heads of an even width from 16 on, not 15"),
        ({"attention_init": "neighbours", "num_attention_heads": 16}, "from 16 on, not 8"),
    ],
)
def test_what_cannot_work_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RaftBertConfig(**{**SIZE, **changed})


def test_what_is_given_beside_a_folder_is_checked_too(tmp_path: Path) -> None:
    RaftBertConfig(**SIZE).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be one of random, neighbours, not 'zero'"):
        RaftBertConfig.from_pretrained(tmp_path, attention_init="zero")
    with pytest.raises(ValueError, match="from 16 on, not 4"):
        RaftBertConfig.from_pretrained(tmp_path, attention_init="neighbours", num_attention_heads=32)
    actual = RaftBertConfig.from_pretrained(tmp_path, attention_init="neighbours", num_attention_heads=8)
    assert (actual.attention_init, actual.num_attention_heads) == ("neighbours", 8)
