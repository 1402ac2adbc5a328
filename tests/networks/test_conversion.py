"""Networks that transformers does not know are converted, trained, reverted, saved and loaded."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import raft
from raft.learned_activation import SharedActivation, learned_activations
from raft.modules import Rational
from tests.networks.zoo import ZOO, BasicBlock, FunctionalMLP, make, outputs


@pytest.mark.parametrize("name", ZOO)
def test_each_activation_is_a_site_that_follows_what_it_replaced(name: str) -> None:
    network, x = make(name)
    before = outputs(network, x)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    raft.convert(network, calibration=[x])
    report = network.conversion_report
    assert {row.site: row.replaced for row in report} == ZOO[name].sites
    unseen = {row.site for row in report if not row.inputs}
    assert unseen == ({"raf_relu_2"} if name == "functional" else set())  # of a batch of one
    assert report.not_reached == ()
    after = outputs(network, x)
    assert 0 < (after - before).abs().mean() < 0.2 * before.abs().mean()
    assert all(torch.equal(network.state_dict()[key], value) for key, value in weights.items())
    for row in report:
        act: Any = network.get_submodule(row.site)
        points = torch.linspace(row.interval[0], row.interval[1], 1001)
        error = (act(points) - act.replaced[0](points.clone())).abs().max().item()
        assert error <= row.max_error + 1e-5


@pytest.mark.parametrize("name", ZOO)
def test_reverting_restores_outputs_and_code_bit_for_bit(name: str) -> None:
    network, x = make(name)
    before, classes = outputs(network, x), [type(module) for module in network.modules()]
    raft.revert(raft.convert(network))
    assert torch.equal(outputs(network, x), before)
    assert [type(module) for module in network.modules()] == classes
    assert not learned_activations(network)
    assert not hasattr(network, "conversion_report")


@pytest.mark.parametrize("name", ZOO)
def test_one_training_step_moves_the_coefficients(name: str) -> None:
    network, x = make(name)
    raft.convert(network)
    groups = raft.param_groups(network, lr=1e-3)
    acts: dict[str, Any] = {**learned_activations(network)}
    raf = next(group for group in groups if group["name"] == "raf")
    assert {id(p) for p in raf["params"]} == {id(p) for act in acts.values() for p in act.parameters()}
    before = {site: [p.detach().clone() for p in act.parameters()] for site, act in acts.items()}
    network.train()
    network(x).square().mean().backward()
    torch.optim.AdamW(groups).step()
    for site, act in acts.items():
        if site != "raf_relu_2":  # a batch of one would go there
            assert not torch.equal(act.numerator, before[site][0]), site


@pytest.mark.parametrize("name", ZOO)
def test_converted_networks_are_copied_and_pickled(name: str) -> None:
    network, x = make(name)
    raft.convert(network)
    before = outputs(network, x)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(outputs(copied, x), before)
        own = {id(p) for p in network.parameters()}
        assert not own & {id(p) for p in copied.parameters()}
        with torch.no_grad():
            for act in copied.modules():
                if isinstance(act, Rational):
                    act.numerator.zero_()
        assert not torch.equal(outputs(copied, x), before)
        assert torch.equal(outputs(network, x), before)


def test_the_code_of_a_converted_network_still_sees_its_mode_and_its_shapes() -> None:
    network, x = make("functional")
    raft.convert(network, calibration=[x])
    torch.manual_seed(1)
    assert not torch.equal(network.train()(x), network(x))  # its dropout
    seen: list[str] = []
    for site, act in learned_activations(network).items():
        act.register_forward_hook(lambda module, args, y, site=site: seen.append(site))
    network.eval()(x[:1])
    assert seen == ["raf_relu_1", "raf_relu_2"]


def test_calls_in_two_branches_or_methods_are_one_step() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.silu(x) if self.training else F.silu(x + 0)
            if x.sum() > 0:
                return F.silu(x)
            x = F.silu(x - 1)
            return F.silu(x)

        def forward_features(self, x: Tensor) -> Tensor:
            return F.elu(F.silu(x), self.alpha) + F.elu(x) + F.elu(x)

        alpha = 0.5

    network: Any = raft.convert(Branches())
    assert [(row.site, row.replaced) for row in network.conversion_report] == [
        ("raf_silu_1", "silu"), ("raf_silu_2", "silu"), ("raf_silu_3", "silu"),
        ("raf_elu_1", "elu(alpha=0.5)"), ("raf_elu_v2_1", "elu"), ("raf_elu_v2_2", "elu"),
    ]  # fmt: skip


def test_zero_argument_super_and_closures_are_kept() -> None:
    factor = 3.0

    class Parent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * factor

    class Child(Parent):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(super().forward(x)) + factor

    network: Any = raft.convert(Child())
    assert network(torch.tensor([2.0])).item() == pytest.approx(9.0, abs=0.3)
    assert type(network).__name__ == "Child"
    assert isinstance(network, Child)


def helper(x: Tensor) -> Tensor:
    return F.gelu(x)


class Unreachable(nn.Module):
    """Calls that no submodule can take over, beside one that can be reached."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.act = nn.ReLU()
        self.steps = [F.silu]

    @torch.no_grad()
    def decorated(self, x: Tensor) -> Tensor:
        return F.mish(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.fc(x))
        y = x
        F.relu_(y)
        return self.steps[0](helper(x)) + self.decorated(x)


