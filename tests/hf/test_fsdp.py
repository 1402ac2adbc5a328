"""RAFs in models that FSDP2 has sharded over two processes."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.multiprocessing.spawn import spawn
from transformers import BertConfig, BertForSequenceClassification, BertModel

import raft
from raft.hf.fsdp import shard_rationals
from raft.networks.config import INPUT_SITES
from raft.training.monitoring import coefficients
from tests.hf.architectures import TINY, scrambled
from tests.hf.test_hf import logits

IDS = torch.arange(48).reshape(4, 12)
LABELS = torch.tensor([0, 1, 1, 0])
BFLOAT16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
FLOAT32 = MixedPrecisionPolicy()
VARIANTS = ("plain", "one RAF for all layers", "checkpointed", "frozen elsewhere", "before projections")


def converted(variant: str = "plain") -> Any:
    torch.manual_seed(0)
    config = BertConfig(**TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    sites = ["ffn", *(INPUT_SITES if variant == "before projections" else ["pooler"])]
    model: Any = scrambled(raft.convert(BertForSequenceClassification(config), {"sites": sites}))
    if variant == "one RAF for all layers":
        first, second = (layer.intermediate for layer in model.bert.encoder.layer)
        second.intermediate_act_fn = first.intermediate_act_fn
    if variant in ("checkpointed", "before projections"):
        model.gradient_checkpointing_enable()
    if variant == "frozen elsewhere":
        acts = {id(p) for act in raft.hf.rationals(model).values() for p in act.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in acts)
    return model


def sharded(policy: MixedPrecisionPolicy, variant: str = "plain", helped: bool = True) -> Any:
    model = converted(variant)
    mesh = None if variant == "plain" else init_device_mesh("cpu", (2,))
    if helped:
        shard_rationals(model, mesh)
        shard_rationals(model, mesh)  # changes nothing
    for layer in model.bert.encoder.layer:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


def train_two_steps(model: nn.Module, part: slice) -> list[Tensor]:
    """The losses of two steps."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(input_ids=IDS[part], labels=LABELS[part]).loss
        loss.backward()
        losses.append(loss.detach())
        optimizer.step()
    return losses


def seen_dtypes(model: Any, part: slice) -> dict[str, set[torch.dtype]]:
    """Of coefficients and of activations, where the RAFs run."""
    seen: dict[str, set[torch.dtype]] = {"coefficients": set(), "input": set(), "output": set()}

    def note(act: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen["coefficients"] |= {parameter.dtype for parameter in act.parameters()}
        seen["input"].add(inputs[0].dtype)
        seen["output"].add(output.dtype)

    for act in raft.hf.rationals(model).values():
        act.register_forward_hook(note, prepend=True)
    model(input_ids=IDS[part], labels=LABELS[part]).loss.backward()
    return seen


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.full_tensor() if hasattr(parameter.grad, "full_tensor") else parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def work(rank: int, folder: str) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    part = slice(2 * rank, 2 * rank + 2)
    actual: dict[str, Any] = {
        "without": seen_dtypes(sharded(BFLOAT16, helped=False), part),
        "with": seen_dtypes(sharded(BFLOAT16), part),
    }
    for variant in VARIANTS:
        model = sharded(FLOAT32, variant)
        losses = train_two_steps(model, part)
        state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
        actual[variant] = {"losses": losses, "gradients": gradients(model), "state": state}
    try:
        late = converted()
        fully_shard(late)
        shard_rationals(late)
    except ValueError as error:
        actual["late"] = str(error)
    torch.save(actual, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("fsdp")
    spawn(work, (str(folder),), nprocs=2)
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.slow
def test_mixed_precision_leaves_the_coefficients_float32(ranks: list[dict[str, Any]]) -> None:
    low, high = {torch.bfloat16}, {torch.float32}
    for actual in ranks:
        assert actual["without"] == {"coefficients": low, "input": low, "output": low}
        assert actual["with"] == {"coefficients": high, "input": low, "output": low}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_train_as_one(variant: str, ranks: list[dict[str, Any]]) -> None:
    one = converted(variant)
    losses = train_two_steps(one, slice(None))
    for step, loss in enumerate(losses):
        mean = torch.stack([actual[variant]["losses"][step] for actual in ranks]).mean()
        torch.testing.assert_close(mean, loss, rtol=1e-5, atol=1e-5)
    for actual in ranks:
        torch.testing.assert_close(actual[variant]["gradients"], gradients(one), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_gathered_state_loads_in_a_plain_model(ranks: list[dict[str, Any]]) -> None:
    first, second = (actual["plain"]["state"] for actual in ranks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    start = converted().state_dict()
    coefficients = [name for name in start if name.endswith(("numerator", "denominator"))]
    assert len(coefficients) == 6
    assert all(first[name].dtype == torch.float32 for name in coefficients)
    assert not any(torch.equal(first[name], start[name]) for name in coefficients)
    loaded, trained = converted(), converted()
    loaded.load_state_dict(first)
    train_two_steps(trained, slice(None))
    torch.testing.assert_close(logits(loaded), logits(trained), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_sharding_the_layers_first_is_refused(ranks: list[dict[str, Any]]) -> None:
    message = "a module around bert.encoder.layer.0.intermediate.intermediate_act_fn is sharded already"
    assert all(actual["late"].startswith(message) for actual in ranks)


def test_without_processes_or_rafs_it_is_refused() -> None:
    with pytest.raises(RuntimeError, match="init_process_group before shard_rationals"):
        shard_rationals(converted())
    with pytest.raises(ValueError, match="BertModel has no rational activation"):
        shard_rationals(BertModel(BertConfig(**TINY)))


@pytest.mark.parametrize("function", ["rational", "fixed_gain"])
def test_coefficients_with_scales_or_a_gain_are_recorded_whole(function: str, tmp_path: Path) -> None:
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    ids = [torch.tensor([[1, 2, 3]])]
    model = raft.convert(BertModel(config), raft.RafConfig(function=function), calibration=ids)
    before = coefficients(model)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        after = coefficients(model)
    finally:
        dist.destroy_process_group()
    assert before
    assert all(torch.equal(after[name], values) for name, values in before.items())
