"""A RAF comes back as the function that was saved, whichever way it is loaded; or an error says why not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BertConfig, BertForSequenceClassification, BertModel

import raft
from raft.hf import read_checkpoint
from raft.networks.config import RafConfig
from tests.hf.architectures import TINY, scrambled, texts


def saved(folder: Path, block: dict[str, Any] | None = None) -> BertModel:
    """A converted model whose RAFs have learned something, and its folder."""
    torch.manual_seed(0)
    model: BertModel = raft.convert(scrambled(BertModel(BertConfig(**TINY))), block).eval()
    with torch.no_grad():
        for act in raft.hf.rationals(model).values():
            act.numerator.add_(0.1 * torch.randn_like(act.numerator))
    model.save_pretrained(folder)
    return model


def bert_config(raf: dict[str, Any] | None) -> BertConfig:
    values: dict[str, Any] = {**TINY, "raf": raf}
    return BertConfig(**values)


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


FORMS = [
    pytest.param({"residual": True}, {}, "=True, and raf=… asks for residual=False", id="residual-as-plain"),
    pytest.param({}, {"residual": True}, "=False, and raf=… asks for residual=True", id="plain-as-residual"),
    pytest.param({"version": "B"}, {}, "version='B', and raf=… asks for version='A'", id="version"),
    pytest.param({}, {"degrees": [3, 2]}, r"\(5, 4\), and raf=… asks for degrees=\(3, 2\)", id="degrees"),
    pytest.param({}, {"layers": "0"}, "layers='all', and raf=… asks for layers='0'", id="layers"),
    pytest.param({}, None, "raf=None reads it without", id="none"),
]  # fmt: skip


@pytest.mark.parametrize(("block", "asked", "message"), FORMS)
def test_arguments_of_loading_make_no_other_function(
    tmp_path: Path, block: dict[str, Any], asked: dict[str, Any] | None, message: str
) -> None:
    saved(tmp_path, block)
    for kind in (AutoModel, BertModel):
        with pytest.raises(ValueError, match=message):
            kind.from_pretrained(tmp_path, raf=asked)
        with pytest.raises(ValueError, match=message):
            kind.from_pretrained(tmp_path, config=bert_config(asked))
    config = AutoConfig.from_pretrained(tmp_path, raf=asked)  # a new model may have other RAFs
    assert (RafConfig.of(config) is None) == (asked is None)


@pytest.mark.parametrize("block", [{}, {"residual": True}, {"version": "B", "groups": 2}])
def test_the_saved_block_may_be_repeated_and_frozen(tmp_path: Path, block: dict[str, Any]) -> None:
    expected = saved(tmp_path, block)(**texts()).last_hidden_state
    asked = {**block, "trainable": False}
    for given in ({"raf": asked}, {"config": bert_config(asked)}):
        model = AutoModel.from_pretrained(tmp_path, **given)
        assert torch.equal(model(**texts()).last_hidden_state, expected)
        assert not any(p.requires_grad for act in raft.hf.rationals(model).values() for p in act.parameters())


@pytest.mark.parametrize("missing", ["numerator", "denominator"])
def test_a_checkpoint_that_lacks_a_coefficient_is_refused(tmp_path: Path, missing: str) -> None:
    saved(tmp_path)
    name = f"encoder.layer.1.intermediate.intermediate_act_fn.{missing}"
    change_weights(tmp_path, lambda tensors: tensors.pop(name))
    with pytest.raises(ValueError, match=f" has no {name}, though it has the weights around it"):
        AutoModel.from_pretrained(tmp_path)


def test_coefficients_of_another_shape_are_named_with_both(tmp_path: Path) -> None:
    saved(tmp_path)
    name = "encoder.layer.0.intermediate.intermediate_act_fn.numerator"
    change_weights(tmp_path, lambda tensors: tensors.update({name: torch.ones(4)}))
    message = rf"{name} has the shape \[4\] in .*, and \[6\] in the model that its configuration builds"
    with pytest.raises(ValueError, match=message):
        AutoModel.from_pretrained(tmp_path)
    actual, info = AutoModel.from_pretrained(tmp_path, ignore_mismatched_sizes=True, output_loading_info=True)
    assert [each[0] for each in info["mismatched_keys"]] == [name]
    act = raft.hf.rationals(actual)[name.removesuffix(".numerator")]
    assert torch.equal(act.numerator, act.start_coefficients()[0])


def test_another_version_in_the_weights_than_in_the_configuration_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    name = "encoder.layer.0.intermediate.intermediate_act_fn.raf_form"
    change_weights(tmp_path, lambda tensors: tensors.update({name: raft.Rational(version="B").raf_form}))
    with pytest.raises(ValueError, match="was saved with version B, and cannot be loaded with version A"):
        AutoModel.from_pretrained(tmp_path)


def test_complex_coefficients_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    name = "encoder.layer.0.intermediate.intermediate_act_fn.numerator"
    change_weights(tmp_path, lambda tensors: tensors.update({name: tensors[name].to(torch.complex64)}))
    with pytest.raises(ValueError, match=f"holds {name} as C64; coefficients are real numbers"):
        AutoModel.from_pretrained(tmp_path)
    act = raft.Rational()
    with pytest.raises(
        RuntimeError, match=r"numerator is torch\.complex64, and coefficients are real numbers"
    ):
        act.load_state_dict({name: value.to(torch.complex64) for name, value in act.state_dict().items()
                             if name != "raf_form"})  # fmt: skip


def test_checkpoints_of_older_versions_are_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = saved(tmp_path, {})
    model = copy.deepcopy(expected)
    for act in raft.hf.rationals(model).values():  # as they were: no units, no form
        a, b = act.coefficients()
        act.numerator_scale = act.denominator_scale = None
        act.numerator.data, act.denominator.data = a.detach(), b.detach()
    model.config.raf["scaled"] = False
    model.save_pretrained(tmp_path)
    change_weights(
        tmp_path, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.endswith("raf_form")]
    )
    again, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == info["unexpected_keys"] == set()
    assert torch.equal(again(**texts()).last_hidden_state, expected(**texts()).last_hidden_state)
    assert caplog.text == ""
    for act in raft.hf.rationals(again).values():
        act.check_form(act.raf_form, "", has_scales=False)


@pytest.mark.parametrize("other", [{"version": "B"}, {"residual": True}])
def test_an_adapter_with_rafs_of_another_form_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(**TINY)).save_pretrained(tmp_path / "base")

    def base(block: dict[str, Any]) -> Any:
        actual = BertForSequenceClassification.from_pretrained(tmp_path / "base")
        return raft.convert(actual, block, calibration=[texts()] if not block else None)

    model = base({})
    config = LoraConfig(target_modules=["query"], modules_to_save=raft.peft_modules(model))
    adapted = get_peft_model(model, config).eval()
    adapted.save_pretrained(str(tmp_path / "adapter"))
    plain = raft.convert(BertForSequenceClassification.from_pretrained(tmp_path / "base"))
    again = PeftModel.from_pretrained(plain, tmp_path / "adapter")
    # its units came from other inputs, and come with the adapter
    assert torch.equal(again.eval()(**texts()).logits, adapted(**texts()).logits)
    with pytest.raises(RuntimeError, match="was saved with version A, and cannot be loaded with"):
        PeftModel.from_pretrained(base(other), tmp_path / "adapter")


def test_checkpoints_of_others_that_tell_their_version_are_read_in_no_other(tmp_path: Path) -> None:
    saved(tmp_path, {"version": "B"})
    with pytest.raises(ValueError, match="was saved with version B"):
        read_checkpoint(tmp_path, layout="rational_activations", version="A")
    actual = read_checkpoint(tmp_path, layout="rational_activations", version="B")
    assert actual.config["raf"]["version"] == "B"


DEEPER = {**TINY, "num_hidden_layers": 4}


@pytest.mark.parametrize(
    "block",
    [{}, {"layers": "0-1"}, {"layers": "0,2"}, {"shared": "all"}, {"shared": {"a": "0-1", "b": "2-3"}}],
    ids=str,
)
@pytest.mark.parametrize("kept", [slice(None, None, 2), slice(1, None), slice(3)], ids=str)
def test_a_model_whose_layers_were_cut_comes_back_as_it_is(
    tmp_path: Path, block: dict[str, Any], kept: slice
) -> None:
    torch.manual_seed(1)
    model = raft.convert(scrambled(BertModel(BertConfig(**DEEPER))), block).eval()
    for number, act in enumerate(raft.hf.rationals(model).values()):
        act.numerator.data[0] += 0.1 * number
    model.encoder.layer = model.encoder.layer[kept]
    expected = model(**texts()).last_hidden_state
    with pytest.raises(
        ValueError, match="cannot be saved: its layers were changed, and its configuration builds"
    ):
        model.save_pretrained(tmp_path / "refused")
    model.config.num_hidden_layers = len(model.encoder.layer)
    model.save_pretrained(tmp_path / "cut")
    again, info = AutoModel.from_pretrained(tmp_path / "cut", output_loading_info=True)
    assert info["missing_keys"] == info["unexpected_keys"] == set()
    assert torch.equal(again(**texts()).last_hidden_state, expected)
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in model.parameters())


def jogged(model: Any) -> Any:
    """A model whose RAFs differ from what a new model's begin as, and from each other."""
    with torch.no_grad():
        for number, act in enumerate(raft.hf.rationals(model).values(), start=1):
            act.numerator[..., 0] += 0.1 * number
    return model.eval()