def test_what_is_not_reached_is_named_by_calibration(caplog: pytest.LogCaptureFixture) -> None:
    network: Any = Unreachable()
    with caplog.at_level(logging.WARNING, "raft"):
        raft.convert(network, calibration=[torch.randn(8, 4)])
    calls = [call.split(" in ")[0] for call in network.conversion_report.not_reached]
    assert sorted(calls) == ["gelu", "mish", "relu", "silu"]
    assert "Unreachable.forward, line" in network.conversion_report.not_reached[0]
    assert "not reached: relu in Unreachable.forward" in str(network.conversion_report)
    assert "gelu in Unreachable.helper" in caplog.text
    assert [row.site for row in network.conversion_report] == ["act"]


def test_what_is_not_reached_is_named_by_the_code_without_calibration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network: Any = Unreachable()
    with caplog.at_level(logging.WARNING, "raft"):
        raft.convert(network)
    calls = " ".join(network.conversion_report.not_reached)
    assert "mish in Unreachable.decorated" in calls
    assert "relu in Unreachable.forward" in calls
    assert "gelu in helper" in calls
    assert "left as they are" in caplog.text


def test_gates_are_left_unless_they_are_asked_for() -> None:
    network, x = make("mobilenet")
    raft.convert(network, calibration=[x])
    assert isinstance(network.get_submodule("conv.4.gate"), nn.Sigmoid)
    raft.convert(raft.revert(network), gates=True)
    assert isinstance(network.get_submodule("conv.4.gate"), Rational)
    with pytest.raises(ValueError, match=r"range matters \(1 tanh, '0' first\).*gates=True"):
        raft.convert(nn.Sequential(nn.Tanh()))


def test_sites_are_chosen_by_an_expression() -> None:
    network, x = make("resnet")
    raft.convert(network, calibration=[x], sites=r"^(?!stem)")
    assert isinstance(network.get_submodule("stem.2"), nn.ReLU)
    assert len(learned_activations(network)) == 4
    with pytest.raises(ValueError, match=r"sites='nowhere' matches; it has 5 relu, 'stem.2' first"):
        raft.convert(raft.revert(network), sites="nowhere")
    with pytest.raises(ValueError, match=r"must be a regular expression"):
        raft.convert(network, sites="(")


