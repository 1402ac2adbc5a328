"""A batch in parts gives the gradient of the whole; the best epoch is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    TrainerControl,
    TrainerState,
)

from raft.data.tasks.task import Example, Score, Task
from raft.data.text.tokens import train_tokenizer
from raft.finetuning.data import sentence_data
from raft.finetuning.run import resolve_activation
from raft.finetuning.train import (
    EvalSplit,
    FinetuningTrainer,
    KeepBest,
    conversion_config,
    finetune,
    fit_tokens,
    load,
    predict_logits,
    split_batch,
)
from raft.hf import rationals
from raft.networks.config import RafConfig
from raft.training.arguments import RaftTrainingArguments

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
    for part, share in split_batch(whole, tokens):
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
    monkeypatch.setattr("raft.finetuning.train.TOKENS_PER_PART", 24)
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
    monkeypatch.setattr("raft.finetuning.train.TOKENS_PER_PART", 1)
    loss = trainer(model, tmp_path).compute_loss(model, inputs)
    torch.testing.assert_close(loss, torch.stack(alone).mean())
    assert float(model(**inputs).loss) > float(loss) + 0.1


def padded(items: list[dict[str, Any]]) -> dict[str, Tensor]:
    longest = max(len(item["input_ids"]) for item in items)
    ids = torch.tensor([item["input_ids"] + [0] * (longest - len(item["input_ids"])) for item in items])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def test_logits_stand_in_the_order_of_their_inputs_and_end_where_these_do() -> None:
    torch.manual_seed(0)
    inputs = [{"input_ids": torch.randint(1, 100, (length,)).tolist()} for length in LENGTHS]
    judged = EvalSplit(inputs, len(inputs), np.array(LENGTHS), None)
    for model in (BertForQuestionAnswering(config()), BertForSequenceClassification(config(num_labels=3))):
        model.train()
        actual = predict_logits(model, judged, padded, batch_size=3)
        assert model.training
        model.eval()
        for row, length in enumerate(LENGTHS):
            with torch.no_grad():
                alone = model(**padded(inputs[row : row + 1]))
            expected = [value[0].numpy() for name, value in alone.items() if name.endswith("logits")]
            assert len(actual) == len(expected)
            for kind, logits in zip(actual, expected, strict=True):
                np.testing.assert_allclose(kind[row, : len(logits)], logits, rtol=1e-4, atol=1e-5)
                if len(actual) == 2:  # one a token
                    assert len(logits) == length
        if len(actual) == 2:  # tokens of no batch that the input was in
            shortest = LENGTHS.index(min(LENGTHS))
            assert (actual[0][shortest, sorted(LENGTHS)[2] :] == -np.inf).all()


def test_a_checkpoint_in_half_precision_is_trained_in_single(tmp_path: Path) -> None:
    task = Task("t", "accuracy", [Example("anna sees", "a friend", 1)], [Example("anna", "sees", 0)])
    words = train_tokenizer(["anna sees a friend in the garden"] * 50, 100, max_length=20)
    actual = set()
    for name, dtype in (("single", torch.float32), ("half", torch.float16)):
        torch.manual_seed(0)
        halved: Any = BertModel(config())
        halved.to(dtype).save_pretrained(tmp_path / name)
        model, _ = load(tmp_path / name, sentence_data(task, task.train, None, words), 1)
        actual.add(frozenset(parameter.dtype for parameter in model.parameters()))
    assert actual == {frozenset([torch.float32])}


class Prepared(Exception):  # noqa: N818
    """Ends a fine-tuning where its training would begin."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(["anna sees a friend in the garden"] * 50, 100, max_length=20)


