"""Another function than the one that was saved, silently."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig

import raft
from raft.modules import ResidualRational
from tests.cases.replay import SIZES, case, change_json, command, finetune, take

A, B = "was saved with RAFs of", "and raf=… asks for"


def load(name: str, given: dict[str, Any] | None = None, **options: Any) -> str:
    """What loading comes to: the distance to the saved model's hidden states.

    Args:
        name: of a model.
        given: the raf block of a configuration that is given, if any.
        options: of ``from_pretrained``.
    """
    folder = take(name)
    if given is not None:
        options["config"] = BertConfig.from_pretrained(folder, raf=given)
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder)(ids).last_hidden_state
        actual = AutoModel.from_pretrained(folder, **options)(ids).last_hidden_state
    return f"loaded, off by {float((actual - expected).abs().max()):g}"


for source, block, message in (
    ("residual", {}, rf"{A} residual=True, {B} residual=False"),
    ("raft", {"residual": True}, rf"{A} residual=False, {B} residual=True"),
    ("version-b", {}, rf"{A} version='B', {B} version='A'"),
    ("raft", {"version": "A"}, "loaded, off by 0$"),
):
    case("A", f"{source} read with raf={block}", message)(partial(load, source, raf=block))
    case("A", f"{source} read with config=BertConfig(raf={block})", message)(
        partial(load, source, given=block)
    )


@case(
    "A", "state of a version A into a version B", "saved with version A, and cannot be loaded with version B"
)
def _() -> str:
    return str(raft.Rational(version="B").load_state_dict(raft.Rational().state_dict()))


@case(
    "A",
    "state of a plain RAF into a residual one",
    "version A, and cannot be loaded with version A, residual",
)
def _() -> str:
    act = ResidualRational(torch.nn.GELU(), raft.named_fit("gelu"))
    return str(act.load_state_dict(raft.Rational().state_dict()))


def changed(**tensors: torch.Tensor | None) -> str:
    """Load a RAFT of whose second layer tensors were changed or left out."""
    folder = Path(take("raft"))
    actual = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        key = f"encoder.layer.1.intermediate.intermediate_act_fn.{name}"
        actual.pop(key)
        if tensor is not None:
            actual[key] = tensor
    save_file(actual, folder / "model.safetensors", metadata={"format": "pt"})
    return load(str(folder))


case("A", "a checkpoint without one numerator", r"has no encoder\.layer\.1\.\S+\.numerator, though")(
    lambda: changed(numerator=None)
)
case("A", "coefficients of another degree", r"numerator has the shape \[4\] in raft, and \[6\] in the model")(
    lambda: changed(numerator=torch.ones(4))
)
case("A", "complex coefficients", "numerator as C64; coefficients are real numbers")(
    lambda: changed(numerator=torch.ones(6, dtype=torch.complex64))
)


@case("A", '"layers": [0.5] in a raf block', r"ValueError: .*layers must be .*0\.5")
def _() -> str:
    change_json(f"{take('raft')}/config.json", raf={"layers": [0.5]})
    return load("raft")


@case("A", "converted by raft convert, then tuned", r"^status 0;.*max step 0\.\d+ of the function")
def _() -> str:
    done = command("convert", take("base"), "dst")
    options = ("--save_model", "true", "--raf_learning_rate", "5e-3")
    done = done if "status 0" not in done else finetune(*options, model="dst")
    before, after = (raft.hf.rationals(AutoModel.from_pretrained(each)) for each in ("dst", "out"))
    x = torch.linspace(-10, 10, 201)
    steps = max(float((after[name](x) - before[name](x)).square().mean().sqrt().detach()) for name in before)
    # 2 steps of 5e-3 in ten units that each move the function by about one; plain coefficients move it by 100
    return f"{done[:9]}; RAFs: max step {steps:.2g} of the function" if steps < 0.2 else f"ruined: {steps}"


@case("A", "layers cut out after a conversion, sizes told", "loaded, off by 0$")
def _() -> str:
    return _cut(1)


@case("A", "layers cut out after a conversion", "cannot be saved: its layers were changed")
def _() -> str:
    return _cut(None)


def _cut(layers: int | None) -> str:
    torch.manual_seed(0)
    model: Any = AutoModel.from_pretrained(take("base"))
    raft.convert(model, {"layers": "1"})
    with torch.no_grad():
        model.encoder.layer[1].intermediate.intermediate_act_fn.numerator.add_(0.3)
    model.encoder.layer = model.encoder.layer[1::2]
    model.config.num_hidden_layers = layers or SIZES["num_hidden_layers"]
    model.save_pretrained("cut")
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        again = AutoModel.from_pretrained("cut")(ids).last_hidden_state
        return f"loaded, off by {float((again - model.eval()(ids).last_hidden_state).abs().max()):g}"
