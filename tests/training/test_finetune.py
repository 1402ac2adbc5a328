"""A batch in parts gives the gradient of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
)

from raft.data.tasks import Example, Task
from raft.data.tokens import train_tokenizer
from raft.training.arguments import RaftTrainingArguments
from raft.training.finetune import FinetuningTrainer, load, parts_of
from raft.training.finetuning_data import sentence_data

LENGTHS = [3, 17, 9, 20, 5, 5, 12]


def batch(side: str = "right") -> dict[str, Tensor]:
    """Seven inputs of their own lengths, padded to the longest; every token tells whose it is."""
    mask = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.int64)
    for row, length in enumerate(LENGTHS):
        mask[row, slice(0, length) if side == "right" else slice(-length, None)] = 1
    owner = torch.arange(1, len(LENGTHS) + 1)
    return {"input_ids": mask * owner[:, None], "attention_mask": mask, "labels": owner % 2}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("tokens", [1, 24, 1000])
def test_parts_hold_every_input_once_and_little_padding(side: str, tokens: int) -> None:
    whole = batch(side)
    seen: list[int] = []
    shares = []
    for part, share in parts_of(whole, tokens):
        rows, longest = part["input_ids"].shape
        lengths = part["attention_mask"].sum(dim=1)
        assert longest == lengths.max()
        assert rows * longest <= tokens or rows == 1
        owners = part["input_ids"].amax(dim=1)
        assert torch.equal(part["labels"], owners % 2)
        assert [LENGTHS[owner - 1] for owner in owners.tolist()] == lengths.tolist()
        seen += owners.tolist()
        shares.append(share)
    assert sorted(seen) == list(range(1, len(LENGTHS) + 1))
    assert sum(shares) == pytest.approx(1)


def config(**values: Any) -> BertConfig:
    return BertConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **values,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["classes", "scores"])
def test_the_gradient_is_the_whole_batchs(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    inputs = batch()
    if kind == "scores":
        inputs["labels"] = torch.rand(len(LENGTHS))
    head = {"num_labels": 1, "problem_type": "regression"} if kind == "scores" else {"num_labels": 2}
    model = BertForSequenceClassification(config(**head))
    model(**inputs).loss.backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    sizes = []
    model.register_forward_pre_hook(
        lambda module, args, given: sizes.append(given["input_ids"].numel()), with_kwargs=True
    )
    monkeypatch.setattr("raft.training.finetune.TOKENS_A_PART", 24)
    model.zero_grad()
    trainer(model, tmp_path).compute_loss(model, inputs).backward()
    assert len(sizes) > 3
    assert sum(sizes) < inputs["input_ids"].numel()
    for gradient, parameter in zip(expected, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_an_answer_is_not_looked_for_in_the_padding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    inputs = batch()
    del inputs["labels"]
    inputs["start_positions"] = torch.tensor([0, 1, 8, 19, 0, 2, 3])
    inputs["end_positions"] = torch.tensor([2, 16, 8, 19, 0, 4, 11])
    model = BertForQuestionAnswering(config())
    alone = []
    for row, length in enumerate(LENGTHS):
        one = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        alone.append(model(**{k: t[:, :length] if t.dim() == 2 else t for k, t in one.items()}).loss)
    monkeypatch.setattr("raft.training.finetune.TOKENS_A_PART", 1)
    loss = trainer(model, tmp_path).compute_loss(model, inputs)
    torch.testing.assert_close(loss, torch.stack(alone).mean())
    assert float(model(**inputs).loss) > float(loss) + 0.1


def test_a_checkpoint_in_half_precision_is_trained_in_single(tmp_path: Path) -> None:
    task = Task("t", "accuracy", [Example("anna sees", "a friend", 1)], [Example("anna", "sees", 0)])
    words = train_tokenizer(["anna sees a friend in the garden"] * 50, 100, max_length=20)
    found = set()
    for name, dtype in (("single", torch.float32), ("half", torch.float16)):
        torch.manual_seed(0)
        halved: Any = BertModel(config())
        halved.to(dtype).save_pretrained(tmp_path / name)
        model, _ = load(tmp_path / name, sentence_data(task, task.train, None, words), 1)
        found.add(frozenset(parameter.dtype for parameter in model.parameters()))
    assert found == {frozenset([torch.float32])}


def trainer(model: Any, folder: Path) -> FinetuningTrainer:
    return FinetuningTrainer(
        model=model, args=RaftTrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True)
    )
