"""Checkpoints of others, made by hand in their layouts, against their formulas written out here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

import raft
from raft.hf.foreign.load import convert_checkpoint, rational_from_state, read_checkpoint
from raft.models import RaftBertConfig, RaftBertForMaskedLM

State = dict[str, Tensor]

VOCABULARY, HIDDEN, HEADS, INNER, POSITIONS = 30, 8, 2, 16, 12
NUMERATOR = [0.1, -0.4, 0.7, 0.2, -0.3, 0.05]
DENOMINATOR = [-0.6, 0.3, 0.5, -0.2]
IDS = torch.arange(20).reshape(2, 10)


def their_rational(x: Tensor, numerator: Tensor, denominator: Tensor, version: str) -> Tensor:
    """What rational_activations computes, in float64: one power of x after the other."""
    x, a, b = (tensor.detach().double() for tensor in (x, numerator, denominator))
    p = sum((a[k] * x**k for k in range(len(a))), torch.zeros_like(x))
    if version == "A":
        q = 1 + sum(((b[k] * x ** (k + 1)).abs() for k in range(len(b))), torch.zeros_like(x))
    elif version == "C":
        q = 0.1 + sum((b[k] * x**k for k in range(len(b))), torch.zeros_like(x)).abs()
    else:
        total = sum((b[k] * x ** (k + 1) for k in range(len(b))), torch.zeros_like(x))
        q = 1 + (total if version == "N" else total.abs())
    return p / q


def random(*shape: int) -> Tensor:
    return 0.3 * torch.randn(*shape)


def linear(name: str, outputs: int, inputs: int) -> State:
    return {f"{name}.weight": random(outputs, inputs), f"{name}.bias": random(outputs)}


def norm(name: str) -> State:
    return {f"{name}.weight": 1 + random(HIDDEN), f"{name}.bias": random(HIDDEN)}


def their_raf(name: str, scale: float = 1.0) -> State:
    return {
        f"{name}.numerator": scale * torch.tensor(NUMERATOR),
        f"{name}.denominator": scale * torch.tensor(DENOMINATOR),
    }


def official_state(
    layers: int = 2, embedding_norm: bool = False, is_raft: bool = True, head: str = "cls"
) -> State:
    """A model of the paper's code, with every tensor that it saves."""
    torch.manual_seed(0)
    words = random(VOCABULARY, HIDDEN)
    state = {
        "bert.embeddings.word_embeddings.weight": words,
        "bert.embeddings.position_embeddings.weight": random(POSITIONS, HIDDEN),
        "bert.embeddings.token_type_embeddings.weight": random(2, HIDDEN),
    }
    if embedding_norm:
        state |= norm("bert.embeddings.LayerNorm")
    state |= norm("bert.encoder.FinalLayerNorm")
    for layer in range(layers):
        path = f"bert.encoder.layer.{layer}."
        for name in ("query", "key", "value"):
            state |= linear(f"{path}attention.self.{name}", HIDDEN, HIDDEN)
        state |= linear(f"{path}attention.output.dense", HIDDEN, HIDDEN)
        state |= norm(f"{path}PreAttentionLayerNorm") | norm(f"{path}PostAttentionLayerNorm")
        state |= linear(f"{path}intermediate.dense_act", INNER, HIDDEN)
        if is_raft:
            state |= their_raf(f"{path}intermediate.dense_act.rf", 1 + layer / 10)
        state |= linear(f"{path}output.dense", HIDDEN, INNER)
    state |= linear("bert.pooler.dense_act", HIDDEN, HIDDEN)
    if is_raft:
        state |= their_raf("bert.pooler.dense_act.rf", 0.5)
    if head == "cls":
        state["cls.predictions.bias"] = random(VOCABULARY)
        state |= linear("cls.predictions.transform.dense_act", HIDDEN, HIDDEN)
        state |= norm("cls.predictions.transform.LayerNorm")
        state["cls.predictions.decoder.weight"] = words
    else:
        state |= linear(head, 3, HIDDEN)
    return state


