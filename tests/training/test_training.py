"""Groups, schedules, the masked loss, divergence, and what both models are shown."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch._dynamo.utils import counters
from transformers import BertConfig, BertForMaskedLM, TrainerCallback, default_data_collator

import raft
from raft.data.tasks.sampling import sample_split
from raft.data.tasks.task import Example, Task
from raft.data.text.masking import MaskedSequences
from raft.data.text.sequences import IGNORED
from raft.data.text.tokens import train_tokenizer
from raft.errors import InputError, TrainingError
from raft.finetuning.data import sentence_data
from raft.finetuning.train import finetune
from raft.pretraining.train import build_model, pretrain, save
from raft.training.arguments import RaftTrainingArguments
from raft.training.losses import find_head, masked_lm_loss, validation_losses
from raft.training.optimizer import param_groups, schedule
from raft.training.stopping import Clock
from raft.training.trainer import RaftTrainer, without_autocast
from tests.data.text.packing import pack

TEXTS = [f"the {i % 5} quick foxes jump over {i % 3} lazy dogs in street number {i % 7}." for i in range(400)]
TOKENIZER = train_tokenizer(TEXTS, 120, max_length=16)
SEQUENCES = pack(TEXTS, TOKENIZER, 16)

BLOCKS: list[dict[str, Any] | None] = [None, {}]


def config(raf: dict[str, Any] | None, **values: Any) -> BertConfig:
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return BertConfig(
        **{"vocab_size": len(TOKENIZER), "max_position_embeddings": 16, **size, "raf": raf, **values}
    )


def arguments(folder: Path, **values: Any) -> RaftTrainingArguments:
    quiet = {"report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
    start = {"max_steps": 30, "per_device_train_batch_size": 8, "learning_rate": 3e-3, "seed": 5}
    return RaftTrainingArguments(
        **{"output_dir": str(folder), "remove_unused_columns": False, **quiet, **start, **values}
    )


def test_every_parameter_is_in_one_group() -> None:
    model = BertForMaskedLM(config({}))
    groups = {group["name"]: group for group in param_groups(model, 1e-3, 2e-3, 0.01, 0.2)}
    grouped = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(grouped) == sorted({id(p) for p in model.parameters()})
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rsplit(".", 1)[1] for p in groups["raf"]["params"]} == {"numerator", "denominator"}
    assert all(
        names[id(p)].endswith("bias") or "LayerNorm" in names[id(p)] for p in groups["no_decay"]["params"]
    )
    assert [(g["lr"], g["weight_decay"]) for g in groups.values()] == [(1e-3, 0.01), (1e-3, 0.0), (2e-3, 0.2)]


def test_a_faft_and_frozen_rafs_have_no_raf_group() -> None:
    model = BertForMaskedLM(config({}))
    for act in raft.hf.rationals(model).values():
        act.requires_grad_(False)
    for each in (model, BertForMaskedLM(config(None))):
        assert [group["name"] for group in param_groups(each, 1e-3)] == ["decay", "no_decay"]


def test_schedules_warm_up_then_decay_or_stay() -> None:
    optimizer = torch.optim.SGD(param_groups(BertForMaskedLM(config({})), 1.0, 1.0))
    scheduler = schedule(optimizer, 4, 14)
    rates = []
    for _ in range(14):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    decayed, _, constant = (list(column) for column in zip(*rates, strict=True))
    assert decayed[:4] == constant[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert decayed[4:] == pytest.approx([1 - i / 10 for i in range(10)])
    assert constant[4:] == [1.0] * 10


def rates(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[list[float]]:
    """Of each step, the learning rate of each group."""
    actual = []
    for _ in range(steps):
        actual.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return actual


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
    ],
)
def test_each_group_has_its_own_schedule(kind: str, expected: list[float]) -> None:
    weight, raf = (torch.zeros(1, requires_grad=True) for _ in range(2))
    groups: list[dict[str, Any]] = [
        {"name": "decay", "params": [weight]},
        {"name": "raf", "params": [raf], "lr": 10.0},
    ]
    for kinds, which, peak in (((kind, "linear"), 0, 1.0), (("linear", kind), 1, 10.0)):
        optimizer = torch.optim.SGD(groups, lr=1.0)
        actual = rates(optimizer, schedule(optimizer, 1, 5, *kinds), 5)
        column = [row[which] for row in actual]
        assert column[0] == pytest.approx(peak / 2)  # warm-up
        assert column[1:] == pytest.approx([peak * value for value in expected])


def test_rates_follow_the_time_that_is_spent() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    spent = iter([0.0, 0.05, 0.1, 0.55, 0.55, 1.0, 1.2])
    now = [next(spent)]

    def advance(scheduler: Any) -> float:
        now[0] = next(spent)
        scheduler.step()
        return float(optimizer.param_groups[0]["lr"])

    scheduler = schedule(optimizer, 0.1, 10**9, "linear", spent=lambda: now[0])
    assert optimizer.param_groups[0]["lr"] == 0.0
    optimizer.step()
    assert [advance(scheduler) for _ in range(6)] == pytest.approx([0.5, 1.0, 0.5, 0.5, 0.0, 0.0])

    now[0] = 0.5
    steps = schedule(torch.optim.SGD([torch.zeros(1)], lr=1.0), 3, 10**9, "cosine", spent=lambda: now[0])
    assert steps.get_last_lr() == pytest.approx([0.25 * 0.5])  # the first of 3 + 1 steps, half of the time


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"lr_scheduler_type": "polynomial"},
            "lr_scheduler_type is 'polynomial'; it must be one of constant",
        ),
        ({"raf_lr_scheduler_type": "step"}, "raf_lr_scheduler_type is 'step'; it must be one of"),
        ({"attn_implementation": "flash"}, "attn_implementation is 'flash'; it must be one of sdpa, eager"),
        ({"time_budget_hours": 0.0}, "--time_budget_hours must be above 0, not 0.0"),
        ({"time_budget_hours": float("nan")}, "--time_budget_hours must be finite, not nan"),
    ],
)
def test_arguments_that_cannot_be_are_refused(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        arguments(tmp_path, **values)


def test_fused_adamw_takes_adamws_steps() -> None:
    model = BertForMaskedLM(config({}))
    plain = copy.deepcopy(model)
    optimizers = [
        torch.optim.AdamW(param_groups(model, 1e-3), betas=(0.9, 0.98), eps=1e-6, fused=True),
        torch.optim.AdamW(param_groups(plain, 1e-3), betas=(0.9, 0.98), eps=1e-6, foreach=False),
    ]
    assert optimizers[0].defaults["fused"]
    torch.manual_seed(0)
    for _ in range(5):
        for one, other in zip(model.parameters(), plain.parameters(), strict=True):
            one.grad = other.grad = torch.randn_like(one)
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_mixed_precision_reaches_the_masked_loss(tmp_path: Path) -> None:
    model = build_model(config({}), 5)
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=16)
    args = arguments(tmp_path, max_steps=2, bf16=True, use_cpu=True)
    trainer = RaftTrainer(model=model, args=args, train_dataset=data)
    actual = set()
    dense = model.get_submodule("bert.encoder.layer.0.output.dense")
    dense.register_forward_hook(lambda module, inputs, output: actual.add(output.dtype))
    trainer.train()
    assert actual == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_validation_at_the_end_is_done_once(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=4 * 8)
    args = arguments(tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2)
    trainer = RaftTrainer(
        model=build_model(config({}), 5),
        args=args,
        train_dataset=data,
        eval_dataset=MaskedSequences(SEQUENCES[:8], TOKENIZER, 0),
    )
    trainer.train()
    assert [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry] == [2, 4]


def test_validation_is_of_the_weights_whatever_the_training_computes_in(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=4 * 8)
    validation = MaskedSequences(SEQUENCES[:8], TOKENIZER, 0)
    args = arguments(tmp_path, max_steps=4, eval_strategy="steps", eval_steps=4, bf16=True)
    logged: list[float] = []

    class Losses(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            logged.append(kwargs["metrics"]["eval_loss"])

    pretrained = pretrain(config({}), data, validation, args, [Losses()])
    again = build_model(config({}), 1)
    again.load_state_dict(pretrained.model.state_dict())
    sums, counts = validation_losses(again, validation, 8)
    assert pretrained.loss == pytest.approx(sums.sum() / counts.sum(), rel=1e-6)
    assert logged == pytest.approx([pretrained.loss], rel=1e-6)
    with torch.no_grad():
        ids = torch.from_numpy(SEQUENCES[:2].astype("int64"))
        torch.testing.assert_close(pretrained.model(ids).logits, again.eval()(ids).logits)


def test_a_validation_leaves_the_autocast_of_other_trainings() -> None:
    model: Any = build_model(config({}), 5)
    model._original_forward = original = model.forward
    model.forward = patched = lambda *args, **kwargs: original(*args, **kwargs)
    with without_autocast(model):
        assert model.forward == original
    assert model.forward is patched


@pytest.mark.parametrize("family", ["Bert", "Roberta", "Electra", "Albert", "XLM"])
def test_masked_loss_is_the_models_own(family: str) -> None:
    extra = {"embedding_size": 32} if family in ("Electra", "Albert") else {}
    made = getattr(transformers, f"{family}Config")(
        **{**config(None).to_dict(), **extra, "max_position_embeddings": 40, "model_type": None} | {"raf": {}}
    )
    model = transformers.AutoModelForMaskedLM.from_config(made).eval()
    data = MaskedSequences(SEQUENCES[:6], TOKENIZER, 1)
    batch = {key: torch.stack([data[i][key] for i in range(6)]) for key in ("input_ids", "labels")}
    head = find_head(model, batch["input_ids"][:1])
    assert (head is None) == (family in ("Electra", "XLM"))  # two modules, and one that returns a tuple
    for given in (head, None):
        torch.testing.assert_close(masked_lm_loss(model, **batch, head=given).mean(), model(**batch).loss)


def test_a_batch_says_where_something_is_predicted() -> None:
    data = MaskedSequences(SEQUENCES[:6], TOKENIZER, 1)
    batch = data.collate([data[i] for i in range(6)])
    rows, columns = np.nonzero(batch["labels"].numpy() != IGNORED)
    assert batch["predicted"].tolist() == (16 * rows + columns).tolist()
    model = build_model(config({}), 5).eval()
    given = masked_lm_loss(model, **batch, head=model.cls)
    assert torch.equal(given, masked_lm_loss(model, batch["input_ids"], batch["labels"], head=model.cls))


@pytest.mark.parametrize("family", ["Bert", "Albert"])
def test_the_masked_loss_asks_no_tensor_for_its_values(family: str) -> None:
    """For which the host would wait for a GPU: tensors on the meta device have none."""
    made = getattr(transformers, f"{family}Config")(**config({}).to_dict() | {"model_type": None})
    with torch.device("meta"):
        model = getattr(transformers, f"{family}ForMaskedLM")(made)
    head = model.cls if family == "Bert" else model.predictions
    data = MaskedSequences(SEQUENCES[:6], TOKENIZER, 1)
    batch = {name: tensor.to("meta") for name, tensor in data.collate([data[i] for i in range(6)]).items()}
    loss = masked_lm_loss(model, **batch, head=head)
    assert loss.shape == batch["predicted"].shape
    loss.sum().backward()
    with pytest.raises(NotImplementedError):
        masked_lm_loss(model, batch["input_ids"], batch["labels"], head=head)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_does_not_wait_for_the_gpu() -> None:
    model = build_model(config({}), 5)
    model.to("cuda")  # type: ignore[arg-type]  # a decorator of transformers hides the method's type
    optimizer = torch.optim.AdamW(param_groups(model, 1e-3), fused=True)
    data = MaskedSequences(SEQUENCES[:6], TOKENIZER, 1)
    batch = {name: tensor.cuda() for name, tensor in data.collate([data[i] for i in range(6)]).items()}

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = masked_lm_loss(model, **batch, head=model.get_submodule("cls")).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # compiles the kernels, and makes the moments
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


class NoWaits(TrainerCallback):
    """From the second step to the fifth nothing may wait for the GPU, the copies of batches least of all."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        torch.cuda.set_sync_debug_mode("error" if 1 <= state.global_step < 5 else "default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_of_a_training_waits_for_the_gpu(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=80)
    args = arguments(tmp_path, max_steps=10, bf16=True)
    try:
        RaftTrainer(model=build_model(config({}), 5), args=args, train_dataset=data,
                    callbacks=[NoWaits()]).train()  # fmt: skip
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_compiled_loss_is_one_graph_for_all_batches(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=4 * 8)
    counts = {
        len(data.collate([data[i] for i in range(8 * step, 8 * step + 8)])["predicted"]) for step in range(4)
    }
    assert len(counts) > 1
    torch._dynamo.reset()
    counters.clear()
    args = arguments(tmp_path, max_steps=4, torch_compile=True, torch_compile_backend="eager", use_cpu=True)
    RaftTrainer(model=build_model(config({}), 5), args=args, train_dataset=data).train()
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 1


