"""RAFTs and FAFTs through transformers' own doors: constructors, save_pretrained, from_pretrained."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedModel,
)

import raft
from raft.hf import ConversionReport
from raft.networks.config import RafConfig
from tests.hf.architectures import ARCHITECTURES, TINY, scrambled

IDS = torch.arange(24).reshape(2, 12)


def bert_config(**values: Any) -> BertConfig:
    return BertConfig(**{**TINY, **values})


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        actual: Tensor = model.eval()(input_ids=IDS).logits
    return actual


def report_of(model: PreTrainedModel) -> ConversionReport:
    report = model.conversion_report
    assert isinstance(report, ConversionReport)
    return report


def test_rafs_sit_in_feed_forward_layers_and_pooler_only() -> None:
    model = BertForSequenceClassification(bert_config(raf={}))
    assert list(raft.hf.rationals(model)) == [
        "bert.encoder.layer.0.intermediate.intermediate_act_fn",
        "bert.encoder.layer.1.intermediate.intermediate_act_fn",
        "bert.pooler.activation",
    ]
    assert raft.hf.rationals(model)["bert.pooler.activation"].start == raft.named_fit("tanh")
    head = BertForMaskedLM(bert_config(raf={})).cls.predictions.transform
    assert not isinstance(head.transform_act_fn, raft.Rational)


def test_no_block_is_a_plain_faft() -> None:
    for config in (BertConfig(**TINY), bert_config(raf=None)):
        assert raft.hf.rationals(BertForMaskedLM(config)) == {}


def test_raft_and_baseline_start_from_the_same_weights() -> None:
    models = []
    blocks: list[dict[str, Any] | None] = [None, {}]
    for raf in blocks:
        torch.manual_seed(0)
        models.append(BertForMaskedLM(bert_config(raf=raf)))
    fixed, learned = (model.state_dict() for model in models)
    assert all(torch.equal(fixed[key], learned[key]) for key in fixed)
    assert (logits(models[0]) - logits(models[1])).abs().max() < 0.01


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("Roberta", {}),
        ("Electra", {}),
        ("Albert", {"embedding_size": 16}),
        ("MobileBert", {"embedding_size": 16, "intra_bottleneck_size": 16}),
        ("DebertaV2", {}),
        ("MPNet", {}),
        ("DistilBert", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}),
    ],
)
def test_bert_like_families(family: str, names: dict[str, Any]) -> None:
    config_class = getattr(transformers, f"{family}Config")
    size: dict[str, Any] = (
        TINY if family != "DistilBert" else {"vocab_size": 50, "max_position_embeddings": 40}
    )
    config = config_class(**size, **names, raf={"version": "B"})
    model = getattr(transformers, f"{family}ForMaskedLM")(config)
    actual = raft.hf.rationals(model)
    assert actual
    assert all(act.version == "B" for act in actual.values())
    model(input_ids=IDS, labels=IDS).loss.backward()
    used = [act for name, act in actual.items() if "pooler" not in name]
    assert all(act.numerator.grad is not None and act.numerator.grad.abs().sum() > 0 for act in used)


@pytest.mark.parametrize("kind", ["raft", "faft", "converted"])
@pytest.mark.parametrize("auto", [AutoModelForMaskedLM, AutoModelForSequenceClassification])
def test_reloaded_logits_are_bit_identical(kind: str, auto: Any, tmp_path: Path) -> None:
    config = bert_config(raf={"degrees": [3, 2]} if kind == "raft" else None)
    model = scrambled(auto.from_config(config))
    if kind == "converted":
        model.save_pretrained(tmp_path / "faft")
        model = raft.convert(auto.from_pretrained(tmp_path / "faft"))
    model.save_pretrained(tmp_path / "model")
    again = auto.from_pretrained(tmp_path / "model")
    assert bool(raft.hf.rationals(again)) == (kind != "faft")
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("auto", [AutoModelForMaskedLM, AutoModelForSequenceClassification])
def test_a_checkpoint_without_rafs_gets_the_named_fits(auto: Any, tmp_path: Path) -> None:
    faft = scrambled(auto.from_config(BertConfig(**TINY)))
    faft.save_pretrained(tmp_path)
    config = BertConfig.from_pretrained(tmp_path)
    config.raf = {"version": "C", "init": "silu"}
    junk = [torch.full((6,), float("nan")) for _ in range(200)]  # freed memory, for a careless load to find
    del junk
    model = auto.from_pretrained(tmp_path, config=config)
    expected = raft.named_fit("silu", version="C")
    for act in raft.hf.rationals(model).values():
        torch.testing.assert_close(act.numerator.detach(), torch.tensor(expected.numerator))
        torch.testing.assert_close(act.denominator.detach(), torch.tensor(expected.denominator))
    weights = model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in faft.state_dict().items())
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(logits(auto.from_pretrained(tmp_path / "again")), logits(model))


def test_an_mlm_checkpoint_becomes_a_classifier_with_a_fresh_pooler(tmp_path: Path) -> None:
    scrambled(BertForMaskedLM(bert_config(raf={}))).save_pretrained(tmp_path)
    pretrained = raft.hf.rationals(AutoModelForMaskedLM.from_pretrained(tmp_path))
    actual = raft.hf.rationals(AutoModelForSequenceClassification.from_pretrained(tmp_path))
    name = "bert.encoder.layer.1.intermediate.intermediate_act_fn"
    assert torch.equal(actual[name].numerator, pretrained[name].numerator)
    tanh = torch.tensor(raft.named_fit("tanh").numerator)
    torch.testing.assert_close(actual["bert.pooler.activation"].numerator.detach(), tanh)


def test_half_precision_keeps_the_coefficients_of_the_checkpoint(tmp_path: Path) -> None:
    model = scrambled(BertForMaskedLM(bert_config(raf={})))
    model.save_pretrained(tmp_path)
    half = AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.bert.encoder.layer[0].output.dense.weight.dtype == torch.bfloat16
    for mine, theirs in zip(raft.hf.rationals(half).values(), raft.hf.rationals(model).values(), strict=True):
        assert torch.equal(mine.numerator, theirs.numerator)
    assert torch.isfinite(logits(half)).all()


def test_convert_keeps_other_weights_and_is_idempotent() -> None:
    faft = scrambled(BertForSequenceClassification(BertConfig(**TINY)))
    before, scores = copy.deepcopy(faft.state_dict()), logits(faft)
    model = raft.convert(faft)
    assert (logits(model) - scores).abs().max() < 0.1
    after = copy.deepcopy(model.state_dict())
    assert all(torch.equal(before[key], after[key]) for key in before)
    raft.convert(model)
    assert all(torch.equal(value, after[key]) for key, value in model.state_dict().items())


def test_a_model_without_sites_is_refused() -> None:
    config = transformers.MambaConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1)
    with pytest.raises(ValueError, match=r"MambaForCausalLM has no ffn activation .* it has: 1 conv"):
        raft.convert(transformers.MambaForCausalLM(config))
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8, "raf": {}}
    with pytest.raises(ValueError, match="RwkvModel has a raf block, but no activation"):
        transformers.RwkvForCausalLM(transformers.RwkvConfig(vocab_size=20, **sizes))


def test_a_kind_that_a_model_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(ValueError, match=r"BertModel has no mlm_head activation .* it has: 2 ffn, 1 pooler"):
        raft.convert(transformers.BertModel(BertConfig(**TINY)), {"sites": ["ffn", "mlm_head"]})


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"degree": [5, 4]},
            "unknown key 'degree' in the raf block; known are sites, layers, function, settings, degrees",
        ),
        ({"degrees": [5, -1]}, "degrees must be two integers from 0 to 12"),
        ({"version": "a"}, "version must be one of A, B, C, D, N, not 'a'"),
        ({"init": "gelo"}, "unknown activation 'gelo'"),
        ({"sites": ["head"]}, "raf.sites must be taken from ffn, pooler"),
        ({"sites": ["fnn"]}, r"not \['fnn'\]; the nearest is 'ffn'"),
        ({"layers": "5-2"}, "layers must be"),
        ({"layers": "all but one"}, "layers must be"),
        ({"layers": []}, "layers must be"),
        ({"groups": 0}, "raf.groups must be a whole number from 1 on, not 0"),
        ({"shared": True}, 'raf.shared must be false, "all", "kind" or a mapping'),
        ({"shared": {"low": "0", "high": "0-1"}}, "gives layer 0 to 'low' and 'high'"),
        ({"residual": "false"}, "raf.residual must be true or false, not 'false'"),
        ({"trainable": 0}, "raf.trainable must be true or false, not 0"),
        ({"degrees": [5.7, 4.2]}, "degrees must be two integers from 0 to 12, not"),
        ({"degrees": 5}, "degrees must be two integers from 0 to 12, not"),
        ({"degrees": "5/4"}, "degrees must be two integers from 0 to 12, not"),
        ({"layers": 1}, "layers must be .* not 1"),
    ],
)
def test_bad_blocks_are_refused(block: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BertForMaskedLM(bert_config(raf=block))


def test_activations_that_have_no_name_are_fitted_too() -> None:
    model = BertForMaskedLM(bert_config(hidden_act="relu2", raf={"sites": ["ffn"]}))
    x = torch.linspace(-4, 4, 101)
    for act in raft.hf.rationals(model).values():
        assert (act(x) - x.relu().square()).abs().max() < 0.1


def test_a_fit_that_misses_by_far_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for degrees, is_said in (([5, 4], False), ([1, 1], True)):
        caplog.clear()
        with caplog.at_level("WARNING", "raft"):
            raft.convert(BertForMaskedLM(BertConfig(**TINY)), {"degrees": degrees})
        assert ("misses gelu by up to" in caplog.text) == is_said


def test_another_configuration_is_refused_before_anything_changes() -> None:
    model = raft.convert(BertForMaskedLM(BertConfig(**TINY)), {"layers": "0"})
    with pytest.raises(ValueError, match=r"has RAFs of another configuration .*layers='0'.*revert it first"):
        raft.convert(model, {"layers": "all"})
    assert len(raft.hf.rationals(model)) == 1
    assert len(raft.hf.rationals(raft.convert(raft.revert(model), {"layers": "all"}))) == 2


def test_models_that_were_built_from_one_configuration_stay_apart(tmp_path: Path) -> None:
    config = BertConfig(**TINY)
    first, second = BertForMaskedLM(config), BertForMaskedLM(config)
    raft.convert(first)
    assert RafConfig.of(second.config) is None
    assert first.config is first.bert.config is first.bert.encoder.config
    first.bert.save_pretrained(tmp_path)
    assert raft.hf.rationals(transformers.AutoModel.from_pretrained(tmp_path))
    clip: Any = raft.convert(ARCHITECTURES["clip"].build())
    assert clip.text_model.config is clip.config.text_config
    built = bert_config(raf={})
    first, second = BertForMaskedLM(built), BertForMaskedLM(built)
    raft.revert(first)
    assert RafConfig.of(second.config) == RafConfig()


def test_activations_of_one_class_with_other_slopes_get_fits_of_their_own() -> None:
    model: Any = BertForMaskedLM(BertConfig(**TINY))
    slopes = (0.1, 0.5)
    for layer, slope in zip(model.bert.encoder.layer, slopes, strict=True):
        layer.intermediate.intermediate_act_fn = torch.nn.LeakyReLU(slope)
    for shared in (False, "all"):
        raft.convert(model, {"shared": shared, "sites": ["ffn"]})
        x = torch.tensor([-8.0, 8.0])
        for act, slope in zip(raft.hf.rationals(model).values(), slopes, strict=True):
            torch.testing.assert_close(act(x), torch.nn.functional.leaky_relu(x, slope), rtol=0, atol=0.2)
        raft.revert(model)


class ClippedActivation(torch.nn.Module):
    """Says nothing of its limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """Between the limits."""
        return x.clamp(-self.limit, self.limit)


