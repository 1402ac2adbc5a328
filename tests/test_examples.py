"""The scripts of ``examples/`` do what their first lines say, on tiny models and data."""

from __future__ import annotations

import ast
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

import raft
from raft.data.text.tokens import train_tokenizer

EXAMPLES = Path(__file__).parents[1] / "examples"
TEXTS = [f"the {kind} film number {i % 7} was {kind} to see" for i in range(96) for kind in ("good", "bad")]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run an example in an empty folder; what it prints."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)

    def run(name: str, *arguments: str) -> str:
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](arguments)
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, 100, max_length=32)


def tiny_config(tokenizer: PreTrainedTokenizerBase, **values: Any) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=32, initializer_range=0.2, **values,
    )  # fmt: skip


def write_rows(file: str, rows: list[dict[str, Any]]) -> None:
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))


def trained_rafs(model: torch.nn.Module, untrained: torch.nn.Module) -> list[bool]:
    """Of each RAF, whether its coefficients differ from those that it began with."""
    pairs = zip(*(raft.hf.rationals(each).values() for each in (model, untrained)), strict=True)
    return [not torch.equal(act.coefficients()[0], start.coefficients()[0]) for act, start in pairs]


def test_activation(run: Callable[..., str]) -> None:
    heading, *rows = run("activation", "--steps", "150", "--seeds", "2").splitlines()
    assert heading.split() == ["seed", "GELU", "RAF"]
    for row in rows:
        _, gelu, raf = map(float, row.split())
        assert gelu != raf
        assert 0.01 < raf < 0.6  # the noise's variance, and that of the targets, about 0.65
        assert 0.01 < gelu < 0.6


def test_convert_and_finetune(run: Callable[..., str], tokenizer: PreTrainedTokenizerBase) -> None:
    BertModel(tiny_config(tokenizer)).save_pretrained("tiny")
    tokenizer.save_pretrained("tiny")
    rows = [{"text": text, "label": int("good" in text)} for text in TEXTS]
    write_rows("data/train.jsonl", rows[:160])
    write_rows("data/test.jsonl", rows[160:])
    options = ("--epochs", "4", "--lr", "3e-3", "--out", "tuned")
    printed = run("convert_and_finetune", "--model", "tiny", "--data", "data", *options)
    before, after = (
        float(loss) for loss in re.findall(r"(?:before|after ) .*'eval_loss': '?([\d.e-]+)", printed)
    )
    assert after < 0.5 * before

    model = AutoModelForSequenceClassification.from_pretrained("tuned").eval()
    untrained = AutoModelForSequenceClassification.from_pretrained("tiny")
    raft.convert(untrained, calibration=TEXTS[:64], tokenizer=tokenizer)
    assert trained_rafs(model, untrained) == [True, True, True]
    batch = AutoTokenizer.from_pretrained("tuned")(
        [row["text"] for row in rows[160:]], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        loss = model(**batch, labels=torch.tensor([row["label"] for row in rows[160:]])).loss.item()
    assert loss == pytest.approx(after, rel=1e-3)


def test_decoder(run: Callable[..., str]) -> None:
    Path("text.txt").write_text("\n".join(TEXTS))
    printed = run("decoder", "text.txt", "--steps", "50", "--prompt", "the good", "--out", "decoder")
    first, last = (float(loss) for loss in re.findall(r"step \d+: ([\d.]+)", printed))
    assert last < 0.6 * first
    assert "the good" in printed

    model = LlamaForCausalLM.from_pretrained("decoder")
    assert trained_rafs(model, LlamaForCausalLM(model.config)) == [True, True]
    ids = torch.tensor([list("\n".join(TEXTS[:8]).encode())])
    with torch.no_grad():
        assert model(input_ids=ids, labels=ids).loss.item() < 1.1 * last


def test_the_decoders_baseline_has_no_rafs(run: Callable[..., str]) -> None:
    Path("text.txt").write_text("\n".join(TEXTS))
    run("decoder", "text.txt", "--steps", "1", "--plain", "--out", "decoder")
    assert not raft.hf.rationals(LlamaForCausalLM.from_pretrained("decoder"))


def test_sentence_embeddings(run: Callable[..., str], tokenizer: PreTrainedTokenizerBase) -> None:
    library = pytest.importorskip("sentence_transformers")
    BertModel(tiny_config(tokenizer)).save_pretrained("tiny")
    tokenizer.save_pretrained("tiny")
    library.SentenceTransformer("tiny").save_pretrained("embedder")
    pairs = zip(TEXTS[::2], TEXTS[1::2], strict=True)
    write_rows("pairs/train.jsonl", [{"question": first, "answer": second} for first, second in pairs])
    printed = run(
        "sentence_embeddings", "--model", "embedder", "--data", "pairs", "--steps", "10", "--out", "tuned"
    )
    converted, trained = (
        float(cosine) for cosine in re.findall(r"(?:to the original|after training): ([\d.]+)", printed)
    )
    assert converted > 0.999
    assert trained < converted

    model, original = library.SentenceTransformer("tuned"), library.SentenceTransformer("embedder")
    cosines = model.similarity_pairwise(original.encode(TEXTS[:128]), model.encode(TEXTS[:128]))
    assert cosines.mean().item() == pytest.approx(trained, abs=1e-4)
    raft.convert(original.transformers_model, calibration=TEXTS[:128], tokenizer=tokenizer)
    assert trained_rafs(model, original) == [True, True, False]  # mean pooling leaves the pooler out


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_look_at_rafs(kind: str, run: Callable[..., str], tokenizer: PreTrainedTokenizerBase) -> None:
    model = BertForMaskedLM(tiny_config(tokenizer, raf={}))
    changed, _ = raft.hf.rationals(model).values()
    with torch.no_grad():
        changed.numerator.add_(1.0)
    model.save_pretrained("model")
    tokenizer.save_pretrained("model")
    Path("texts.txt").write_text("\n".join(TEXTS))
    heading, *rows, end = run("look_at_rafs", "model", "texts.txt", "--out", f"rafs.{kind}").splitlines()
    assert end == f"2 RAFs drawn in rafs.{kind}"
    place = heading.split().index("l2_to_start")
    moved, kept = (float(row.split()[place]) for row in rows)
    assert moved > 0.5
    assert kept < 0.01
    if kind == "png":
        with Image.open("rafs.png") as image:
            assert image.width > image.height
            pixels = {colour: count for count, colour in image.convert("RGB").getcolors(1 << 24) or []}
        for colour in ((213, 94, 0), (0, 114, 178), (226, 226, 226)):  # RAF, beginning, density of inputs
            assert pixels[colour] > 100
    else:
        assert Path("rafs.svg").read_text().count("<path") > 10


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_first_lines_say_how_to_run_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "sentence_transformers" in file.read_text(encoding="utf-8"):
        pytest.importorskip("sentence_transformers")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    with pytest.raises(SystemExit):
        runpy.run_path(str(file))["main"](["--help"])
    known = set(re.findall(r"--\w+", capsys.readouterr().out))
    assert f"python examples/{file.name}" in docstring
    assert set(re.findall(r"--\w+", docstring)) <= known
    assert f"({file.name})" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