def test_validation_losses_are_exact() -> None:
    model = BertForMaskedLM(config({}))
    data = MaskedSequences(SEQUENCES[:21], TOKENIZER, 1)
    sums, counts = validation_losses(model, data, batch_size=8)
    assert model.training
    model.eval()
    for i in range(21):
        labels = data[i]["labels"]
        with torch.no_grad():
            logits = model(input_ids=data[i]["input_ids"][None]).logits[0]
        total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum").item()
        assert counts[i] == (labels != IGNORED).sum()
        assert sums[i] == pytest.approx(total, rel=1e-4, abs=1e-5)


class Recorder(RaftTrainer):
    """Keeps what it is shown."""

    seen: list[dict[str, torch.Tensor]]

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.seen.append({key: value.clone() for key, value in inputs.items()})
        return super().compute_loss(model, inputs, *args, **kwargs)


def test_both_models_see_identical_batches(tmp_path: Path) -> None:
    seen = []
    for raf in BLOCKS:
        data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=30 * 8)
        trainer = Recorder(model=build_model(config(raf), 5), args=arguments(tmp_path), train_dataset=data)
        trainer.seen = []
        trainer.train()
        seen.append(trainer.seen)
    assert len(seen[0]) == len(seen[1]) == 30
    for one, other in zip(*seen, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(seen[0][0]["input_ids"], seen[0][1]["input_ids"])


def test_accumulation_gives_the_large_batchs_gradient(tmp_path: Path) -> None:
    actual = []
    for accumulation in (1, 4):
        model = build_model(config({}, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), 5)
        values = {
            "per_device_train_batch_size": 8 // accumulation,
            "gradient_accumulation_steps": accumulation,
        }
        data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=24)
        args = arguments(
            tmp_path, max_steps=3, max_grad_norm=0.0, adam_epsilon=1.0, learning_rate=1.0, **values
        )
        RaftTrainer(model=model, args=args, train_dataset=data).train()
        actual.append(model.state_dict())
    for key in actual[0]:
        torch.testing.assert_close(actual[0][key], actual[1][key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("raf", BLOCKS)
def test_pretraining_learns_moves_the_rafs_and_repeats(raf: dict[str, Any] | None, tmp_path: Path) -> None:
    runs = []
    for _ in range(2):
        data = MaskedSequences(SEQUENCES[:-20], TOKENIZER, 5, draws=60 * 8)
        held_out = MaskedSequences(SEQUENCES[-20:], TOKENIZER, 0)
        args = arguments(tmp_path, max_steps=60, eval_strategy="steps", eval_steps=20)
        runs.append(pretrain(config(raf), data, held_out, args))
    assert [step for step, _, _ in runs[0].history] == [20, 40, 60]
    assert runs[0].loss < runs[0].history[0][2] < np.log(len(TOKENIZER))
    first, second = ([(step, loss) for step, _, loss in each.history] for each in runs)
    assert first == second
    for act in raft.hf.rationals(runs[0].model).values():
        assert (act.numerator.detach() - act.start_coefficients()[0]).abs().max() > 1e-3


class Ending(TrainerCallback):
    """Ends the training after a step, as a kill does: nothing is saved then."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == 25


def test_a_pretraining_that_resumes_has_the_same_history_and_loss(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES[:-20], TOKENIZER, 5, draws=40 * 8)
    held_out = MaskedSequences(SEQUENCES[-20:], TOKENIZER, 0)
    saving = {"save_strategy": "steps", "save_steps": 20, "eval_strategy": "steps", "eval_steps": 10}
    args = arguments(tmp_path / "parts", max_steps=40, **saving)
    pretrain(config({}), data, held_out, args, [Ending()], resume=True)
    resumed = pretrain(config({}), data, held_out, args, resume=True)
    whole = pretrain(config({}), data, held_out, arguments(tmp_path / "whole", max_steps=40, **saving))
    assert [step for step, _, _ in resumed.history] == [10, 20, 30, 40]
    assert [loss for _, _, loss in resumed.history] == [loss for _, _, loss in whole.history]
    seconds = [seconds for _, seconds, _ in resumed.history]
    assert seconds == sorted(seconds)
    assert seconds[-1] == resumed.seconds
    assert resumed.loss == whole.loss


def test_nothing_to_predict_is_refused(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=240)
    held_out = MaskedSequences(SEQUENCES[:2], TOKENIZER, 0, probability=1e-9)
    with pytest.raises(InputError, match="no token of the 2 validation sequences is masked"):
        pretrain(config({}), data, held_out, arguments(tmp_path))


def test_batches_of_one_process_are_refused(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=240)
    args = arguments(tmp_path, accelerator_config={"dispatch_batches": True})
    with pytest.raises(InputError, match="dispatch_batches"):
        RaftTrainer(model=build_model(config({}), 5), args=args, train_dataset=data)


def test_a_collator_of_ones_own_is_used(tmp_path: Path) -> None:
    losses = []
    for own in (None, default_data_collator):  # which gives no predicted positions
        model = build_model(config({}), 5)
        data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=16)
        args = arguments(tmp_path, max_steps=2, logging_strategy="steps", logging_steps=1)
        trainer = RaftTrainer(model=model, args=args, train_dataset=data, data_collator=own)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        batch = trainer.data_collator([data[0]])
        assert ("predicted" in batch) == (own is None)
    assert losses[0] == losses[1]


def test_several_validation_texts(tmp_path: Path) -> None:
    texts = {"one": MaskedSequences(SEQUENCES[:9], TOKENIZER, 0),
             "other": MaskedSequences(SEQUENCES[9:30], TOKENIZER, 0)}  # fmt: skip
    trainer = RaftTrainer(model=build_model(config({}), 5), args=arguments(tmp_path), eval_dataset=texts,
                          train_dataset=MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=240))  # fmt: skip
    actual = trainer.evaluate()
    for name, text in texts.items():
        assert actual[f"eval_{name}_loss"] == trainer.evaluate(text)["eval_loss"]


class Slow(MaskedSequences):
    """Takes 20 ms for a training batch."""

    def __getitems__(self, draws: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        time.sleep(0.02)
        return super().__getitems__(draws)


def test_seconds_of_training_are_without_validation_and_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(function: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*given: Any) -> Any:
            time.sleep(0.5)
            return function(*given)

        return slowly

    monkeypatch.setattr("raft.training.trainer.validation_losses", slow(validation_losses))
    monkeypatch.setattr(RaftTrainer, "_publish", slow(RaftTrainer._publish))
    args = arguments(tmp_path, max_steps=20, eval_strategy="steps", eval_steps=10, save_strategy="steps",
                     save_steps=10)  # fmt: skip
    trainer = RaftTrainer(model=build_model(config({}), 5), args=args,
                          train_dataset=Slow(SEQUENCES, TOKENIZER, 5, draws=20 * 8),
                          eval_dataset=MaskedSequences(SEQUENCES[:9], TOKENIZER, 0))  # fmt: skip
    begun = time.perf_counter()
    trainer.train()
    whole = time.perf_counter() - begun
    assert 18 * 0.02 < trainer.clock.step_seconds < whole - 4 * 0.5
    logged = [entry["step_seconds"] for entry in trainer.state.log_history if "step_seconds" in entry]
    assert logged[1] == trainer.clock.step_seconds
    assert 9 * 0.02 < logged[0] < logged[1]


def test_the_clock_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: waits.append("waited"))
    clock = Clock()
    for device in ("cpu", "meta"):
        clock.on_train_begin()
        clock.pause(torch.device(device))  # nothing has been told yet
        clock.on_step_begin()
        clock.pause(torch.device(device))
        clock.pause(torch.device(device))
    assert waits == ["waited"]
    assert clock.step_seconds > 0


def test_batches_are_copied_without_waiting_where_there_is_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(**values: Any) -> bool:
        made: Any = RaftTrainingArguments(output_dir=str(tmp_path), report_to="none", **values)
        return not made.accelerator_config.non_blocking

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert waits()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert not waits()
    assert waits(dataloader_pin_memory=False)
    assert waits(accelerator_config={})


def test_divergence_is_said_at_once(tmp_path: Path) -> None:
    model = build_model(config({}), 5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=240)
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 0: the training has diverged; lower the learning"
    ):
        RaftTrainer(model=model, args=arguments(tmp_path), train_dataset=data).train()


def test_a_corpus_smaller_than_a_batch_is_refused(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES[:3], TOKENIZER, 5, draws=240)
    with pytest.raises(InputError, match=r"3 training and 3 validation sequences; one batch needs 8"):
        pretrain(config({}), data, data, arguments(tmp_path))


def test_attention_is_computed_as_asked(tmp_path: Path) -> None:
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=16)
    task = Task("t", "accuracy", [Example("anna sees", "a friend", 1)], [Example("anna", "sees", 0)])
    sentences = sentence_data(task, task.train, None, TOKENIZER)
    losses = {}
    for asked, used in ((None, "sdpa"), ("sdpa", "sdpa"), ("eager", "eager")):
        args = arguments(tmp_path, max_steps=2, attn_implementation=asked)
        pretrained = pretrain(config({}), data, data, args)
        save(pretrained.model, TOKENIZER, tmp_path / str(asked))
        tuned = finetune(tmp_path / str(asked), TOKENIZER, sentences, args).model
        assert [each.config._attn_implementation for each in (pretrained.model, tuned)] == [used, used]
        losses[asked] = pretrained.loss
    assert losses[None] == losses["sdpa"] == pytest.approx(losses["eager"], rel=1e-4)


def test_finetuning_learns_an_easy_task_and_repeats(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pool = [
        Example(
            f"the {random.integers(5)} {'quick' if i % 2 else 'lazy'} in street {random.integers(7)}",
            None,
            i % 2,
        )
        for i in range(200)
    ]
    task = Task("easy", "accuracy", pool[:140], pool[140:])
    for raf in BLOCKS:
        folder = tmp_path / str(raf)
        save(build_model(config(raf), 1), TOKENIZER, folder)
        values = {"num_train_epochs": 8, "max_steps": -1, "remove_unused_columns": True}
        data = sentence_data(task, sample_split(task, 5, 100).train, None, TOKENIZER)
        actual = [finetune(folder, TOKENIZER, data, arguments(tmp_path, **values)) for _ in range(2)]
        assert actual[0].tests == actual[1].tests
        assert actual[0].tests["easy"].points > 90
        assert actual[0].epoch == 8