@pytest.mark.parametrize("shared", [False, "all"])
def test_activations_that_look_alike_when_printed_get_fits_of_their_own(shared: Any) -> None:
    model: Any = BertForMaskedLM(BertConfig(**TINY))
    for layer, limit in zip(model.bert.encoder.layer, (1.0, 6.0), strict=True):
        layer.intermediate.intermediate_act_fn = ClippedActivation(limit)
    raft.convert(model, {"shared": shared, "sites": ["ffn"]})
    first, second = raft.hf.rationals(model).values()
    assert first(torch.tensor(5.0)).item() == pytest.approx(1, abs=0.3)
    assert second(torch.tensor(5.0)).item() == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize("config", [{}, {"residual": True}], ids=["raf", "residual"])
def test_what_works_in_place_is_replaced_by_what_it_gives(config: dict[str, Any]) -> None:
    model: Any = BertForMaskedLM(BertConfig(**TINY))
    for layer in model.bert.encoder.layer:
        layer.intermediate.intermediate_act_fn = torch.nn.ReLU(inplace=True)
    raft.convert(model, {"sites": ["ffn"], **config}, calibration=[IDS])
    assert [each.replaced for each in report_of(model)] == ["relu", "relu"]
    act = next(iter(raft.hf.rationals(model).values()))
    x = torch.linspace(-3, 3, 7, requires_grad=True)
    torch.testing.assert_close(act(x * 1), x.relu(), rtol=0, atol=0.15)
    before = act(x * 1)
    with torch.no_grad():
        act.numerator[1] += 1.0  # of x, not of relu(x)
    moved = act(x * 1)
    moved.sum().backward()
    assert ((moved - before)[:3] < 0).all()
    assert x.grad is not None


