"""Code of other people: what a rewritten class would get wrong is named instead, and no state is lost."""

from __future__ import annotations

import copy
import functools
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import raft
from raft.coefficients import sensitivities
from raft.coefficients.functions import name_of
from raft.learned_activation import learned_activations
from tests.networks.zoo import FunctionalMLP

h = torch.zeros(1)


class Child(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.act(self.fc(x)))


class LoopsOverItsChildren(Child):
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = F.gelu(layer(x))
        return x


class AnnotatesWithinByNamesOfTypeCheckersAlone(Child):
    def forward(self, x: Tensor) -> Tensor:
        # the name is known to type checkers alone, which is what the test is about
        def twice(y: OnlyForTypeCheckers) -> Any:  # type: ignore[name-defined]  # noqa: F821
            return 2 * y

        y: Tensor = twice(F.silu(self.fc(x)))
        return y


def test_annotations_that_are_not_evaluated_stay_so() -> None:
    network = AnnotatesWithinByNamesOfTypeCheckersAlone()
    x = torch.linspace(-1, 1, 4)
    expected = network(x)
    raft.convert(network, {"residual": True})
    assert learned_activations(network)
    torch.testing.assert_close(network(x), expected)


class CallsItsParent(Child):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class NamesAGlobal(Child):
    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.act(self.fc(x))
        return h.tanh()


class HeldInAList(Child):
    def __init__(self) -> None:
        super().__init__()
        self.further = [nn.Mish()]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.further[0](self.act(self.fc(x)))
        return y


class Wrapped(Child):
    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.act(self.fc(x)))


def wrap(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args) * 2

    return call


# later and without a decorator, as users do with torch.compiler.disable, which is what the test is about
Wrapped.forward = wrap(Wrapped.forward)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("kind", "function", "calibrated"),
    [
        (LoopsOverItsChildren, "gelu", False),
        (LoopsOverItsChildren, "gelu", True),
        (CallsItsParent, "silu", False),
        (Wrapped, "silu", False),
        (HeldInAList, "mish", True),
    ],
)
def test_what_cannot_be_taken_over_is_named(kind: Any, function: str, calibrated: bool) -> None:
    network: Any = kind()
    x = torch.randn(8, 4)
    before = network(x)
    raft.convert(network, calibration=[x] if calibrated else None)
    assert [row.site for row in network.conversion_report] == ["act"]
    assert [call.partition(" ")[0] for call in network.conversion_report.not_reached] == [function]
    assert (network(x) - before).abs().max() < 0.1


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(4, 4), nn.ReLU(inplace=True)


class ForItsEffect(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        self.act(x)
        return x


class ReadsItAgain(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        z: Tensor = y + self.act(y)
        return z


class TakesItsArgument(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        y = self.act(x)
        z: Tensor = self.fc(y)
        return z


class OfAPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = InPlace()

    def forward(self, x: Tensor) -> Tensor:
        x = self.part.fc(x)
        self.part.act(x)
        return x


class HasATemporary(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        z = self.act(y)
        u = self.fc(z)
        return F.silu(u, inplace=True)


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("kind", [ForItsEffect, ReadsItAgain, TakesItsArgument, OfAPart])
def test_what_works_in_place_and_is_read_again_is_left_and_named(kind: Any, calibrated: bool) -> None:
    network: Any = nn.Sequential(kind(), nn.Linear(4, 4), nn.GELU())
    x = torch.randn(8, 4)
    before = network(x.clone())
    raft.convert(network, {"residual": True}, calibration=[x.clone()] if calibrated else None)
    assert [row.site for row in network.conversion_report] == ["2"]
    assert [call.partition(" ")[0] for call in network.conversion_report.not_reached] == ["relu"]
    assert torch.equal(network(x.clone()), before)


def test_what_works_in_place_on_a_temporary_is_converted() -> None:
    network: Any = HasATemporary()
    x = torch.randn(8, 4)
    before = network(x)
    raft.convert(network, {"residual": True})
    assert [row.site for row in network.conversion_report] == ["act", "raf_silu_1"]
    assert network.conversion_report.not_reached == ()
    assert torch.equal(network(x), before)


MODULE = """
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        x = F.relu(self.fc(x))
        return x * 30
"""


def import_module(folder: Path, text: str) -> tuple[Path, Any]:
    file = folder / "changing_network.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("changing_network", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return file, module


@pytest.mark.parametrize(
    ("old", "new"), [("x * 30", "x * 7"), ("x * 30", "x - 30"), ("relu", "selu"), ("\nimport", "\n\nimport")]
)
def test_a_file_that_changed_since_it_was_imported_is_not_read(tmp_path: Path, old: str, new: str) -> None:
    file, module = import_module(tmp_path, MODULE)
    file.write_text(MODULE.replace(old, new))
    network = module.Net()
    x = torch.randn(8, 4)
    before = network(x)
    with pytest.raises(ValueError, match=r"Net\.forward, whose file has changed since it was imported"):
        raft.convert(network)
    assert torch.equal(network(x), before)


def test_a_file_that_changes_after_a_conversion_does_not_matter(tmp_path: Path) -> None:
    text = MODULE.replace("x * 30", "F.silu(x) * 30")
    file, module = import_module(tmp_path, text)
    raft.convert(module.Net(), sites="relu")
    file.write_text(text.replace("x) * 30", "x) * 7"))
    network = module.Net()
    x = torch.randn(8, 4)
    before = network(x)
    raft.convert(network, {"residual": True})
    assert [row.site for row in network.conversion_report] == ["raf_relu_1", "raf_silu_1"]
    assert torch.equal(network(x), before)


def test_a_variable_with_the_name_of_a_global_is_a_tensor() -> None:
    network = raft.convert(NamesAGlobal(), gates=True)
    assert set(learned_activations(network)) == {"act", "raf_tanh_1"}


def test_a_method_of_the_instance_hides_the_rewritten_one() -> None:
    network: Any = FunctionalMLP()
    # as accelerate does with modules that are spread over devices
    network.forward = functools.partial(FunctionalMLP.forward, network)
    with pytest.raises(ValueError, match="no activation"):
        raft.convert(network)
    whole: Any = nn.Sequential(network, nn.ReLU())
    raft.convert(whole)
    assert [row.site for row in whole.conversion_report] == ["1"]
    assert "which the instance has of its own" in whole.conversion_report.not_reached[0]


class Encoder(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return F.relu(super().forward(input, hx)[0])


def test_a_class_chooses_what_of_its_state_is_kept() -> None:
    network: Any = raft.convert(Encoder(4, 4))
    x = torch.randn(3, 2, 4)
    for again in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert torch.equal(again(x), network(x))


def test_functions_are_told_apart_far_from_zero() -> None:
    assert name_of(lambda x: x.relu().clamp(max=10)) is None
    assert name_of(nn.ReLU()) == "relu"


def test_sensitivities_need_no_default_device() -> None:
    act = raft.Rational("gelu")
    with torch.device("meta"):
        of_numerator, _ = sensitivities(torch.linspace(-3, 3, 11, device="cpu"), *act.coefficients())
    assert of_numerator.device.type == "cpu"
