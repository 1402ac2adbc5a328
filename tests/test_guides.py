"""The code on the pages runs as it stands, offline: hub names lead to tiny models of the same class."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, BertTokenizer

import raft

pytest.importorskip("peft")

ROOT = Path(__file__).parents[1]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "house", "of", "cards", "falls", "slowly"]
TINY: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
IDS = torch.tensor([[2, 5, 6, 7, 8, 3], [2, 5, 6, 9, 10, 3]])

Namespace = dict[str, Any]


def sst2(*_: str, split: str) -> datasets.Dataset:
    """64 examples with the columns of GLUE's SST-2."""
    assert split == "train"
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(5, len(WORDS), (64, 5), generator=generator).tolist()
    rows = [{"sentence": " ".join(WORDS[i] for i in row), "label": row[0] % 2} for row in drawn]
    return datasets.Dataset.from_list([{**row, "idx": number} for number, row in enumerate(rows)])


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder in which the names of the pages are there, and base sizes are tiny ones."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(**TINY)).save_pretrained("bert-base-uncased")
    Path("vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer("vocab.txt").save_pretrained("bert-base-uncased")
    theirs = transformers.BertForSequenceClassification(BertConfig(**{**TINY, "raf": {"sites": ["ffn"]}}))
    Path("their-model").mkdir()
    save_file(
        {**theirs.state_dict(), "bert.embeddings.position_ids": torch.arange(40)},
        "their-model/model.safetensors",
    )
    monkeypatch.setattr(datasets, "load_dataset", sst2)
    # importing peft can put another module object there than the one imported above
    monkeypatch.setattr(sys.modules["transformers"], "BertConfig", TinyConfig)


class TinyConfig:
    """Makes BERT's with small sizes where none are given; a subclass would leave its sizes out when saved."""

    from_pretrained = BertConfig.from_pretrained

    def __new__(cls, **values: Any) -> Any:
        """A plain ``BertConfig``."""
        return BertConfig(**{**TINY, **values})


def blocks(page: Path) -> list[tuple[str, str]]:
    """Heading and code of each Python block; the code stands at its own lines, for tracebacks."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        heading = re.findall(r"^## (.*)$", text[: match.start()], re.MULTILINE)[-1]
        found.append((heading, "\n" * text[: match.start(1)].count("\n") + match[1]))
    return found


def scores(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(input_ids=IDS).logits
    return found


def assert_trained(model: nn.Module) -> None:
    acts = raft.hf.rationals(model)
    moved = [act for act in acts.values() if not torch.equal(act.numerator, act.start_coefficients()[0])]
    assert len(moved) == 3  # two layers and the pooler


def check_trainer(found: Namespace) -> None:
    assert_trained(found["model"])
    rates = {group["name"]: group["initial_lr"] for group in found["trainer"].optimizer.param_groups}
    assert rates == {"decay": 2e-5, "no_decay": 2e-5, "raf": 5e-3}
    again = AutoModelForSequenceClassification.from_pretrained("sst2-raft")
    assert torch.equal(scores(again), scores(found["model"]))
    assert all(site.inputs > 0 for site in found["model"].conversion_report)


def check_peft(found: Namespace) -> None:
    assert_trained(found["model"])
    saved = load_file("sst2-lora/adapter_model.safetensors")
    assert sum(name.endswith("numerator") for name in saved) == 3
    torch.testing.assert_close(scores(found["again"]), scores(found["model"]), rtol=0, atol=1e-6)


def check_loop(found: Namespace) -> None:
    assert_trained(found["model"])
    again = AutoModelForSequenceClassification.from_pretrained("sst2-loop")
    assert torch.equal(scores(again), scores(found["model"]))


def check_options(found: Namespace) -> None:
    assert raft.hf.rationals(found["model"]) == {}
    plain = BertForMaskedLM.from_pretrained("bert-base-uncased")
    assert torch.equal(scores(found["model"]), scores(plain))


def check_loaded(found: Namespace) -> None:
    assert_trained(found["model"])
    assert "raf" in json.loads(Path("sst2-raft/config.json").read_text())


def check_half(found: Namespace) -> None:
    assert_trained(found["model"])
    assert found["model"].classifier.weight.dtype == torch.bfloat16
    assert {act.numerator.dtype for act in raft.hf.rationals(found["model"]).values()} == {torch.float32}


def check_foreign(found: Namespace) -> None:
    assert list(found["found"].left_out) == ["bert.embeddings.position_ids"]
    theirs = load_file("their-model/model.safetensors")
    state = found["model"].state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in state.items())
    name = "bert.encoder.layer.0.intermediate.intermediate_act_fn.numerator"
    assert torch.equal(found["act"].numerator, theirs[name])


def check_readme(found: Namespace) -> None:
    assert found["y"].shape == (8, 3072)
    assert len(found["optimizer"].param_groups) == 3
    assert len(raft.hf.rationals(found["model"])) == 3


PAGES: dict[str, dict[str, Callable[[Namespace], None]]] = {
    "docs/converting.md": {
        "With transformers.Trainer": check_trainer,
        "With PEFT LoRA": check_peft,
        "With a plain PyTorch loop": check_loop,
        "Options": check_options,
        "Save, load, share": check_loaded,
        "Half precision": check_half,
        "Others' checkpoints": check_foreign,
    },
    "README.md": {"Use it": check_readme},
}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("page", PAGES)
def test_every_block_does_what_the_page_says(page: str) -> None:
    found = blocks(ROOT / page)
    assert [heading for heading, _ in found] == list(PAGES[page])
    names: Namespace = {}
    for heading, code in found:
        exec(compile(code, str(ROOT / page), "exec"), names)
        PAGES[page][heading](names)