def test_the_default_device_is_not_where_fits_are_made() -> None:
    model = BertForMaskedLM(BertConfig(**TINY))
    with torch.device("meta"):
        fit = raft.fit("gelu", (4, 3))
    raft.convert(model, calibration=[IDS])
    assert fit.max_error < 0.1


def test_trainable_is_what_a_model_is_told_last() -> None:
    model = raft.convert(BertForMaskedLM(BertConfig(**TINY)))
    for is_trainable in (False, True):
        raft.convert(model, {"trainable": is_trainable})
        assert RafConfig.of(model.config).trainable == is_trainable  # type: ignore[union-attr]  # it has a block
        acts = raft.hf.rationals(model).values()
        assert {p.requires_grad for act in acts for p in act.parameters()} == {is_trainable}


def test_groups_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"32 channels at .* cannot be cut into 5 groups"):
        raft.convert(BertForMaskedLM(BertConfig(**TINY)), {"groups": 5})
    model = ARCHITECTURES["wav2vec2"].build()
    with pytest.raises(ValueError, match=r"channels first at .*groups=1"):
        raft.convert(model, {"groups": 2, "sites": ["conv"]})
    assert raft.hf.rationals(model) == {}


def test_models_from_text_to_text_are_calibrated_by_texts_and_labels() -> None:
    ids = torch.randint(3, 50, (2, 7))
    for batch in ({"input_ids": ids, "labels": ids}, {"input_ids": ids, "decoder_input_ids": ids}):
        model = raft.convert(ARCHITECTURES["t5"].build(), calibration=[batch])
        assert all(each.inputs for each in report_of(model))