def official_hidden(state: State, alpha: float, is_raft: bool) -> Tensor:
    """The official encoder in float64, post-LN, without its dropout."""
    s = {name: value.double() for name, value in state.items()}

    def apply(x: Tensor, name: str) -> Tensor:
        return F.linear(x, s[f"{name}.weight"], s[f"{name}.bias"])

    def normalise(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (HIDDEN,), s[f"{name}.weight"], s[f"{name}.bias"], eps=1e-12)

    def heads(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(1, 2)

    path = "bert.embeddings."
    x = s[f"{path}word_embeddings.weight"][IDS] + s[f"{path}position_embeddings.weight"][: IDS.shape[1]]
    x = x + s[f"{path}token_type_embeddings.weight"][0]
    if f"{path}LayerNorm.weight" in s:
        x = normalise(x, f"{path}LayerNorm")
    for layer in range(len([name for name in s if name.endswith("self.query.weight")])):
        path = f"bert.encoder.layer.{layer}."
        q, k, v = (heads(apply(x, f"{path}attention.self.{name}")) for name in ("query", "key", "value"))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(HIDDEN // HEADS)).softmax(-1)
        attended = apply((weights @ v).transpose(1, 2).reshape(x.shape), f"{path}attention.output.dense")
        x = normalise(alpha * x + attended, f"{path}PreAttentionLayerNorm")
        inner = apply(x, f"{path}intermediate.dense_act")
        rf = f"{path}intermediate.dense_act.rf."
        inner = (
            their_rational(inner, s[f"{rf}numerator"], s[f"{rf}denominator"], "A")
            if is_raft
            else F.gelu(inner)
        )
        x = normalise(alpha * x + apply(inner, f"{path}output.dense"), f"{path}PostAttentionLayerNorm")
    return x


def official_logits(state: State, alpha: float, is_raft: bool) -> Tensor:
    x = official_hidden(state, alpha, is_raft)
    name = "cls.predictions.transform."
    x = F.gelu(
        F.linear(x, state[f"{name}dense_act.weight"].double(), state[f"{name}dense_act.bias"].double())
    )
    scale, shift = (state[f"{name}LayerNorm.{kind}"].double() for kind in ("weight", "bias"))
    return F.linear(
        F.layer_norm(x, (HIDDEN,), scale, shift, eps=1e-12),
        state["bert.embeddings.word_embeddings.weight"].double(),
    )


OFFICIAL_CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_attention_heads": HEADS,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "encoder_ln_mode": "post-ln",
    "useLN": True,
    "use_deepnet": False,
    "rational_layers": ["0", "1", "pooler"],
    "approx_func": "gelu",
}


def bert_of(values: dict[str, Any]) -> Any:
    """A BERT that ignores what a plain one does not know."""
    plain = {key: value for key, value in values.items() if key not in ("deepnorm", "embedding_layer_norm")}
    return BertForMaskedLM(BertConfig(**plain)).eval()


def without_pooler(state: State) -> State:
    return {name: value for name, value in state.items() if "pooler" not in name}


@pytest.mark.parametrize("version", ["A", "B", "C", "D", "N"])
def test_each_version_is_their_formula(version: str) -> None:
    torch.manual_seed(1)
    x = torch.cat([4 * torch.randn(200), torch.tensor([0.0, -1.0, 30.0])]).double()
    # version N without poles; their version C writes a constant before b_1
    written = {"N": [0.1, 0.5, 0.05, 0.3], "C": [0.0, *DENOMINATOR]}.get(version, DENOMINATOR)
    theirs = {"numerator": torch.tensor(NUMERATOR), "denominator": torch.tensor(written)}
    act = rational_from_state(theirs, version=version).eval()
    assert act.degrees == (5, 4)
    expected = their_rational(x, theirs["numerator"], theirs["denominator"], version)
    torch.testing.assert_close(act(x).detach(), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(act.start_coefficients()[0], theirs["numerator"])


def test_a_module_is_found_in_a_model_and_owns_its_numbers() -> None:
    state = official_state()
    before = state["bert.pooler.dense_act.rf.numerator"].clone()
    for prefix in ("bert.pooler.dense_act.rf", "bert.pooler.dense_act.rf."):
        act = rational_from_state(state, prefix)
        assert torch.equal(act.numerator, before)
    with torch.no_grad():
        act.numerator.zero_()
    assert torch.equal(state["bert.pooler.dense_act.rf.numerator"], before)


def test_half_precision_coefficients_become_float32() -> None:
    theirs = {name: value.half() for name, value in their_raf("act").items()}
    act = rational_from_state(theirs, "act")
    assert act.denominator.dtype == torch.float32
    assert torch.equal(act.denominator, theirs["act.denominator"].float())


def test_names_of_the_first_releases_are_read_as_version_a_only() -> None:
    old = {"weight_numerator": torch.tensor(NUMERATOR), "weight_denominator": torch.tensor(DENOMINATOR)}
    assert torch.equal(rational_from_state(old).numerator, old["weight_numerator"])
    with pytest.raises(ValueError, match="first releases of rational_activations, whose version B"):
        rational_from_state(old, version="B")


@pytest.mark.parametrize(
    ("changes", "version", "message"),
    [
        ({}, "a", "version must be one of A, B, C, D, N, not 'a'"),
        ({"denominator": None}, "A", "must hold numerator and denominator alone, not numerator"),
        ({"vertical_scale": torch.ones(1)}, "A", "alone, not denominator, numerator, vertical_scale"),
        ({"numerator": torch.ones(1, 6)}, "A", r"numerator must be a vector .* of shape \[1, 6\]"),
        (
            {"numerator": torch.ones(6).long()},
            "A",
            "must be a vector of finite floating numbers, not torch.int64",
        ),
        ({"denominator": torch.tensor([math.nan])}, "A", "denominator must be a vector of finite"),
        ({"numerator": torch.ones(14)}, "A", "have 14 and 4 numbers; degrees must be from 0 to 12"),
        ({"numerator": torch.ones(0)}, "A", "have 0 and 4 numbers"),
        ({"numerator": [1.0, 2.0]}, "A", "numerator is a list, not a tensor"),
        (
            {"denominator": torch.tensor([0.5, 1.0])},
            "C",
            r"has the constant 0.5: version C .* \|b_0 \+ b_1 x",
        ),
        ({"denominator": torch.ones(0)}, "C", "has no constant"),
    ],
)
def test_what_is_not_one_of_their_modules_is_refused(
    changes: dict[str, Any], version: str, message: str
) -> None:
    state: dict[str, Any] = {**their_raf("act"), **{f"act.{key}": value for key, value in changes.items()}}
    with pytest.raises(ValueError, match=message):
        rational_from_state({name: v for name, v in state.items() if v is not None}, "act", version)


@pytest.mark.parametrize("is_raft", [True, False])
def test_an_official_model_with_normalised_embeddings_is_a_bert(is_raft: bool) -> None:
    state = official_state(embedding_norm=True, is_raft=is_raft)
    actual = convert_checkpoint(state, config=OFFICIAL_CONFIG)
    assert actual.config["embedding_layer_norm"]
    assert not actual.config["deepnorm"]
    model = bert_of(actual.config)
    assert bool(raft.hf.rationals(model)) == is_raft
    model.load_state_dict(without_pooler(actual.state), strict=True)
    with torch.no_grad():
        logits = model(input_ids=IDS).logits
    torch.testing.assert_close(logits.double(), official_logits(state, 1.0, is_raft), rtol=1e-4, atol=1e-4)


def test_the_published_kind_of_model_is_a_raft_bert() -> None:
    state = official_state(layers=12)
    actual = convert_checkpoint(state, config={**OFFICIAL_CONFIG, "use_deepnet": True})
    model = RaftBertForMaskedLM(RaftBertConfig(**actual.config)).eval()
    model.load_state_dict(without_pooler(actual.state), strict=True)
    with torch.no_grad():
        logits = model(input_ids=IDS).logits
    torch.testing.assert_close(logits.double(), official_logits(state, 24**0.25, True), rtol=1e-3, atol=1e-3)


def test_the_published_kind_of_model_differs_from_bert_by_deepnorm_and_embeddings_alone() -> None:
    state = official_state(layers=12)
    actual = convert_checkpoint(state, config={**OFFICIAL_CONFIG, "use_deepnet": True})
    assert actual.config["deepnorm"]
    assert not actual.config["embedding_layer_norm"]
    model = bert_of(actual.config)
    missing = model.load_state_dict(without_pooler(actual.state), strict=False)
    assert missing.unexpected_keys == []
    assert missing.missing_keys == ["bert.embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.bias"]
    # LayerNorm(αx + f) = LayerNorm(x + f/α): DeepNorm by the weights
    alpha = 24**0.25
    model.bert.embeddings.LayerNorm = nn.Identity()
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            for dense in (layer.attention.output.dense, layer.output.dense):
                dense.weight.div_(alpha)
                dense.bias.div_(alpha)
        logits = model(input_ids=IDS).logits
    torch.testing.assert_close(logits.double(), official_logits(state, alpha, True), rtol=1e-3, atol=1e-3)


def test_the_configuration_is_what_the_tensors_and_the_official_code_say() -> None:
    actual = convert_checkpoint(official_state(), config=OFFICIAL_CONFIG)
    assert actual.config == {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "deepnorm": False,
        "embedding_layer_norm": False,
        "raf": raft.RafConfig(sites=("ffn", "pooler"), degrees=(5, 4), version="A", init="gelu").to_dict(),
    }
    assert "deepnorm" not in convert_checkpoint(official_state()).config
    assert convert_checkpoint(official_state(is_raft=False)).config["raf"] is None


def test_what_is_left_out_is_listed_with_the_reason() -> None:
    state = official_state()
    actual = convert_checkpoint(
        {f"module.{n}": v for n, v in state.items()} | {"step": IDS}, prefix="module."
    )
    assert actual.left_out == {
        "step": "outside of the prefix 'module.'",
        "module.bert.encoder.FinalLayerNorm.weight": "not applied by a post-LN encoder",
        "module.bert.encoder.FinalLayerNorm.bias": "not applied by a post-LN encoder",
        "module.cls.predictions.bias": "the official head never adds its bias; BERT's is set to zero instead",
    }
    assert not actual.state["cls.predictions.bias"].any()
    # each other tensor is there once, the decoder's bias is BERT's own
    assert len(actual.state) == len(state) - 3 + 2


def test_an_official_classifier_loads_through_from_pretrained() -> None:
    state = official_state(embedding_norm=True, head="classifier")
    actual = convert_checkpoint(state, config=OFFICIAL_CONFIG)
    assert actual.config["num_labels"] == 3
    config = BertConfig(**actual.config)
    model: Any = BertForSequenceClassification.from_pretrained(None, config=config, state_dict=actual.state)
    assert {name for name in model.state_dict() if not name.endswith("raf_form")} == set(actual.state)
    assert torch.equal(model.bert.pooler.activation.numerator, state["bert.pooler.dense_act.rf.numerator"])
    with torch.no_grad():
        scores = model.eval()(input_ids=IDS).logits
        first = official_hidden(state, 1.0, True)[:, 0]
        inner = F.linear(
            first,
            state["bert.pooler.dense_act.weight"].double(),
            state["bert.pooler.dense_act.bias"].double(),
        )
        rf = "bert.pooler.dense_act.rf."
        pooled = their_rational(inner, state[f"{rf}numerator"], state[f"{rf}denominator"], "A")
        expected = F.linear(pooled, state["classifier.weight"].double(), state["classifier.bias"].double())
    torch.testing.assert_close(scores.double(), expected, rtol=1e-4, atol=1e-4)


def test_a_bare_encoder_and_unfused_layers_are_read() -> None:
    state = official_state(is_raft=False)
    bare = {
        name.removeprefix("bert.").replace("dense_act.", "dense_act.dense."): value
        for name, value in state.items()
        if name.startswith("bert.")
    }
    actual = convert_checkpoint(bare)
    weight = actual.state["encoder.layer.1.intermediate.dense.weight"]
    assert torch.equal(weight, state["bert.encoder.layer.1.intermediate.dense_act.weight"])
    assert actual.config["intermediate_size"] == INNER


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        (
            {"bert.encoder.layer.0.adapter.weight": IDS},
            {},
            r"official layout has no bert.encoder.layer.0.adapter",
        ),
        ({f"extra.{i}": IDS for i in range(8)}, {}, "has no extra.0, .* extra.5 and 2 more"),
        ({"bert.pooler.dense_act.rf.denominator": None}, {}, "bert.pooler.activation. has no denominator"),
        (
            {
                f"bert.encoder.layer.0.intermediate.dense_act.rf.{n}": None
                for n in ("numerator", "denominator")
            },
            {},
            "RAFs sit in the feed-forward layers 1 of 2",
        ),
        (
            {"bert.pooler.dense_act.rf.numerator": torch.ones(4)},
            {},
            r"all RAFs of a model have the same degrees, not \(3, 4\), \(5, 4\)",
        ),
        ({"bert.pooler.dense_act.dense.weight": IDS}, {}, "two entries stand for bert.pooler.dense.weight"),
        ({"cls.predictions.decoder.weight": torch.ones(VOCABULARY, HIDDEN)}, {}, "to which it is tied"),
        (
            {"bert.embeddings.word_embeddings.weight": None},
            {},
            "head for masked tokens but no word embeddings",
        ),
        ({}, {"encoder_ln_mode": "pre-ln"}, "encoder_ln_mode 'post-ln' can be converted, not 'pre-ln'"),
        ({}, {"useLN": False}, "useLN True can be converted, not False"),
        ({}, {"use_deepnet": True}, "α of 12 layers, so a model of 2 layers cannot be converted"),
    ],
)
def test_what_the_official_layout_does_not_have_is_refused(
    changes: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    state = {name: value for name, value in (official_state() | changes).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(state, config={**OFFICIAL_CONFIG, **config})


def test_a_gap_between_layers_is_refused() -> None:
    state = {name: v for name, v in official_state(layers=3).items() if ".layer.1." not in name}
    with pytest.raises(ValueError, match="encoder layers must be 0, 1, 2, …, not 0, 2"):
        convert_checkpoint(state)


def test_a_bert_with_modules_of_rational_activations_keeps_its_names() -> None:
    torch.manual_seed(2)
    values: dict[str, Any] = {"raf": {}, "vocab_size": VOCABULARY, "hidden_size": HIDDEN}
    config: Any = BertConfig(**values, num_hidden_layers=2, num_attention_heads=HEADS)
    source = BertForSequenceClassification(config).state_dict()
    source = {name: value for name, value in source.items() if not name.endswith("raf_form")}  # is not theirs
    theirs = {name: value.half() if "numerator" in name else value for name, value in source.items()}
    theirs["bert.embeddings.position_ids"] = torch.arange(512)[None]
    actual = convert_checkpoint(theirs, "rational_activations", "B")
    assert set(actual.state) == set(source)
    assert actual.left_out == {"bert.embeddings.position_ids": "a buffer that the model makes itself"}
    expected = raft.RafConfig(sites=("ffn", "pooler"), degrees=(5, 4), version="B", init="auto")
    assert actual.config == {"raf": expected.to_dict()}
    config.raf = actual.config["raf"]
    model: Any = BertForSequenceClassification(config)
    model.load_state_dict(actual.state, strict=True)
    assert model.bert.pooler.activation.numerator.dtype == torch.float32


def test_any_model_with_modules_of_rational_activations_is_read() -> None:
    theirs = {**linear("net.0", 4, 4), **their_raf("net.1")}
    theirs["net.1.denominator"] = torch.tensor([0.0, *DENOMINATOR])
    actual = convert_checkpoint(
        {f"outer.{n}": v for n, v in theirs.items()}, "rational_activations", "C", "outer."
    )
    assert actual.config == {}
    model = nn.Sequential(nn.Linear(4, 4), raft.Rational(version="C"))
    model.load_state_dict({n.removeprefix("net."): v for n, v in actual.state.items()}, strict=True)
    x = torch.randn(3, 4)
    inner = F.linear(x, theirs["net.0.weight"], theirs["net.0.bias"])
    expected = their_rational(inner, theirs["net.1.numerator"], theirs["net.1.denominator"], "C")
    torch.testing.assert_close(model(x).detach().double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("state", "arguments", "message"),
    [
        ({}, {}, "the state dict is empty"),
        (their_raf("act"), {"layout": "keras"}, "layout must be one of official, rational_activations"),
        (their_raf("act"), {"version": "B"}, "official layout are of version A, not 'B'"),
        (their_raf("act"), {"prefix": "module."}, "no entry begins with 'module.'"),
        (linear("a", 2, 2), {"layout": "rational_activations"}, "holds no numerator and denominator"),
        (
            {"model": their_raf("act")},
            {},
            "model is a dict, not a tensor; is the state dict one level deeper",
        ),
    ],
)
def test_bad_arguments_are_refused(state: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(state, **arguments)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_folder_and_its_file_read_alike(name: str, tmp_path: Path) -> None:
    state = official_state()
    if name.endswith(".bin"):
        torch.save(state, tmp_path / name)
    else:  # this format refuses tied tensors, so one of them is not written
        del state["cls.predictions.decoder.weight"]
        save_file(state, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps(OFFICIAL_CONFIG))
    expected = convert_checkpoint(official_state(), config=OFFICIAL_CONFIG)
    for path in (tmp_path, tmp_path / name):
        actual = read_checkpoint(path)
        assert actual.config == expected.config
        assert actual.left_out == expected.left_out
        assert set(actual.state) == set(expected.state)
        assert all(torch.equal(value, expected.state[key]) for key, value in actual.state.items())


class Payload:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"act": Payload(tmp_path / "run")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin cannot be read as weights"):
        read_checkpoint(tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither a file of weights nor a folder with model.safetensors or pytorch_model.bin"),
        ({"pytorch_model.bin": b"no weights"}, "pytorch_model.bin cannot be read as weights"),
        ({"pytorch_model.bin": b""}, "pytorch_model.bin cannot be read as weights"),
        ({"model.safetensors": b"no weights"}, "model.safetensors cannot be read as weights"),
        ({"model.safetensors": b"", "config.json": b"{"}, "config.json is not JSON"),
        ({"model.safetensors": b"", "config.json": b"[]"}, "config.json must hold an object, not a list"),
    ],
)
def test_unreadable_files_are_refused(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_with_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="holds a list, not a state dict"):
        read_checkpoint(tmp_path / "weights.pt")