@pytest.mark.parametrize("calibrated", [True, False])
def test_of_a_module_that_is_called_twice_one_call_alone_is_converted(
    calibrated: bool, tmp_path: Path
) -> None:
    x = torch.randn(2, 4, 5, 5)

    def make_block() -> BasicBlock:
        torch.manual_seed(0)
        return BasicBlock(4).eval()

    def convert_call(network: BasicBlock, sites: str) -> None:
        raft.convert(network, calibration=[x] if calibrated else None, sites=sites)

    network, expected = make_block(), make_block()
    convert_call(network, "^relu$")
    act = network.relu
    inner = network.conv2(act(network.bn1(network.conv1(x))))
    assert torch.equal(network(x), F.relu(network.bn2(inner) + x))
    raft.save(network, tmp_path / "one.safetensors")
    assert torch.equal(raft.load(make_block(), tmp_path / "one.safetensors")(x), network(x))

    convert_call(network, "call_2")
    assert list(learned_activations(network)) == ["relu", "relu_call_2"]
    assert network.relu is act
    second = network.get_submodule("relu_call_2")
    assert torch.equal(network(x), second(network.bn2(inner) + x))
    raft.save(network, tmp_path / "both.safetensors")
    assert torch.equal(raft.load(make_block(), tmp_path / "both.safetensors")(x), network(x))

    for one in (network, raft.load(make_block(), tmp_path / "one.safetensors")):
        assert type(raft.revert(one)) is BasicBlock
        assert not hasattr(one, "relu_call_2")
        assert torch.equal(one(x), expected(x))


def test_one_function_for_all_equal_activations() -> None:
    network, x = make("mobilenet")
    raft.convert(network, {"shared": "all"}, calibration=[x])
    acts = learned_activations(network)
    assert list(acts) == ["conv.1", "conv.4.act"]  # ReLU6 and ReLU
    shared = network.get_submodule("conv.3")
    assert isinstance(shared, SharedActivation)
    assert shared.shared is acts["conv.1"]
    assert network.conversion_report[1].shares == "conv.1"


@pytest.mark.parametrize("function", ["prelu", "swish", "xielu", "spline", "fixed_gain"])
def test_other_learned_functions(function: str) -> None:
    network, x = make("resnet")
    raft.convert(network, {"function": function}, calibration=[x])
    assert {act.name for act in learned_activations(network).values()} == {function}
    assert torch.isfinite(outputs(network, x)).all()


def test_residual_functions_start_as_the_network_was() -> None:
    for name in ZOO:
        network, x = make(name)
        before = outputs(network, x)
        raft.convert(network, {"residual": True}, calibration=[x])
        assert torch.allclose(outputs(network, x), before, atol=1e-6), name


class ByKeyword(nn.Module):
    """Calls an activation by the name that torch's own have for their argument."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Linear(6, 8), nn.Linear(8, 8), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(input=self.second(self.act(input=self.first(x))))
        return y


@pytest.mark.parametrize(
    "config", [{}, {"shared": "all"}, {"residual": True}, {"function": "swish"}], ids=str
)
def test_activations_may_be_called_by_keyword(config: Any) -> None:
    network: Any = ByKeyword()
    x = torch.randn(64, 6)
    before = network(x)
    raft.convert(network, config, calibration=[x])
    assert network.conversion_report[0].inputs == 2 * 64 * 8
    assert torch.allclose(network(x), before, atol=0.5)


def test_converting_twice_changes_nothing() -> None:
    network, x = make("resnet")
    raft.convert(network, calibration=[x])
    state, report = copy.deepcopy(network.state_dict()), network.conversion_report
    raft.convert(network, calibration=[x])
    assert network.conversion_report is report
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_batches_of_all_kinds_are_read() -> None:
    x = torch.randn(3, 6)
    for batches in (
        x, [x], [(x, torch.zeros(3))], [[x]], {"x": x}, [{"x": x, "scale": 2.0}],
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=3),
    ):  # fmt: skip
        network = raft.convert(make("lightning")[0], calibration=batches)
        assert network.conversion_report[0].inputs == 3 * 16
    with pytest.raises(TypeError, match=r"must give batches of tensors, not int"):
        raft.convert(make("lightning")[0], calibration=[3])
    with pytest.raises(ValueError, match=r"calibration is empty"):
        raft.convert(make("lightning")[0], calibration=[])
    for texts in ("a text", ["a text"]):
        with pytest.raises(TypeError, match=r"batches of tensors, not texts: it holds no model"):
            raft.convert(make("lightning")[0], calibration=texts)


def test_a_network_of_several_inputs_gets_all_items_of_a_batch() -> None:
    def transformer() -> nn.Transformer:
        return nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    source, target = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    by_name = raft.convert(transformer(), calibration=[{"src": source, "tgt": target}])
    by_place = raft.convert(transformer(), calibration=[(source, target)])
    reports: Any = [network.conversion_report for network in (by_name, by_place)]
    counts = [[row.inputs for row in report] for report in reports]
    assert counts[0] == counts[1] == [2 * 3 * 16, 2 * 4 * 16]
    for batch in (source, (source,)):
        with pytest.raises(TypeError, match=r"with 1 of the arguments \(src, tgt, .*cannot call Transformer"):
            raft.convert(transformer(), calibration=[batch])


def _outside(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


def test_calls_that_cannot_be_reached_come_with_advice() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return _outside(x)

    with pytest.raises(
        ValueError, match=r"relu is called in _outside, line .*; modules, such as nn.ReLU\(\), in"
    ):
        raft.convert(Net())


def test_a_failed_conversion_leaves_the_network_as_it_was() -> None:
    network, x = make("functional")
    before, keys = outputs(network, x), set(network.state_dict())
    with pytest.raises(RuntimeError):
        raft.convert(network, calibration=[torch.randn(2, 99)])
    assert torch.equal(outputs(network, x), before)
    assert set(network.state_dict()) == keys
    assert type(network) is FunctionalMLP


def test_wrappers_that_only_call_the_network() -> None:
    network, x = make("resnet")
    wrapper: Any = nn.DataParallel(network)
    assert raft.convert(wrapper, calibration=[x]) is wrapper
    assert len(learned_activations(network)) == 5
    assert wrapper.conversion_report is network.conversion_report
    assert not learned_activations(raft.revert(wrapper))


def test_wrappers_that_know_the_parameters_are_refused() -> None:
    class DistributedDataParallel(nn.Module):
        """Torch's own needs processes."""

    with pytest.raises(TypeError, match=r"pass its .module, and wrap it anew"):
        raft.convert(DistributedDataParallel())
    with pytest.raises(TypeError, match=r"not a int$"):
        raft.convert(3)  # type: ignore[type-var]

    class Holder:
        def __init__(self) -> None:
            self.model_body = nn.Linear(2, 2)

    with pytest.raises(TypeError, match=r"not a Holder: pass its .model_body"):
        raft.convert(Holder())  # type: ignore[type-var]