def test_texts_in_place_of_a_configuration_are_refused() -> None:
    model = BertForMaskedLM(BertConfig(**TINY))
    with pytest.raises(TypeError, match=r"not a list; texts or batches are given as calibration="):
        raft.convert(model, ["a text"])  # type: ignore[arg-type]  # is refused
    assert len(raft.hf.rationals(model)) == 0


def test_a_pretrained_model_that_is_given_rafs_while_it_is_read_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    BertForMaskedLM(BertConfig(**TINY)).save_pretrained(tmp_path / "faft")
    BertForMaskedLM(bert_config(raf={})).save_pretrained(tmp_path / "raft")
    AutoModelForMaskedLM.from_pretrained(tmp_path / "raft")
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "raft")  # whose pooler is new
    assert [record for record in caplog.records if record.name == "raft"] == []
    AutoModelForMaskedLM.from_pretrained(tmp_path / "faft", raf={})
    (message,) = [record.getMessage() for record in caplog.records if record.name == "raft"]
    assert "from a checkpoint without RAFs: they begin as fits of gelu over [-5, 5]" in message


def test_a_model_in_another_network_is_reverted_with_it() -> None:
    model = raft.convert(BertForMaskedLM(BertConfig(**TINY)))
    raft.revert(torch.nn.Sequential(model))
    assert len(raft.hf.rationals(model)) == 0
    assert model.config.to_dict().get("raf") is None


