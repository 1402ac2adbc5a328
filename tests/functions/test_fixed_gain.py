"""A rational function whose gain is fixed: its formula, its gradient, its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn
from torch.autograd import gradcheck
from transformers import AutoModel, BertConfig, BertModel, TrainerControl, TrainerState, TrainingArguments

import raft
from raft.analysis.snapshots import read_snapshots
from raft.functions import FixedGainRational, set_gain
from raft.functions.fixed_gain import measure_gain
from raft.learned_activation import learned_activations
from raft.training.monitoring import RafSnapshots


def moved(groups: int = 1) -> FixedGainRational:
    act = FixedGainRational("gelu", groups)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return act


def gain_by_quadrature(act: nn.Module) -> float:
    def weighted(z: float) -> float:
        y = float(act(torch.tensor(z, dtype=torch.float64)).detach())
        return float(y**2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))

    return float(np.sqrt(sum(quad(weighted, *ends)[0] for ends in ((-9, 0), (0, 9)))))


def test_the_gain_is_that_of_the_start_whatever_the_coefficients_are() -> None:
    act = moved()
    start = raft.Rational("gelu")
    assert gain_by_quadrature(act) == pytest.approx(gain_by_quadrature(start), rel=1e-4)
    x = torch.linspace(-3, 3, 50)
    assert torch.equal(FixedGainRational("gelu")(x), start(x))
    assert (act(x) - start(x)).abs().max() > 0.1
    before = act(x)
    with torch.no_grad():
        act.numerator.mul_(7.0)
    torch.testing.assert_close(act(x), before)


def test_groups_have_gains_of_their_own() -> None:
    act, x = moved(groups=2), torch.randn(5, 6)
    y = act(x)
    for group, columns in enumerate((slice(0, 3), slice(3, 6))):
        alone = FixedGainRational("gelu")
        with torch.no_grad():
            alone.numerator.copy_(act.numerator[group])
            alone.denominator.copy_(act.denominator[group])
        torch.testing.assert_close(y[:, columns], alone(x[:, columns]))
        assert gain_by_quadrature(alone) == pytest.approx(float(alone.gain), rel=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_are_those_of_differences_and_have_no_part_along_the_gain(groups: int) -> None:
    act = moved(groups)
    x = torch.randn(7, 4, dtype=torch.float64).requires_grad_()
    numerator, denominator = (p.detach().double().requires_grad_() for p in act.parameters())

    def value(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
        ratio = act.gain.double() / measure_gain(numerator, denominator)
        return raft.rational(x, numerator * ratio, denominator)

    assert gradcheck(value, (x, numerator, denominator))
    act(x.detach().float()).sin().sum().backward()
    expected = torch.autograd.grad(value(x, numerator, denominator).sin().sum(), (numerator, denominator))
    for parameter, gradient in zip(act.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.double(), gradient, rtol=1e-4, atol=1e-4)
    along = (expected[0] * numerator).sum(-1)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0.0, atol=1e-9)


def test_a_start_without_a_gain_is_refused() -> None:
    with pytest.raises(ValueError, match="is zero, and has no gain to hold"):
        FixedGainRational(torch.zeros_like)


def test_it_starts_over_samples_as_a_rational_does() -> None:
    x = torch.linspace(-9, 9, 500)
    act = FixedGainRational("gelu")
    act.start_from(nn.GELU(), x)
    fitted = raft.fit(nn.GELU(), samples=x)
    np.testing.assert_allclose(act(x).detach(), fitted(x.double()), atol=1e-4)
    assert act.start.max_error == pytest.approx(fitted.max_error)


def test_a_model_keeps_function_and_gain(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
    model = raft.convert(
        BertModel(config), raft.RafConfig(function="fixed_gain", sites=["ffn", "attention_input"])
    )
    acts = [module for module in model.modules() if isinstance(module, FixedGainRational)]
    assert len(acts) == 4
    assert len({round(float(act.gain), 4) for act in acts}) == 2  # of GELU, and of the identity
    with torch.no_grad():
        for act in acts:
            act.denominator.add_(0.5)
    model.eval().save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    words = torch.arange(8)[None]
    assert torch.equal(again(words).last_hidden_state, model(words).last_hidden_state)
    # what is recorded of a training are the functions, and not the numbers under them
    state = TrainerState(global_step=0, max_steps=1, is_world_process_zero=True)
    RafSnapshots(tmp_path, 1).on_train_begin(
        TrainingArguments(output_dir=str(tmp_path)), state, TrainerControl(), model=model
    )
    (snapshot,) = read_snapshots(tmp_path)
    x = np.linspace(-3, 3, 9)
    for name, learned in learned_activations(model).items():
        np.testing.assert_allclose(snapshot.rafs[name].values(x), learned.values(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("version", ["A", "B", "C", "D", "N"])
def test_a_gain_is_that_of_the_version(version: str) -> None:
    act = raft.Rational("gelu", version=version).eval()
    with torch.no_grad():
        act.denominator[0].add_(0.3)  # P/Q of no version is then that of another
    set_gain(act, 0.15)
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    measured = ((density * act(z).square()).sum() / density.sum()).sqrt()
    assert measured.item() == pytest.approx(0.15, rel=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [raft.Rational, FixedGainRational])
def test_a_function_is_scaled_to_a_gain(kind: Any, groups: int) -> None:
    act, before = kind("silu", groups=groups), kind("silu", groups=groups)
    start = measure_gain(*kind("silu").coefficients()).item()
    set_gain(act, 0.15)
    gains = measure_gain(*(values.detach() for values in act.coefficients()))
    torch.testing.assert_close(gains, torch.full_like(gains, 0.15))
    x = torch.randn(50, 4)
    torch.testing.assert_close(act(x), before(x) * (0.15 / start))
    for gain in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="cannot have the gain"):
            set_gain(act, gain)
    zero = raft.Rational()
    nn.init.zeros_(zero.numerator)
    with pytest.raises(ValueError, match="cannot have the gain"):
        set_gain(zero, 1.0)
