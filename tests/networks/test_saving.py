"""Learned functions in files: what is loaded computes what was saved, or the error says why not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import raft
from raft.errors import InputError
from raft.learned_activation import SharedActivation, learned_activations
from raft.modules import ResidualRational
from tests.networks.zoo import ZOO, make, outputs

LOAD = """
import sys, torch, raft
from tests.networks.zoo import make, outputs
name, folder = sys.argv[1:]
network, x = make(name)
raft.load(network, f"{folder}/rafs.safetensors")
network.load_state_dict(torch.load(f"{folder}/weights.pt", weights_only=True))
torch.save(outputs(network, x), f"{folder}/outputs.pt")
"""


def trained(name: str, config: Any = None) -> tuple[Any, torch.Tensor]:
    """A converted network whose weights and coefficients have moved."""
    network, x = make(name)
    raft.convert(network, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01)
    return network, x


@pytest.mark.parametrize("name", ["resnet", "functional", "transformer"])
def test_a_new_process_computes_the_same(name: str, tmp_path: Path) -> None:
    network, x = trained(name)
    raft.save(network, tmp_path / "rafs.safetensors")
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    subprocess.run([sys.executable, "-c", LOAD, name, str(tmp_path)], check=True)
    assert torch.equal(torch.load(tmp_path / "outputs.pt", weights_only=True), outputs(network, x))


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize(
    "config",
    [
        {"shared": "all"}, {"residual": True, "trainable": False}, {"function": "prelu"}, {"version": "B"},
        {"degrees": (3, 0)},
    ],
    ids=str,
)  # fmt: skip
def test_every_form_comes_back(name: str, config: Any, tmp_path: Path) -> None:
    network, x = trained(name, config)
    raft.save(network, tmp_path / "rafs.safetensors")
    again = raft.load(make(name)[0], tmp_path / "rafs.safetensors")
    again.load_state_dict(network.state_dict())
    assert torch.equal(outputs(again, x), outputs(network, x))
    for site, act in learned_activations(network).items():
        other = learned_activations(again)[site]
        assert other.settings() == act.settings()
        assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in act.parameters()]
        assert isinstance(other, ResidualRational) == isinstance(act, ResidualRational)
    before = outputs(make(name)[0], x)
    assert torch.equal(
        outputs(raft.revert(raft.load(make(name)[0], tmp_path / "rafs.safetensors")), x), before
    )


def test_the_file_alone_moves_learned_functions_to_other_weights(tmp_path: Path) -> None:
    network, _ = trained("resnet")
    raft.save(network, tmp_path / "rafs.safetensors")
    torch.manual_seed(5)
    other = ZOO["resnet"].make()
    weights = {key: value.clone() for key, value in other.state_dict().items()}
    raft.load(other, tmp_path / "rafs.safetensors")
    state = other.state_dict()
    assert all(torch.equal(state[key], value) for key, value in weights.items())
    for key, value in network.state_dict().items():
        if key not in weights:
            assert torch.equal(state[key], value)


def test_networks_built_with_learned_functions_are_filled(tmp_path: Path) -> None:
    def build() -> Any:
        return nn.Sequential(
            nn.Linear(4, 8), raft.Rational("silu", groups=2), nn.Linear(8, 8), raft.Rational()
        )

    network = build()
    with torch.no_grad():
        network[1].numerator.mul_(1.5)
    raft.save(network, tmp_path / "f.safetensors")
    again = raft.load(build(), tmp_path / "f.safetensors")
    assert torch.equal(again[1].numerator, network[1].numerator)
    other = nn.Sequential(nn.Linear(4, 8), raft.Rational("silu"), nn.Linear(8, 8), raft.Rational())
    with pytest.raises(InputError, match=r"does not fit 1: .* size mismatch for numerator: .*\[2, 6\]"):
        raft.load(other, tmp_path / "f.safetensors")
    other[1] = raft.Rational("silu", version="B", groups=2)
    with pytest.raises(InputError, match=r"does not fit 1: .* was saved with version A"):
        raft.load(other, tmp_path / "f.safetensors")
    act = raft.Rational("silu", groups=2)
    other[1], other[3] = act, raft.Rational(version="B")
    before = act.numerator.clone()
    with pytest.raises(InputError, match=r"does not fit 3: "):
        raft.load(other, tmp_path / "f.safetensors")
    assert torch.equal(act.numerator, before)


def rewrite(file: Path, change: Any) -> None:
    """Change the tensors and the record of a file."""
    with safe_open(file, "pt") as opened:
        record = json.loads(opened.metadata()["raft"])
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    change(record, tensors)
    save_file(tensors, file, {"raft": json.dumps(record)})


def drop_tensor(record: Any, tensors: Any) -> None:
    del tensors["stem.2.numerator"]


def drop_form(record: Any, tensors: Any) -> None:
    del tensors["stem.2.raf_form"]


def spare_tensor(record: Any, tensors: Any) -> None:
    tensors["stem.2.spare"] = torch.zeros(1)


def drop_site(record: Any, tensors: Any) -> None:
    del record["sites"][0]


def poison(record: Any, tensors: Any) -> None:
    tensors["stem.2.numerator"][0] = float("nan")


def newer(record: Any, tensors: Any) -> None:
    record["format"] = 99


def unknown_function(record: Any, tensors: Any) -> None:
    record["sites"][0]["function"] = "os.system"


def unknown_setting(record: Any, tensors: Any) -> None:
    record["sites"][0]["settings"]["degrees"] = "five"


def other_key(record: Any, tensors: Any) -> None:
    record["sites"][0]["spare"] = 1


def renamed(record: Any, tensors: Any) -> None:
    record["sites"][0]["name"] = "elsewhere"
    for key in [key for key in tensors if key.startswith("stem.2.")]:
        tensors[key.replace("stem.2.", "elsewhere.")] = tensors.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_tensor, r"damaged: stem.2"),
        (drop_form, r"damaged: it has not both the form and the tensors of stem.2"),
        (spare_tensor, r"does not fit stem.2: .*Unexpected key"),
        (drop_site, r"damaged: it has not both the form and the tensors of stem.2"),
        (poison, r"damaged: stem.2 has coefficients that are not finite"),
        (newer, r"is of format 99, which a newer raft wrote"),
        (unknown_function, r"damaged: stem.2 is no os.system function"),
        (unknown_setting, r"damaged: stem.2 is no rational function"),
        (other_key, r"holds no learned functions that raft.save wrote: .*unknown key 'spare'"),
        (renamed, r"is of another network, a ResNet: it has a learned function at elsewhere"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line_and_changes_nothing(change: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rafs.safetensors"
    network, x = trained("resnet")
    raft.save(network, file)
    rewrite(file, change)
    fresh, _ = make("resnet")
    before = outputs(fresh, x)
    with pytest.raises(InputError, match=message) as error:
        raft.load(fresh, file)
    assert "\n" not in str(error.value)
    assert torch.equal(outputs(fresh, x), before)
    assert not learned_activations(fresh)


def test_files_that_are_no_such_files(tmp_path: Path) -> None:
    network, _ = make("resnet")
    with pytest.raises(InputError, match=r"cannot read .*nothing.safetensors"):
        raft.load(network, tmp_path / "nothing.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(InputError, match=r"cannot read .*text"):
        raft.load(network, tmp_path / "text")
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(
        InputError, match=r"holds no learned functions that raft.save wrote, but other tensors"
    ):
        raft.load(network, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"no learned function to save: convert it"):
        raft.save(network, tmp_path / "rafs.safetensors")
    raft.save(trained("unet")[0], tmp_path / "rafs.safetensors")
    with pytest.raises(InputError, match=r"another network, a UNet: it has a learned function at down.1"):
        raft.load(make("resnet")[0], tmp_path / "rafs.safetensors")
    raft.save(raft.convert(network, sites="stem"), tmp_path / "stem.safetensors")
    whole, _ = trained("resnet")
    with pytest.raises(InputError, match=r"the ResNet has a learned function at layer1.0.relu, where it has"):
        raft.load(whole, tmp_path / "stem.safetensors")


@pytest.mark.parametrize("shared", [False, "all"])
def test_sites_that_share_functions_in_another_way_are_refused(shared: Any, tmp_path: Path) -> None:
    file = tmp_path / "rafs.safetensors"
    raft.save(trained("resnet", {"shared": shared})[0], file)
    other, x = trained("resnet", {"shared": False if shared else "all"})
    before = outputs(other, x)
    with pytest.raises(InputError, match="its sites share their functions in another way"):
        raft.load(other, file)
    assert torch.equal(outputs(other, x), before)
    alike, _ = trained("resnet", {"shared": shared})
    raft.load(alike, file)


def test_a_network_that_shares_a_part_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rafs.safetensors"
    saved = trained("resnet", {"shared": "all"})[0]
    raft.save(saved, file)
    last = [name for name, module in saved.named_modules() if isinstance(module, SharedActivation)][-1]
    other, _ = make("resnet")
    raft.convert(other, sites=f"^{last}$")
    with pytest.raises(InputError, match="its sites share their functions in another way"):
        raft.load(other, file)


@pytest.mark.parametrize("trainable", [False, True])
def test_whether_functions_train_is_restored_in_those_that_are_there(tmp_path: Path, trainable: bool) -> None:
    def build(is_trained: bool) -> nn.Sequential:
        network = nn.Sequential(nn.Linear(4, 4), nn.GELU())
        return raft.convert(network, {"trainable": is_trained})

    raft.save(build(trainable), tmp_path / "rafs.safetensors")
    for network in (build(not trainable), nn.Sequential(nn.Linear(4, 4), nn.GELU())):
        act: Any = raft.load(network, tmp_path / "rafs.safetensors")[1]
        assert act.trainable == trainable
        assert all(parameter.requires_grad == trainable for parameter in act.parameters())