@pytest.fixture
def prepare(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """What ``finetune`` makes of a small BERT before the first step."""

    def stop(self: FinetuningTrainer) -> None:
        raise Prepared(self.model)

    def run(with_pooler: bool = True, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
        torch.manual_seed(0)
        model: Any = BertModel(config(initializer_range=2.0), add_pooling_layer=with_pooler)
        model.save_pretrained(tmp_path / f"{with_pooler}")
        task = Task("t", "accuracy", [Example("anna sees", "a friend", 1)], [Example("anna", "sees", 0)])
        data = sentence_data(task, task.train, None, tokenizer)
        quiet = {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True, "seed": 3}
        chosen = RaftTrainingArguments(**{**quiet, **(arguments or {})})
        with pytest.raises(Prepared) as stopped:
            finetune(tmp_path / f"{with_pooler}", tokenizer, data, chosen, **options)
        return stopped.value.args[0]

    monkeypatch.setattr(FinetuningTrainer, "train", stop)
    return run


def test_an_adapter_begins_alike_whatever_was_drawn_before(prepare: Callable[..., Any]) -> None:
    pytest.importorskip("peft")
    # a pooler that the checkpoint lacks is drawn before the adapter
    drawn = [
        {name: p for name, p in prepare(with_pooler, tuning="lora").named_parameters() if "lora_A" in name}
        for with_pooler in (True, False)
    ]
    assert len(drawn[1]) == 2 * 6
    for name, parameter in drawn[1].items():
        assert torch.equal(parameter, drawn[0][name]), name


@pytest.mark.parametrize(("pads_with", "of_config"), [("</s>", 0), ("<pad>", 5)])
def test_decoders_are_read_out_before_the_padding(pads_with: str, of_config: int) -> None:
    vocabulary = {"<unk>": 0, "</s>": 1, "<pad>": 2, "a": 3, "b": 4, "c": 5}
    words = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token=pads_with)
    for config in (LlamaConfig(vocab_size=6, pad_token_id=of_config), GPT2Config(vocab_size=6)):
        fit_tokens(config, tokenizer, "a decoder")
        assert config.pad_token_id == tokenizer.pad_token_id
    # whose positions depend on a token of its own
    encoder = RobertaConfig(vocab_size=6, pad_token_id=of_config)
    fit_tokens(encoder, tokenizer, "an encoder")
    assert encoder.pad_token_id == (1 if pads_with == "</s>" else of_config)


def test_each_epoch_has_one_score(prepare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    plain = FinetuningTrainer.__init__

    def watch(self: FinetuningTrainer, *args: Any, **kwargs: Any) -> None:
        seen.append(kwargs["args"])
        plain(self, *args, **kwargs)

    monkeypatch.setattr(FinetuningTrainer, "__init__", watch)
    prepare(arguments={"eval_on_start": True, "eval_delay": 2})
    assert (seen[0].eval_on_start, seen[0].eval_delay) == (False, 0)


def test_what_a_model_is_converted_to() -> None:
    raf = RafConfig(degrees=(3, 2), version="B")
    assert conversion_config("raf", raf) == raf
    assert conversion_config("raf-residual", raf) == replace(raf, residual=True)
    # a grid gives the same form to all, and it is of the rational ones alone
    assert conversion_config("swish", raf) == RafConfig(function="swish")
    assert conversion_config("polynorm", raf) == RafConfig(function="polynorm", init="default")
    assert resolve_activation("swish", "no model is read") == "swish"


def test_a_model_that_is_converted_trains_coefficients_in_units(prepare: Callable[..., Any]) -> None:
    acts = rationals(prepare(activation="raf"))
    scales = [act.numerator_scale for act in acts.values() if act.numerator_scale is not None]
    assert len(scales) == len(acts) == 3
    assert min(each.min().item() for each in scales) < 0.01


@pytest.mark.parametrize(
    ("points", "patience", "best", "stops_after"),
    [
        ([10.0, 30.0, 30.0, 20.0], None, 2, None),
        ([30.0, 30.0, 30.0], None, 1, None),
        ([10.0, 30.0, 20.0, 40.0], None, 4, None),
        ([-5.0], None, 1, None),
        ([10.0, 30.0, 30.0, 30.0], 2, 2, 4),
        ([30.0, 20.0, 31.0, 20.0], 2, 3, None),
    ],
)
def test_the_first_of_the_best_epochs_is_kept(
    points: list[float], patience: int | None, best: int, stops_after: int | None
) -> None:
    model = torch.nn.Linear(1, 2)
    model.bias.requires_grad_(False)
    kept, stopped = KeepBest(patience), None
    for epoch, value in enumerate(points, start=1):
        with torch.no_grad():
            model.weight.fill_(epoch)
            model.bias.fill_(epoch)
        control, state = TrainerControl(), TrainerState(global_step=10 * epoch)
        score = Score(value, {}, constant=False)
        kept.on_evaluate(None, state, control, metrics={"score": score}, model=model)
        if control.should_training_stop:
            stopped = epoch
    assert stopped == stops_after
    assert (kept.epoch, kept.step, kept.history) == (best, 10 * best, points)
    assert kept.score is not None
    assert kept.score.points == max(points)
    kept.restore(model)
    assert model.weight.unique().tolist() == [best]
    assert model.bias.unique().tolist() == [len(points)]  # is not trained


def trainer(model: Any, folder: Path) -> FinetuningTrainer:
    return FinetuningTrainer(
        model=model, args=RaftTrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True)
    )