def test_compiled_code_calls_the_new_modules() -> None:
    block = BasicBlock(4).eval()
    x = torch.randn(2, 4, 8, 8)
    raft.convert(block, calibration=[x])
    compiled: Any = torch.compile(block, backend="eager", fullgraph=True)
    assert torch.equal(outputs(compiled, x), outputs(block, x))


def test_torch_layers_take_a_rational_as_activation() -> None:
    act = raft.Rational(nn.GELU())
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=act, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    before = outputs(layer, x)
    with torch.no_grad():
        act.numerator.mul_(2)
    assert not torch.allclose(outputs(layer, x), before)


class CalledInTurn(nn.Sequential):
    """A module put into it would be called by ``super().forward``, too."""

    def forward(self, x: Tensor) -> Any:
        return F.relu(x + super().forward(x))


class InPlace(nn.Module):
    """What a call in place changes is read again, as a whole or in part, or is not."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("seen", torch.ones(4))

    def positional(self, x: Tensor) -> Tensor:
        y = F.relu(x, True)
        return x + y

    def after_settings(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(x, 0.1, True)
        return x + y

    def of_a_part(self, x: Tensor) -> Tensor:
        y = x[:, :2].relu_()
        return x.sum(-1, keepdim=True) + y

    def of_a_view(self, x: Tensor) -> Tensor:
        y = F.elu_(x.view(-1).unsqueeze(0))
        return x.sum() + y

    def of_a_buffer(self, x: Tensor) -> Tensor:
        return x + F.silu(self.seen, inplace=True)

    def beside(self, x: Tensor) -> Tensor:
        return x + F.hardswish(x, inplace=True)

    def beside_and_again(self, x: Tensor) -> Tensor:
        x = x + F.relu6(x, True)
        return x * 2

    def of_a_piece(self, x: Tensor) -> Tensor:
        y = F.silu(x.chunk(2, -1)[0], inplace=True)
        return x.sum() + y

    def squeeze(self, x: Tensor) -> Tensor:
        return x

    def of_a_method_of_such_a_name(self, x: Tensor) -> Tensor:
        y = F.gelu(self.squeeze(x), approximate="tanh") + F.elu(self.squeeze(x), inplace=True)
        return x + y

    def of_a_function_of_such_a_name(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(torch.flatten(x, 1), 0.3, inplace=True)
        return x * 2

    def whole_again(self, x: Tensor) -> Tensor:
        x = F.selu(x, True)
        return x + 1

    def part_again(self, x: Tensor) -> Tensor:
        x[:, :2] = F.celu(x[:, :2], inplace=True)
        return x

    def of_a_result(self, x: Tensor) -> Tensor:
        y = F.mish(self.fc(x), True)
        return x + y

    def forward(self, x: Tensor) -> Tensor:
        return x


class NamesItsParts(nn.Sequential):
    """A container that calls its parts by name: what is put into it is called where its code says."""

    def __init__(self) -> None:
        super().__init__()
        self.fc: Any = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return F.relu(self.fc(x))


def test_what_a_container_calls_is_left_as_it_is() -> None:
    network: Any = nn.Sequential(CalledInTurn(nn.Linear(4, 4), nn.Tanh()), nn.ReLU())
    x = torch.randn(8, 4)
    before = network(x)
    raft.convert(network, calibration=[x])
    assert [row.site for row in network.conversion_report] == ["1"]
    assert "relu in CalledInTurn.forward" in network.conversion_report.not_reached[0]
    torch.testing.assert_close(network(x), before, atol=5e-2, rtol=0)


def test_calls_in_place_whose_input_is_read_again_are_left_as_they_are() -> None:
    network: Any = InPlace()
    raft.convert(network)
    refused = {call.partition(" in ")[2].partition(",")[0] for call in network.conversion_report.not_reached}
    methods = (
        "positional", "after_settings", "of_a_part", "of_a_view", "of_a_buffer", "beside", "beside_and_again",
        "of_a_piece",
    )  # fmt: skip
    assert refused == {f"InPlace.{name}" for name in methods}
    replaced = sorted(row.replaced for row in network.conversion_report)
    assert replaced == ["celu", "elu", "gelu_tanh", "leaky_relu(negative_slope=0.3)", "mish", "selu"]


def test_a_container_that_names_its_parts_is_converted() -> None:
    network: Any = NamesItsParts()
    x = torch.randn(64, 4)
    before = network(x)
    raft.convert(network, calibration=[x])
    assert [row.site for row in network.conversion_report] == ["raf_relu_1"]
    torch.testing.assert_close(network(x), before, atol=5e-2, rtol=0)


def test_a_call_that_the_code_has_no_more_is_named() -> None:
    network: Any = raft.convert(FunctionalMLP())
    make_again, (base, _), *_ = network.__reduce_ex__(2)
    with pytest.raises(ValueError, match="FunctionalMLP has no call of an activation at raf_gelu_7"):
        make_again(base, frozenset({"raf_relu_1", "raf_gelu_7"}))


@pytest.mark.parametrize("config", [{"shared": "kind"}, {"layers": "0"}, {"sites": ["ffn"]}])
def test_what_chooses_layers_and_kinds_of_sites_is_refused(config: Any) -> None:
    with pytest.raises(ValueError, match="is of models of transformers: the sites of a ResNet"):
        raft.convert(make("resnet")[0], config)


def test_batches_are_made_one_at_a_time() -> None:
    network, x = make("resnet")
    runs: list[None] = []
    network.register_forward_hook(lambda *_: runs.append(None))

    def batches() -> Any:
        for number in range(3):
            assert len(runs) == number  # a whole data loader may not fit in a device's memory
            yield x

    raft.convert(network, calibration=batches())
    assert len(runs) == 3


class SiluAndMul(nn.Module):
    """An activation by its name, which halves the channels."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return first.sigmoid() * first * second


@pytest.mark.parametrize("config", [{}, {"residual": True}, {"function": "swish"}])
def test_what_is_not_elementwise_is_named_and_can_be_left_out(config: dict[str, Any]) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 8), SiluAndMul(), nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"SiluAndMul at 3 cannot be replaced: .*; sites=… leaves it out"):
        raft.convert(network, config)
    assert not learned_activations(network)
    assert set(learned_activations(raft.convert(network, config, sites="^(?!3$)"))) == {"1"}