def test_materialised_coefficients_start_again() -> None:
    with torch.device("meta"):
        act = raft.Rational("gelu", groups=2)
    act.to_empty(device="cpu").reset_parameters()
    assert torch.equal(act.numerator, raft.Rational("gelu", groups=2).numerator)


def test_the_same_configuration_in_other_words_is_the_same() -> None:
    config = RafConfig(layers=(0, 1), shared={"both": (0, 1)})
    model = raft.convert(BertForMaskedLM(BertConfig(**TINY)), config)
    assert RafConfig.of(model.config) is not None
    raft.convert(model, config)
    json.dumps(model.config.raf)


def test_layers_and_groups() -> None:
    config = bert_config(num_hidden_layers=4, raf={"layers": "0-1,3", "groups": 4, "sites": ["ffn"]})
    acts = raft.hf.rationals(BertForMaskedLM(config))
    assert [name.split(".")[3] for name in acts] == ["0", "1", "3"]
    assert all(act.numerator.shape == (4, 6) for act in acts.values())
    with pytest.raises(ValueError, match=r"no ffn activation that can be replaced \(layers='7'\)"):
        raft.convert(BertForMaskedLM(BertConfig(**TINY)), {"layers": "7", "sites": "ffn"})


@pytest.mark.parametrize(
    ("shared", "layers"),
    [("all", ["0"]), ({"lower": "0-1", "upper": [2, 3]}, ["0", "2"]), ({"some": "1-2"}, ["0", "1", "3"])],
)
@pytest.mark.parametrize("how", ["built", "converted"])
def test_shared_rafs_are_counted_trained_and_saved_once(
    shared: Any, layers: list[str], how: str, tmp_path: Path
) -> None:
    block = {"shared": shared, "sites": ["ffn"]}
    model: PreTrainedModel
    if how == "built":
        model = BertForMaskedLM(bert_config(num_hidden_layers=4, raf=block))
    else:
        model = raft.convert(BertForMaskedLM(bert_config(num_hidden_layers=4)), block)
    acts = raft.hf.rationals(model)
    assert [name.split(".")[3] for name in acts] == layers
    assert sum(key.endswith("numerator") for key in model.state_dict()) == len(layers)
    scrambled(model)(input_ids=IDS, labels=IDS).loss.backward()
    assert all(act.numerator.grad is not None for act in acts.values())
    model.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert len(raft.hf.rationals(again)) == len(layers)
    assert torch.equal(logits(again), logits(model))
    whole = copy.deepcopy(model)
    with torch.no_grad():
        for act in raft.hf.rationals(whole).values():
            act.numerator.zero_()
    assert not torch.equal(logits(whole), logits(model))
    assert torch.equal(logits(raft.revert(whole)), logits(raft.revert(model)))


