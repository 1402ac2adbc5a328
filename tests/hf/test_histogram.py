"""Streamed histograms of what RAFs get, against numpy on all values at once."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BartConfig, BartModel, BertConfig, BertModel

import raft
from raft.files import validate
from raft.hf.histogram import HistogramRecord, InputHistogram, joint_range, record_histograms


def histogram(*parts: torch.Tensor) -> InputHistogram:
    actual = InputHistogram()
    for part in parts:
        actual.add(part)
    return actual


@pytest.mark.parametrize("scale", [1e-2, 1.0, 300.0])
def test_quantiles_and_shares_are_those_of_all_values_within_a_bin(scale: float) -> None:
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * scale
    actual = histogram(*values.split(7001))
    for share in (0.0005, 0.1, 0.5, 0.9, 0.9995):
        expected = torch.quantile(values[:], share).item()
        assert actual.quantile(share) == pytest.approx(expected, rel=0.015, abs=0.015)
    assert (actual.low, actual.high, actual.total) == (values.min().item(), values.max().item(), len(values))
    for x in (-scale, 0.0, scale):
        # the values of a bin are spread over it evenly
        near = ((values - x).abs() < 0.015 * max(1.0, abs(x))).double().mean().item()
        assert abs(actual.cdf(x) - (values < x).double().mean().item()) <= near


def test_quantiles_lie_where_inputs_are() -> None:
    actual = histogram(torch.tensor([-3.0, -3.0, 70.0, 70.0]))
    assert (actual.quantile(0), actual.quantile(1)) == (-3, 70)
    for share, expected in ((0.25, -3), (0.49, -3), (0.51, 70), (0.75, 70)):
        assert actual.quantile(share) == pytest.approx(expected, rel=0.015)
    assert min(abs(actual.quantile(0.5) + 3), abs(actual.quantile(0.5) - 70)) < 1.1  # not in the gap


def test_what_is_included_widens_the_extremes() -> None:
    first, second = histogram(torch.tensor([1.0, 2.0])), histogram(torch.tensor([-7.0, 1.5, 9.0]))
    first.update(second)
    assert (first.total, first.low, first.high) == (5, -7.0, 9.0)
    assert first.cdf(-0.5) == pytest.approx(0.2, abs=0.01)
    assert (second.total, second.low, second.high) == (3, -7.0, 9.0)


def test_density_is_that_of_the_normal_distribution() -> None:
    values = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
    x = np.linspace(-2, 2, 9)
    expected = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(histogram(values).density(x), expected, rtol=0.03)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e8, 1e8, width=32), min_size=1, max_size=30))
def test_shares_rise_from_zero_to_one(values: list[float]) -> None:
    actual = histogram(torch.tensor(values))
    x = np.linspace(actual.low - 1, actual.high + 1, 101)
    shares = actual.cdf(x)
    assert (np.diff(shares) >= 0).all()
    assert shares[0] == 0
    assert shares[-1] == 1
    assert actual.low <= actual.quantile(0.5) <= actual.high


def test_ends_of_a_narrow_range_are_no_spikes() -> None:
    values = torch.linspace(0.002, 0.012, 20_001)
    actual = histogram(values)
    # of evenly spread values the share rises evenly, within a bin as well
    x = np.linspace(0.002, 0.012, 11)
    np.testing.assert_allclose(actual.cdf(x), np.linspace(0, 1, 11), atol=0.01)
    assert actual.quantile(0.25) == pytest.approx(0.0045, abs=2e-4)


def test_an_encoder_of_two_stacks_alone_leaves_its_padding_out() -> None:
    config = BartConfig(
        vocab_size=50, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=20,
    )  # fmt: skip
    whole = raft.convert(BartModel(config)).eval()
    ids, mask = torch.full((2, 8), 7), torch.ones(2, 8, dtype=torch.long)
    mask[0, 2:] = 0
    with record_histograms(whole.encoder) as actual, torch.no_grad():
        whole.encoder(input_ids=ids, attention_mask=mask)
    assert [each.total for each in actual.values()] == [10 * 16]
    with record_histograms(whole) as actual, torch.no_grad():
        whole(input_ids=ids, attention_mask=mask, decoder_input_ids=ids, decoder_attention_mask=1 - mask)
    assert [each.total for each in actual.values()] == [10 * 16, 6 * 16]


def test_a_range_leaves_out_the_farthest_inputs_and_a_joint_one_holds_all_ranges() -> None:
    narrow, wide = histogram(torch.linspace(0, 1, 10_001)), histogram(torch.linspace(-4, 4, 10_001))
    assert narrow.range() == pytest.approx((-0.05, 1.05), abs=0.02)  # a bin is 0.014 wide
    narrow.add(torch.tensor([100.0, -100.0]))
    assert narrow.range() == pytest.approx((-0.05, 1.05), abs=0.02)  # a bin is 0.014 wide
    assert joint_range([narrow, wide, InputHistogram()]) == wide.range()
    assert joint_range([InputHistogram()]) is None


def test_values_that_are_not_finite_are_left_out() -> None:
    actual = histogram(torch.tensor([1.0, float("nan"), float("inf"), -float("inf")]))
    assert (actual.total, actual.low, actual.high) == (1, 1.0, 1.0)
    with pytest.raises(ValueError, match="no inputs"):
        InputHistogram().quantile(0.5)


def test_a_record_goes_through_json() -> None:
    actual = histogram(torch.tensor([-3.0, 0.5, 0.5, 70.0]))
    read = InputHistogram.from_record(
        validate(json.loads(json.dumps(asdict(actual.to_record()))), HistogramRecord)
    )
    assert (read.counts == actual.counts).all()
    assert (read.low, read.high) == (actual.low, actual.high)


def test_counts_what_raf_layers_get_without_padding() -> None:
    config = BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    model = raft.convert(BertModel(config)).eval()
    ids = torch.randint(0, 50, (3, 10), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    seen: list[torch.Tensor] = []
    act = model.encoder.layer[1].intermediate.intermediate_act_fn
    handle = act.register_forward_pre_hook(lambda module, args: seen.append(args[0][mask.bool()]))
    with record_histograms(model) as actual, torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
    handle.remove()
    site = "encoder.layer.1.intermediate.intermediate_act_fn"
    assert actual[site].total == 24 * 16
    assert actual[site].high == seen[0].max().item()
    assert not act._forward_pre_hooks
    with torch.no_grad():
        model(input_ids=ids)
    assert actual[site].total == 24 * 16
