"""Each mode of tuning trains what it says, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    T5Config,
    T5ForQuestionAnswering,
)
from transformers import DistilBertForSequenceClassification as DistilBert

import raft
from raft.errors import InputError
from raft.finetuning.tuning import ADAPTERS, TUNINGS, check_tuning, set_tuning
from raft.hf import rationals

SIZE: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
IDS = torch.tensor([[2, 5, 6, 3], [2, 7, 9, 3]])
KINDS = {
    "full": {"RAFs", "head", "biases", "weights"},
    "fixed": {"head", "biases", "weights"},
    "head": {"head"},
    "norms": {"head", "norms"},
    "ia3": {"head", "adapter"},
    "beft": {"head", "adapter"},
    "raf-adapter": {"head", "adapter"},
    "raf-bottleneck": {"head", "adapter"},
    "bitfit": {"head", "biases"},
    "bitfit-raf": {"RAFs", "head", "biases"},
    "raf": {"RAFs", "head"},
    "lora": {"head", "adapter"},
    "lora-raf": {"RAFs", "head", "adapter"},
}


def model(**values: Any) -> Any:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**{**SIZE, "raf": {}, **values}))


def step(trained: Any) -> dict[str, bool]:
    """Which parameters a step with a high rate has moved."""
    before = {name: parameter.detach().clone() for name, parameter in trained.named_parameters()}
    optimizer = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], lr=1.0)
    trained.train()
    for _ in range(2):  # a new adapter's second factor has no gradient in the first step
        optimizer.zero_grad()
        trained(input_ids=IDS, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    return {name: not torch.equal(before[name], p) for name, p in trained.named_parameters()}


@pytest.mark.parametrize("tuning", [tuning for tuning in TUNINGS if tuning != "raf-adapter"])
def test_a_mode_trains_what_it_says(tuning: str) -> None:
    if tuning in ADAPTERS:
        pytest.importorskip("peft")
    trained, parts = set_tuning(model(), tuning)
    assert {part.name for part in parts if part.trained} == KINDS[tuning]
    sizes = {part.name: part for part in parts}
    assert sizes["RAFs"].total == 3 * 10
    assert sizes["head"].trained == sizes["head"].total == 2 * 16 + 2
    assert all(part.trained in (0, part.total) for part in parts)
    moved = step(trained)
    assert any("word_embeddings" in name for name, has in moved.items() if has) == (
        "weights" in KINDS[tuning]
    )
    rafs = [
        has
        for name, has in moved.items()
        if "numerator" in name and "original_module" not in name and "raf_bottleneck" not in name
    ]
    assert rafs == [("RAFs" in KINDS[tuning])] * 3
    heads = [has for name, has in moved.items() if "classifier" in name and "original_module" not in name]
    assert heads == [True, True]  # weight and bias
    biases = [has for name, has in moved.items() if name.endswith("LayerNorm.bias")]
    assert all(has == bool({"biases", "norms"} & KINDS[tuning]) for has in biases)


@pytest.mark.parametrize("tuning", TUNINGS)
def test_a_faft_has_no_rafs_to_train(tuning: str) -> None:
    if tuning in ADAPTERS:
        pytest.importorskip("peft")
    _, parts = set_tuning(model(raf=None), tuning)
    assert {part.name for part in parts if part.trained} == KINDS[tuning] - {"RAFs"}


@pytest.mark.parametrize("tuning", ["bitfit", "raf", "lora"])
def test_what_no_checkpoint_held_is_trained_as_the_head(tuning: str) -> None:
    if tuning == "lora":
        pytest.importorskip("peft")
    new = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    trained, parts = set_tuning(model(), tuning, new)
    assert next(part for part in parts if part.name == "head").trained == 2 * 16 + 2 + 16 * 16 + 16
    moved = step(trained)
    assert any(has for name, has in moved.items() if "pooler" in name and name.endswith("weight"))


@pytest.mark.parametrize("rank", [2, 8])
def test_low_rank_updates_are_scaled_by_two(rank: int) -> None:
    pytest.importorskip("peft")
    trained, _ = set_tuning(model(), f"lora:r={rank}")
    layer = trained.base_model.model.bert.encoder.layer[0].output.dense
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (down.shape, up.shape) == ((rank, 24), (16, rank))
    torch.nn.init.normal_(up)
    x = torch.randn(3, 24)
    expected = layer.base_layer(x) + 2 * x @ down.T @ up.T
    torch.testing.assert_close(layer.eval()(x), expected)


def test_fields_of_a_method_can_be_set() -> None:
    pytest.importorskip("peft")
    _, parts = set_tuning(model(raf=None), "raf-adapter:groups=4:degrees=[3,2]:layers=[1]")
    assert next(part for part in parts if part.name == "adapter").trained == 4 * 6
    _, parts = set_tuning(model(), "raf-bottleneck:r=3:init=relu:layers=[0]")
    assert next(part for part in parts if part.name == "adapter").trained == 2 * 3 * 16 + 3 + 16 + 10
    trained, _ = set_tuning(model(), 'lora:r=2:lora_alpha=2:target_modules=["query"]')
    assert sum(p.numel() for n, p in trained.named_parameters() if ".lora_" in n) == 2 * 2 * (2 * 16)
    words = 'lora:target_modules=["query","key"]:exclude_modules=["key"]:modules_to_save=["LayerNorm"]'
    trained, _ = set_tuning(model(), words)
    names = [name for name, p in trained.named_parameters() if p.requires_grad]
    assert not any("key" in name for name in names)
    assert all(any(part in name for name in names) for part in ("query.lora_", "LayerNorm", "classifier"))


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ("lora:rank=2", "--tuning lora has no 'rank'; it has the fields of LoraConfig"),
        ("raf-adapter:group=8", "--tuning raf-adapter has no 'group'; the nearest is 'groups'"),
        ("lora:r", "'r' must be key=value, such as lora:r=1"),
        ("bitfit:r=2", "only lora, lora-raf, ia3, beft, raf-adapter, raf-bottleneck have settings"),
        ("raf-adapter:groups=0", "raf.groups must be a whole number"),
        ("lora:r=8x", "'r=8x' must be key=value"),
        ("lora:r=", "'r=' must be key=value"),
        ("lora:r=large", "r must be like 8, not 'large'"),
        ("lora:r=null", "r must be like 8, not None"),
        ("lora:r=1.5", "r must be like 8, not 1.5"),
        ("lora:r=true", "r must be like 8, not True"),
        ("raf-bottleneck:learned=1", "learned must be like true, not 1"),
        ("lora:exclude_modules=key", r'exclude_modules must be like \["dense"\], not \'key\''),
        ("raf-bottleneck:learned=False", "'learned=False' must be key=value"),
        ("raf-bottleneck:learned=no", "learned must be like true, not 'no'"),
        ("raf-adaptor", "the nearest is 'raf-adapter'"),
    ],
)
def test_settings_that_cannot_be_are_refused(tuning: str, message: str) -> None:
    pytest.importorskip("peft")
    with pytest.raises(InputError, match=message):
        check_tuning(tuning)


def test_a_raft_gets_no_adapter_of_rafs() -> None:
    pytest.importorskip("peft")
    with pytest.raises(InputError, match="of models with fixed activations"):
        set_tuning(model(), "raf-adapter")


def test_heads_of_several_modules_are_trained() -> None:
    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=20, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    _, parts = set_tuning(raft.convert(DistilBert(config)), "raf")
    actual = {part.name: part.trained for part in parts}
    assert actual == {"RAFs": 20, "head": (16 * 16 + 16) + (2 * 16 + 2), "biases": 0, "weights": 0}


def test_frozen_coefficients_are_marked_so() -> None:
    trained, _ = set_tuning(model(), "fixed")
    assert not any(act.trainable for act in rationals(trained).values())
    trained, _ = set_tuning(trained, "full")
    assert all(act.trainable for act in rationals(trained).values())


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError, match=r"--tuning must be one of full, fixed, .*, not 'half'"):
        set_tuning(model(), "half")


@pytest.mark.parametrize("tuning", ["head", "bitfit", "lora"])
def test_the_head_of_a_model_without_a_base_is_its_own_layer(tuning: str) -> None:
    pytest.importorskip("peft")
    config = T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    _, parts = set_tuning(T5ForQuestionAnswering(config), tuning)
    trained = {part.name: part.trained for part in parts}
    assert trained["head"] == 2 * 16 + 2
    assert trained["weights"] == 0
    assert tuning != "lora" or trained["adapter"] > 0