def test_frozen_rafs_stay() -> None:
    model = BertForMaskedLM(bert_config(raf={"trainable": False}))
    acts = raft.hf.rationals(model).values()
    assert not any(p.requires_grad for act in acts for p in act.parameters())
    raft.unfreeze(model)
    assert all(p.requires_grad for act in acts for p in act.parameters())
    raft.freeze(model)
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(act.numerator.grad is None for act in acts)


WITHOUT_RAFT = """
import sys
from transformers import AutoModel
for folder in sys.argv[1:]:
    try:
        AutoModel.from_pretrained(folder)
    except Exception as error:
        print(str(error).splitlines()[-1])
"""


@pytest.mark.slow
def test_transformers_without_raft_stops_and_names_it(tmp_path: Path) -> None:
    raft.convert(BertForMaskedLM(BertConfig(**TINY))).save_pretrained(tmp_path / "bert")
    clip = ARCHITECTURES["clip"].build()
    raft.convert(clip).save_pretrained(tmp_path / "clip")
    t5 = raft.convert(ARCHITECTURES["t5-gated"].build())
    t5.save_pretrained(tmp_path / "t5")
    raft.convert(ARCHITECTURES["bloom"].build()).save_pretrained(tmp_path / "bloom")  # names no activation
    for name, field in (("bert", "hidden_act"), ("t5", "feed_forward_proj")):
        saved = json.loads((tmp_path / name / "config.json").read_text())
        assert "import raft" in saved[field]
    names = ("bert", "clip", "t5", "bloom")
    command = [sys.executable, "-c", WITHOUT_RAFT, *(str(tmp_path / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    said = done.stdout.splitlines()
    assert len(said) == len(names)
    assert all("install raft-transformers, then import raft" in line for line in said)
    again = transformers.AutoModel.from_pretrained(tmp_path / "clip")
    assert again.config.text_config.hidden_act == clip.config.text_config.hidden_act == "quick_gelu"
    assert len(raft.hf.rationals(again)) == 4
    assert "activations" not in again.config.raf
    config = transformers.AutoConfig.from_pretrained(tmp_path / "t5")
    assert config.feed_forward_proj == "gated-gelu"
    assert config.to_dict() == t5.config.to_dict() | {
        key: config.to_dict()[key]
        for key in ("_name_or_path", "architectures", "dtype", "transformers_version")
        if key in config.to_dict()
    }


def test_a_tower_is_loaded_from_the_folder_of_the_whole(tmp_path: Path) -> None:
    clip: Any = ARCHITECTURES["clip"].build(raf={})
    other = ARCHITECTURES["clip"].build()
    clip.save_pretrained(tmp_path)
    tower = transformers.CLIPTextModel.from_pretrained(tmp_path)
    assert len(raft.hf.rationals(tower)) == 2
    again = transformers.CLIPModel.from_pretrained(tmp_path)
    assert set(raft.hf.rationals(again)) == set(raft.hf.rationals(clip))
    assert raft.hf.rationals(other) == {}


def test_a_composite_models_part_honours_its_own_block(tmp_path: Path) -> None:
    architecture = ARCHITECTURES["clip"]
    values = {**architecture.values, "text_config": {**architecture.values["text_config"], "raf": {}}}
    model = transformers.CLIPModel(transformers.CLIPConfig(**values))
    assert [name.split(".")[0] for name in raft.hf.rationals(model)] == ["text_model"] * 2
    model.save_pretrained(tmp_path)
    again = transformers.AutoModel.from_pretrained(tmp_path)
    assert list(raft.hf.rationals(again)) == list(raft.hf.rationals(model))
    bert = bert_config(raf={}), BertConfig(**TINY, is_decoder=True, add_cross_attention=True)
    both = transformers.EncoderDecoderModel(
        transformers.EncoderDecoderConfig.from_encoder_decoder_configs(*bert)
    )
    assert {name.split(".")[0] for name in raft.hf.rationals(both)} == {"encoder"}


def test_calibration_reads_batches_tensors_and_texts(tmp_path: Path) -> None:
    batch = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS}
    loader = DataLoader(TensorDataset(IDS), batch_size=1)
    kinds: list[Any] = [[batch], batch, IDS, [IDS], [(IDS, IDS)], loader, iter([batch])]
    reports = []
    for calibration in kinds:
        torch.manual_seed(0)
        model = raft.convert(BertForMaskedLM(BertConfig(**TINY)), calibration=calibration)
        reports.append(report_of(model))
    assert all(report[0].inputs == IDS.numel() * TINY["intermediate_size"] for report in reports)
    for report in reports:  # batches of one sum up in another order
        assert report[0].rms_error == pytest.approx(reports[0][0].rms_error, rel=1e-3)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "house", "of", "cards"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    faft = BertForMaskedLM(BertConfig(**TINY))
    faft.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["a house of cards", "cards", "a house"]
    converted = raft.convert(AutoModelForMaskedLM.from_pretrained(tmp_path), calibration=texts)
    tokens = sum(len(text.split()) + 2 for text in texts)  # padding is left out
    assert report_of(converted)[0].inputs == tokens * TINY["intermediate_size"]
    given = raft.convert(faft, calibration=(text for text in texts), tokenizer=tokenizer)
    assert str(report_of(given)) == str(report_of(converted))


def test_an_unused_calibration_is_said(caplog: pytest.LogCaptureFixture) -> None:
    raft.convert(BertForMaskedLM(bert_config(raf={})), calibration=[IDS])
    assert "the calibration was not used: raft.revert it first" in caplog.text


def test_calibration_restores_the_mode_of_every_module() -> None:
    model = BertForMaskedLM(BertConfig(**TINY)).train()
    model.bert.embeddings.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    raft.convert(model, calibration=[IDS])
    assert modes == {name: module.training for name, module in model.named_modules() if name in modes}


def test_each_side_of_a_pair_has_its_own_padding() -> None:
    mask = torch.ones_like(IDS)
    mask[:, 8:] = 0
    for masks, shares in (
        ({"attention_mask": mask}, (8 / 12, 1)),
        ({"attention_mask": torch.ones_like(IDS), "decoder_attention_mask": mask}, (1, 8 / 12)),
    ):
        t5 = ARCHITECTURES["t5"].build()
        raft.convert(t5, calibration=[{"input_ids": IDS, "decoder_input_ids": IDS, **masks}])
        inputs = {each.site.split(".")[0]: each.inputs for each in report_of(t5)}
        whole = IDS.numel() * t5.config.d_ff
        assert (inputs["encoder"] / whole, inputs["decoder"] / whole) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("calibration", "error", "message"),
    [
        ([], ValueError, "calibration is empty"),
        ([3], TypeError, "calibration must give texts, mappings or tensors, not int"),
        (["text"], ValueError, "needs the model's tokenizer, which a new model does not know"),
        ([{"sentence": "text"}], TypeError, "holds no tensors, but sentence: give texts"),
        ([{"input_ids": [[1, 2]]}], TypeError, "holds no tensors, but input_ids"),
    ],
)
def test_bad_calibration_is_refused_and_leaves_the_model_alone(
    calibration: Any, error: type[Exception], message: str
) -> None:
    model = BertForMaskedLM(BertConfig(**TINY)).train()
    with pytest.raises(error, match=message):
        raft.convert(model, calibration=calibration)
    head = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**TINY))
    with pytest.raises(error, match=message):
        raft.convert(head, {"sites": ["ffn", "mlm_head"]}, calibration=calibration)
    assert type(head.lm_head).__module__.startswith("transformers")
    assert raft.hf.rationals(model) == {}
    assert model.training
    assert type(model.bert.encoder.layer[0].intermediate.intermediate_act_fn).__name__ == "GELUActivation"