def assert_comes_back(model: Any, folder: Path) -> None:
    expected = model.eval()(**texts()).last_hidden_state
    model.save_pretrained(folder)
    again, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert info["missing_keys"] == info["unexpected_keys"] == set()
    assert torch.equal(again(**texts()).last_hidden_state, expected)


def converted(block: dict[str, Any] | None = None, layers: int = 4) -> Any:
    torch.manual_seed(2)
    return jogged(
        raft.convert(scrambled(BertModel(BertConfig(**{**TINY, "num_hidden_layers": layers}))), block)
    )


def test_scales_that_came_by_a_state_are_saved_with_the_block(tmp_path: Path) -> None:
    source = converted(layers=2)
    model = BertModel(bert_config({}))
    model.load_state_dict(source.state_dict())
    assert_comes_back(model, tmp_path)


def test_scales_of_one_layer_become_scales_of_all(tmp_path: Path) -> None:
    model: Any = jogged(BertModel(bert_config({})))
    next(iter(raft.hf.rationals(model).values())).scale_to(torch.linspace(-20, 20, 99))
    assert_comes_back(model, tmp_path)


@pytest.mark.parametrize("lacking", ["numerator_scale", "denominator_scale"])
def test_a_state_that_lacks_a_scale_is_refused(tmp_path: Path, lacking: str) -> None:
    saved(tmp_path)
    name = f"encoder.layer.1.intermediate.intermediate_act_fn.{lacking}"
    change_weights(tmp_path, lambda tensors: tensors.pop(name))
    with pytest.raises(ValueError, match="act_fn was saved with scales, and they are missing here"):
        AutoModel.from_pretrained(tmp_path)
    act = raft.Rational()
    act.scale_to(torch.linspace(-20, 20, 99))
    state = {key: value for key, value in act.state_dict().items() if key != lacking}
    with pytest.raises(RuntimeError, match="was saved with scales, and they are missing here"):
        raft.Rational().load_state_dict(state)


