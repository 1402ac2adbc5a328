"""The paper's encoder against transformers' BERT, DeepNet's formulas, and the loss of all positions."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

import raft
from raft import models
from raft.models import (
    RaftBertConfig,
    RaftBertForMaskedLM,
    RaftBertForSequenceClassification,
    RaftBertModel,
)
from tests.hf.architectures import TINY, scrambled

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
IDS = torch.arange(1, 25).reshape(2, 12)
MASK = torch.ones(2, 12, dtype=torch.long).index_put((torch.tensor(1), torch.arange(7, 12)), torch.tensor(0))
LABELS = torch.where(torch.arange(24).reshape(2, 12) % 5 == 3, IDS + 20, -100)
AUTO = [
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForQuestionAnswering,
]
TASKS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForQuestionAnswering"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def raft_config(**values: Any) -> RaftBertConfig:
    return RaftBertConfig(**{**TINY, **values})


def tensors(model: PreTrainedModel, **inputs: Any) -> list[Tensor]:
    """All that a model returns for the padded batch, hidden states too."""
    with torch.no_grad():
        actual = model.eval()(input_ids=IDS, attention_mask=MASK, output_hidden_states=True, **inputs)
    return [*(value for value in actual.values() if isinstance(value, Tensor)), *actual.hidden_states]


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("task", TASKS)
def test_a_bert_checkpoint_gives_berts_outputs(
    task: str,
    attention: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bert = scrambled(getattr(transformers, f"Bert{task}")(BertConfig(**TINY)))
    bert.save_pretrained(tmp_path)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    model = getattr(models, f"RaftBert{task}").from_pretrained(
        tmp_path, deepnorm=False, raf=None, attn_implementation=attention
    )
    assert not caplog.records
    assert model.config._attn_implementation == attention
    assert list(model.state_dict()) == list(bert.state_dict())
    for mine, theirs in zip(tensors(model), tensors(bert), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    plain = getattr(models, f"RaftBert{task}").from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(tensors(plain), tensors(bert), strict=True))
    deep = getattr(models, f"RaftBert{task}").from_pretrained(tmp_path, deepnorm=True)
    assert (tensors(deep)[-1] - tensors(bert)[-1]).abs().max() > 1e-3


def test_padding_does_not_change_the_tokens_before_it() -> None:
    model = scrambled(RaftBertModel(raft_config())).eval()
    with torch.no_grad():
        padded = model(input_ids=IDS, attention_mask=MASK).last_hidden_state[1, :7]
        alone = model(input_ids=IDS[1:, :7]).last_hidden_state[0]
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-5)


def test_eager_attention_returns_its_weights() -> None:
    model = RaftBertModel(raft_config(attn_implementation="eager")).eval()
    weights = model(input_ids=IDS, attention_mask=MASK, output_attentions=True).attentions
    assert [tuple(layer.shape) for layer in weights] == [(2, 2, 12, 12)] * 2
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(2, 2, 12))
    assert weights[0][1, :, :, 7:].abs().max() == 0


def layer_by_hand(layer: nn.Module, x: Tensor, alpha: float) -> Tensor:
    """Post-LN with a scaled residual, from the weights alone; two heads of eight channels."""
    weights = dict(layer.named_parameters())

    def project(name: str, y: Tensor) -> Tensor:
        return y @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, y: Tensor) -> Tensor:
        centred = y - y.mean(-1, keepdim=True)
        scaled = centred / ((centred**2).mean(-1, keepdim=True) + 1e-12).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    query, key, value = (project(f"attention.self.{name}", x) for name in ("query", "key", "value"))
    heads = []
    for channels in (slice(0, 8), slice(8, 16)):
        scores = query[..., channels] @ key[..., channels].transpose(1, 2) / math.sqrt(8)
        heads.append(scores.softmax(-1) @ value[..., channels])
    attended = project("attention.output.dense", torch.cat(heads, -1))
    x = norm("attention.output.LayerNorm", alpha * x + attended)
    up = project("intermediate.dense", x)
    gate = project("intermediate.gate", x) if "intermediate.gate.weight" in weights else up
    inner = gate * (1 + torch.erf(gate / math.sqrt(2))) / 2
    inner = inner if gate is up else inner * up
    return norm("output.LayerNorm", alpha * x + project("output.dense", inner))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("deepnorm", "alpha"), [(True, math.sqrt(2)), (False, 1.0)])
def test_one_layer_by_hand(deepnorm: bool, alpha: float, gated: bool) -> None:
    config = raft_config(raf=None, deepnorm=deepnorm, gated=gated)
    model = scrambled(RaftBertModel(config)).double().eval()
    x = torch.randn(2, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = model.get_submodule("encoder.layer.1")
    torch.testing.assert_close(layer(x), layer_by_hand(layer, x, alpha), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("gated", "width"), [(False, 1024), (True, 682)])
def test_initial_weights_have_deepnorms_deviations(gated: bool, width: int) -> None:
    model = RaftBertForMaskedLM(
        raft_config(vocab_size=500, hidden_size=256, intermediate_size=1024, num_hidden_layers=3, gated=gated)
    )
    gain = 24**-0.25
    feed_forward = ["intermediate.dense", "output.dense", *(["intermediate.gate"] if gated else [])]
    expected = {
        "attention.self.query": math.sqrt(2 / 512),
        "attention.self.key": math.sqrt(2 / 512),
        "attention.self.value": gain * math.sqrt(2 / 512),
        "attention.output.dense": gain * math.sqrt(2 / 512),
        **dict.fromkeys(feed_forward, gain * math.sqrt(2 / (256 + width))),
    }
    for layer in model.bert.encoder.layer:
        weights = dict(layer.named_parameters())
        for name, deviation in expected.items():
            weight = weights[f"{name}.weight"].detach()
            # five standard errors of a normal sample's deviation
            assert weight.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(2 * weight.numel()))
            assert weight.abs().max() > 3 * deviation  # a uniform draw ends at 1.73
            assert weights[f"{name}.bias"].abs().max() == 0
    for weight in (
        model.bert.embeddings.word_embeddings.weight,
        model.cls.predictions.transform.dense.weight,
    ):
        assert weight.std().item() == pytest.approx(0.02, rel=0.03)


def test_without_deepnorm_initial_weights_are_berts() -> None:
    weights = RaftBertModel(raft_config(hidden_size=128, deepnorm=False)).state_dict()
    for name in ("attention.self.query", "attention.self.value", "attention.output.dense", "output.dense"):
        deviation = weights[f"encoder.layer.0.{name}.weight"].std().item()
        assert deviation == pytest.approx(0.02, rel=0.06)


def test_only_weights_that_a_checkpoint_lacks_are_drawn(tmp_path: Path) -> None:
    model = scrambled(RaftBertModel(raft_config(hidden_size=128)))
    lacking = "encoder.layer.1.attention.self.value.weight"
    model.save_pretrained(
        tmp_path, state_dict={name: value for name, value in model.state_dict().items() if name != lacking}
    )
    again = RaftBertModel.from_pretrained(tmp_path).state_dict()
    assert again[lacking].std().item() == pytest.approx(0.5 * math.sqrt(2 / 256), rel=0.05)
    assert all(
        torch.equal(again[name], value) for name, value in model.state_dict().items() if name != lacking
    )


def test_rafs_sit_where_the_paper_has_them_and_start_from_gelu() -> None:
    model = RaftBertForSequenceClassification(raft_config())
    actual = raft.hf.rationals(model)
    assert list(actual) == [
        "bert.encoder.layer.0.intermediate.intermediate_act_fn",
        "bert.encoder.layer.1.intermediate.intermediate_act_fn",
        "bert.pooler.activation",
    ]
    gelu = torch.tensor(raft.named_fit("gelu", (5, 4), "A").numerator)
    assert all(torch.equal(act.numerator.detach(), gelu) for act in actual.values())
    head = RaftBertForMaskedLM(raft_config()).cls.predictions.transform.transform_act_fn
    assert head(torch.ones(1)).item() == pytest.approx((1 + math.erf(math.sqrt(0.5))) / 2)
    assert not list(head.parameters())


def test_faft_has_gelu_and_a_tanh_pooler() -> None:
    model = RaftBertModel(raft_config(raf=None))
    assert raft.hf.rationals(model) == {}
    assert model.pooler is not None
    assert isinstance(model.pooler.activation, nn.Tanh)


@pytest.mark.parametrize("task", TASKS)
def test_raft_and_baseline_start_from_the_same_weights(task: str) -> None:
    states = []
    blocks: list[dict[str, Any] | None] = [None, {}]
    for raf in blocks:
        torch.manual_seed(0)
        states.append(getattr(models, f"RaftBert{task}")(raft_config(raf=raf)).state_dict())
    fixed, learned = states
    assert all(torch.equal(value, learned[key]) for key, value in fixed.items())
    assert all(
        key.endswith(("numerator", "denominator", "raf_form")) for key in learned.keys() - fixed.keys()
    )


def test_gated_layers_are_sites_as_any_other() -> None:
    config = raft_config(raf=None, gated=True, hidden_act="silu", **NO_DROPOUT)
    model = scrambled(RaftBertModel(config, add_pooling_layer=False)).eval()
    fixed = tensors(model)
    raft.convert(model, {"sites": ["ffn"], "layers": "1"}, calibration=[IDS])
    (site,) = model.conversion_report
    assert (site.site, site.kind) == ("encoder.layer.1.intermediate.intermediate_act_fn", "ffn")
    assert (site.replaced, site.inputs) == ("silu", 24 * config.feed_forward_width)
    for actual, expected in zip(tensors(model), fixed, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0.1)
    raft.revert(model)
    assert all(torch.equal(actual, expected) for actual, expected in zip(tensors(model), fixed, strict=True))


@pytest.mark.parametrize("function", ["relu", "silu"])
def test_gated_layers_without_gradient_checkpointing_keep_less(function: str) -> None:
    """With a RAF, the product keeps its factors alone; act(gate) * up keeps act(gate), too."""
    kept = []
    for raf in (None, {"init": function}):
        model = RaftBertModel(raft_config(raf=raf, gated=True, hidden_act=function), add_pooling_layer=False)
        sizes: list[int] = []
        layer: Any = model.encoder.layer[0].intermediate

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(torch.randn(64, 16))
        kept.append(sum(size == 64 * model.config.feed_forward_width for size in sizes))
    fixed, learned = kept
    assert (fixed, learned) == (3, 2)


def test_masked_lm_loss_is_the_full_cross_entropy() -> None:
    model = scrambled(RaftBertForMaskedLM(raft_config())).eval()
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    full = model(**inputs).logits
    assert full.shape == (2, 12, 50)
    expected = F.cross_entropy(full.reshape(-1, 50), LABELS.reshape(-1), ignore_index=-100)
    wanted = gradients(model, expected)

    widths: list[torch.Size] = []
    handle = model.cls.register_forward_hook(lambda _, args, __: widths.append(args[0].shape))
    output = model(**inputs, labels=LABELS)
    handle.remove()
    assert widths == [(5, 16)]
    torch.testing.assert_close(output.loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(output.logits, full[LABELS != -100], rtol=0, atol=1e-6)
    actual = gradients(model, output.loss)
    assert wanted.keys() == actual.keys() == dict(model.named_parameters()).keys()
    for name, value in wanted.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_masked_lm_loss_equals_berts(tmp_path: Path) -> None:
    bert = scrambled(BertForMaskedLM(BertConfig(**TINY))).eval()
    bert.save_pretrained(tmp_path)
    model = RaftBertForMaskedLM.from_pretrained(tmp_path).eval()
    for labels in (LABELS, IDS):
        theirs = bert(input_ids=IDS, attention_mask=MASK, labels=labels).loss
        torch.testing.assert_close(
            model(input_ids=IDS, attention_mask=MASK, labels=labels).loss, theirs, rtol=1e-6, atol=0
        )


@pytest.mark.parametrize("items", [10, torch.tensor(10)])
def test_the_loss_is_divided_by_the_items_of_the_whole_batch(items: Tensor | int) -> None:
    model = RaftBertForMaskedLM(raft_config()).eval()
    mean = model(input_ids=IDS, labels=LABELS).loss
    part = model(input_ids=IDS, labels=LABELS, num_items_in_batch=items).loss
    torch.testing.assert_close(part, mean * 5 / 10)


@pytest.mark.parametrize("items", [None, 0, torch.tensor(7)])
def test_a_batch_without_masked_positions_has_loss_and_gradients_of_zero(items: Tensor | int | None) -> None:
    model = RaftBertForMaskedLM(raft_config())
    output = model(input_ids=IDS, labels=torch.full_like(IDS, -100), num_items_in_batch=items)
    assert output.loss.item() == 0
    assert output.logits.shape == (0, 50)
    actual = gradients(model, output.loss)
    assert actual.keys() == dict(model.named_parameters()).keys()
    assert all(value.abs().max() == 0 for value in actual.values())


def test_a_tuple_is_returned_where_one_is_asked_for() -> None:
    model = RaftBertForMaskedLM(raft_config()).eval()
    loss, logits = model(input_ids=IDS, labels=LABELS, return_dict=False)
    assert loss.shape == ()
    assert logits.shape == (5, 50)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"raf": None},
        {"deepnorm": False, "raf": {"degrees": [3, 2]}},
        {"gated": True, "raf": {"shared": "all"}},
        {"gated": True, "hidden_act": "relu", "raf": None},
    ],
)
@pytest.mark.parametrize("auto", AUTO)
def test_auto_classes_restore_models_bit_for_bit(auto: Any, values: dict[str, Any], tmp_path: Path) -> None:
    model = scrambled(auto.from_config(raft_config(**values)))
    assert type(model).__name__.startswith("RaftBert")
    model.save_pretrained(tmp_path)
    again = auto.from_pretrained(tmp_path)
    assert type(again) is type(model)
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(tensors(again), tensors(model), strict=True))
    assert bool(raft.hf.rationals(again)) == (model.config.raf is not None)


def test_output_embeddings_are_the_input_embeddings(tmp_path: Path) -> None:
    scrambled(RaftBertForMaskedLM(raft_config())).save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "cls.predictions.decoder.weight" not in file.keys()  # noqa: SIM118 (no mapping)
    model = RaftBertForMaskedLM.from_pretrained(tmp_path)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert model.cls.predictions.decoder.bias is model.cls.predictions.bias


def test_a_pretrained_encoder_becomes_a_classifier(tmp_path: Path) -> None:
    pretrained = scrambled(RaftBertForMaskedLM(raft_config()))
    pretrained.save_pretrained(tmp_path)
    state = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3).state_dict()
    assert state["classifier.weight"].shape == (3, 16)
    assert all(
        torch.equal(value, state[f"bert.{key}"]) for key, value in pretrained.base_model.state_dict().items()
    )
    gelu = torch.tensor(raft.named_fit("gelu").numerator)
    assert torch.equal(state["bert.pooler.activation.numerator"], gelu)


def test_half_precision_keeps_coefficients_and_loss_in_float32(tmp_path: Path) -> None:
    scrambled(RaftBertForMaskedLM(raft_config())).save_pretrained(tmp_path)
    model = RaftBertForMaskedLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    output = model(input_ids=IDS, labels=LABELS)
    assert (output.loss.dtype, output.logits.dtype) == (torch.float32, torch.bfloat16)
    assert all(act.numerator.dtype == torch.float32 for act in raft.hf.rationals(model).values())
    assert all(torch.isfinite(value).all() for value in gradients(model, output.loss).values())


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")
def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    model = scrambled(RaftBertForMaskedLM(raft_config(**NO_DROPOUT))).train()
    runs: list[int] = []
    model.bert.encoder.layer[0].attention.register_forward_hook(lambda *_: runs.append(1))
    expected = gradients(model, model(input_ids=IDS, labels=LABELS).loss)
    assert len(runs) == 1
    model.gradient_checkpointing_enable()
    actual = gradients(model, model(input_ids=IDS, labels=LABELS).loss)
    assert len(runs) == 3  # once more in the backward pass
    assert expected.keys() == actual.keys()
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


@pytest.mark.parametrize("task", ["ForMaskedLM", "ForSequenceClassification"])
def test_accumulated_batches_train_as_one_batch(task: str, tmp_path: Path) -> None:
    examples: list[dict[str, Tensor]] = []
    for i in range(8):
        row = torch.arange(10) * (i + 3) % 50
        # one to eight tokens to predict: a mean of means would weigh them wrongly
        labels = (
            torch.where(torch.arange(10) <= i, row, -100)
            if task == "ForMaskedLM"
            else torch.tensor(int(i == 0))
        )
        examples.append({"input_ids": row, "labels": labels})

    def trained(batch: int, accumulated: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = scrambled(getattr(models, f"RaftBert{task}")(raft_config(**NO_DROPOUT)))
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulated,
            max_steps=2,
            learning_rate=0.1,
            lr_scheduler_type="constant",
            optim="sgd",
            max_grad_norm=0.0,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        before = {name: value.clone() for name, value in model.state_dict().items()}
        Trainer(model, arguments, train_dataset=examples).train()
        return {name: value - before[name] for name, value in model.state_dict().items()}

    whole, parts = trained(4, 1), trained(2, 2)
    assert max(value.abs().max() for value in whole.values()) > 1e-2
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-6, msg=name)