def test_the_report_is_a_table_when_printed() -> None:
    model = raft.convert(BertForMaskedLM(BertConfig(**TINY)), {"shared": "all"}, calibration=[IDS])
    lines = str(model.conversion_report).splitlines()
    assert lines[0].split()[:3] == ["site", "kind", "was"]
    assert len(lines) == 3
    assert lines[2].startswith("bert.encoder.layer.1.intermediate.intermediate_act_fn = bert.encoder.layer.0")
    assert report_of(model).rows()[0]["replaced"] == "gelu"
    uncalibrated = raft.convert(BertForMaskedLM(BertConfig(**TINY)))
    assert str(uncalibrated.conversion_report).splitlines()[-1].startswith("not calibrated: ")


def test_devices_are_mapped_and_pipelines_built(tmp_path: Path) -> None:
    model = scrambled(BertForSequenceClassification(bert_config(raf={})))
    model.save_pretrained(tmp_path)
    mapped = AutoModelForSequenceClassification.from_pretrained(tmp_path, device_map={"": "cpu"})
    assert torch.equal(logits(mapped), logits(model))
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "house"])
    )
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    actual = transformers.pipeline("text-classification", model=str(tmp_path))("a house")
    assert raft.hf.rationals(transformers.pipeline("text-classification", model=str(tmp_path)).model)
    assert 0 < actual[0]["score"] < 1