@pytest.mark.parametrize("scale", [0.0, float("nan"), -1.0])
def test_scales_that_cannot_be_are_refused(tmp_path: Path, scale: float) -> None:
    saved(tmp_path)
    name = "encoder.layer.1.intermediate.intermediate_act_fn.numerator_scale"
    change_weights(tmp_path, lambda tensors: tensors.update({name: torch.full((6,), scale)}))
    with pytest.raises(ValueError, match="that are not above zero"):
        AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("form", [torch.tensor(2.0**40), torch.tensor([65, 0]), torch.tensor([-1, 0, 0])])
def test_what_tells_no_form_is_refused(form: torch.Tensor) -> None:
    state = {**raft.Rational().state_dict(), "raf_form": form}
    with pytest.raises(RuntimeError, match="raf_form tells no form of a RAF"):
        raft.Rational().load_state_dict(state)


def test_rafs_that_are_no_longer_shared_are_saved_so(tmp_path: Path) -> None:
    model = converted({"shared": "all"})
    layer = model.encoder.layer[2].intermediate
    layer.intermediate_act_fn = copy.deepcopy(layer.intermediate_act_fn.shared)
    with torch.no_grad():
        layer.intermediate_act_fn.numerator[1] += 0.5
    assert_comes_back(model, tmp_path)


@pytest.mark.parametrize("order", [[0, 3, 2, 1], [3, 2, 1, 0], [1, 0, 3, 2]], ids=str)
@pytest.mark.parametrize("shared", ["all", {"a": "0-1", "b": "2-3"}], ids=str)
def test_layers_that_share_rafs_may_change_places(tmp_path: Path, shared: Any, order: list[int]) -> None:
    model = converted({"shared": shared})
    count = sum(p.numel() for p in model.parameters())
    model.encoder.layer = torch.nn.ModuleList([model.encoder.layer[i] for i in order])
    assert_comes_back(model, tmp_path)
    assert sum(p.numel() for p in model.parameters()) == count


def test_a_plain_configuration_reads_no_rafs_away(tmp_path: Path) -> None:
    saved(tmp_path / "raft")
    BertModel(BertConfig(**TINY)).save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="has no such RAF: load it with its own configuration"):
        BertModel.from_pretrained(tmp_path / "raft", config=str(tmp_path / "plain"))
    state = load_file(tmp_path / "raft" / "model.safetensors")
    for config in (BertConfig(**TINY), bert_config({})):
        with pytest.raises(ValueError, match=r"has no such RAF|the raf block has no scaled=true"):
            BertModel.from_pretrained(None, config=config, state_dict=state)


def test_a_residual_raf_beside_another_function_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, {"residual": True})
    config = bert_config({"residual": True})
    config.hidden_act = "relu"
    with pytest.raises(ValueError, match="cannot be loaded with version A, residual"):
        BertModel.from_pretrained(tmp_path, config=config)


def test_a_model_with_an_adapter_of_its_own_saves_the_adapter(tmp_path: Path) -> None:
    model = converted(layers=2)
    config = LoraConfig(target_modules=["query"], modules_to_save=raft.peft_modules(model))
    model.add_adapter(config)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()


def test_a_raf_made_in_inference_mode_can_be_cast() -> None:
    with torch.inference_mode():
        act = raft.Rational()
    assert act.half().numerator.dtype == torch.float32