@pytest.mark.parametrize("cast", ["half", "bfloat16", "to"])
def test_casting_keeps_coefficients_float32(cast: str) -> None:
    model: Any = raft.convert(BertForMaskedLM(BertConfig(**TINY)), {"shared": "all"})
    model = model.to(torch.bfloat16) if cast == "to" else getattr(model, cast)()
    assert model.bert.embeddings.word_embeddings.weight.dtype != torch.float32
    for act in raft.hf.rationals(model).values():
        assert act.numerator.dtype == act.denominator.dtype == torch.float32
    made = AutoModelForMaskedLM.from_config(bert_config(raf={}), dtype=torch.bfloat16)
    assert {p.dtype for act in raft.hf.rationals(made).values() for p in act.parameters()} == {torch.float32}
    assert made.bert.embeddings.word_embeddings.weight.dtype == torch.bfloat16


def test_a_trainer_resumes_a_raft_where_it_stopped(tmp_path: Path) -> None:
    examples = [{"input_ids": IDS[i % 2], "labels": IDS[i % 2]} for i in range(8)]

    def trained(model: PreTrainedModel, steps: int, resume: bool) -> PreTrainedModel:
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=steps, per_device_train_batch_size=2, save_steps=2, seed=1,
            lr_scheduler_type="constant", report_to=[], disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        optimizer = torch.optim.AdamW(raft.param_groups(model, lr=1e-3))
        transformers.Trainer(
            model=model, args=arguments, train_dataset=examples,
            optimizers=(optimizer, None),
        ).train(resume_from_checkpoint=resume)  # fmt: skip
        return model

    def fresh() -> PreTrainedModel:
        torch.manual_seed(0)
        return raft.convert(
            BertForMaskedLM(bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)),
            calibration=[IDS],
        )

    whole = trained(fresh(), 4, resume=False)
    resumed = trained(fresh(), 4, resume=True)  # from step 4's checkpoint: nothing is left to do
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))
    shutil.rmtree(tmp_path / "checkpoint-4")
    half = trained(fresh(), 4, resume=True)
    for (name, p), q in zip(whole.named_parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=name)
    start = raft.hf.rationals(fresh())
    for name, act in raft.hf.rationals(half).items():
        assert not torch.equal(act.numerator, start[name].numerator)
