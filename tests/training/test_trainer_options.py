"""What users of ``Trainer`` know: ``optim``, resuming, the best model, and RAFs in other trainers."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback

import raft
from raft.data.text.masking import MaskedSequences
from raft.errors import InputError, TrainingError
from raft.finetuning.train import FinetuningTrainer
from raft.pretraining.run import RESUME_IGNORED_KEYS
from raft.pretraining.train import build_model
from raft.training.arguments import RaftTrainingArguments, changed_arguments, first_difference
from raft.training.checkpoints import list_checkpoints, step_number
from raft.training.trainer import RaftTrainer
from tests.training.test_training import SEQUENCES, TOKENIZER, arguments, config


def trainer(folder: Path, callbacks: list[TrainerCallback] | None = None, **values: Any) -> RaftTrainer:
    return RaftTrainer(
        model=build_model(config({}), 5),
        args=arguments(folder, use_cpu=True, **values),
        train_dataset=MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=6 * 8),
        eval_dataset=MaskedSequences(SEQUENCES[:8], TOKENIZER, 0),
        callbacks=callbacks,
    )


@pytest.mark.parametrize(
    ("optim", "name"),
    [
        ("adamw_torch", "AdamW"),
        ("adamw_torch_fused", "AdamW"),
        ("adafactor", "Adafactor"),
        ("sgd", "SGD"),
        ("rmsprop", "RMSprop"),
    ],
)
def test_every_optimizer_gets_the_group_of_rafs(optim: str, name: str, tmp_path: Path) -> None:
    training = trainer(tmp_path, optim=optim, max_steps=2, raf_learning_rate=0.03, raf_weight_decay=0.2)
    optimizer = training.create_optimizer()
    assert type(optimizer).__name__ == name
    groups = {group["name"]: group for group in optimizer.param_groups}
    rafs = [p for act in raft.hf.rationals(training.model).values() for p in act.parameters()]
    assert [id(p) for p in groups["raf"]["params"]] == [id(p) for p in rafs]
    assert (groups["raf"]["lr"], groups["raf"]["weight_decay"]) == (0.03, 0.2)
    assert groups["decay"]["lr"] == groups["no_decay"]["lr"] == training.args.learning_rate
    assert name != "AdamW" or optimizer.defaults["fused"]
    before = [p.detach().clone() for p in rafs]
    training.train()
    assert not any(torch.equal(p, old) for p, old in zip(rafs, before, strict=True))


def test_an_optimizer_that_is_given_gets_the_groups_too(tmp_path: Path) -> None:
    training = trainer(tmp_path)
    training.optimizer_cls_and_kwargs = (torch.optim.NAdam, {"lr": 1e-3})
    optimizer = training.create_optimizer()
    assert isinstance(optimizer, torch.optim.NAdam)
    assert [group["name"] for group in optimizer.param_groups] == ["decay", "no_decay", "raf"]


def test_settings_of_schedules_that_have_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lr_scheduler_kwargs has no effect"):
        arguments(tmp_path, lr_scheduler_kwargs={"num_cycles": 2})


@pytest.mark.parametrize("optim", ["galore_adamw", "apollo_adamw", "lomo", "adalomo"])
def test_optimizers_with_groups_of_their_own_are_refused(optim: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"optim is '{optim}', which makes its own groups"):
        arguments(tmp_path, optim=optim)


def test_arguments_say_what_is_resumed(tmp_path: Path) -> None:
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2}
    trainer(tmp_path, max_steps=4, **saving).train()
    resumed = trainer(tmp_path, max_steps=6, resume_from_checkpoint=str(tmp_path / "checkpoint-2"), **saving)
    steps: list[int] = []
    seen = resumed.compute_loss
    resumed.compute_loss = lambda *args, **kwargs: (  # type: ignore[method-assign]
        steps.append(resumed.state.global_step) or seen(*args, **kwargs)  # type: ignore[func-returns-value]
    )
    resumed.train()
    assert steps == [2, 3, 4, 5]


BEST: dict[str, Any] = {
    "max_steps": 6, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2,
    "save_total_limit": 2, "load_best_model_at_end": True,
    "metric_for_best_model": "loss", "greater_is_better": True,  # the first is the best
}  # fmt: skip


@pytest.mark.parametrize("only_model", [False, True])
def test_the_best_model_is_kept_and_comes_back(only_model: bool, tmp_path: Path) -> None:
    training = trainer(tmp_path, save_only_model=only_model, **BEST)
    training.train()
    assert sorted(map(step_number, list_checkpoints(tmp_path))) == [2, 6]
    assert training.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    weights = training.model.state_dict()
    best, last = (load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors") for step in (2, 6))
    assert all(torch.equal(weights[name], value) for name, value in best.items())
    assert not all(torch.equal(weights[name], value) for name, value in last.items())


class Spoil(TrainerCallback):
    """Changes a byte of the best checkpoint before the training ends."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 6:
            file = Path(state.best_model_checkpoint) / "model.safetensors"
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)


def test_a_best_model_that_has_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"best model from .*-2: the content of model.safetensors has ch"):
        trainer(tmp_path, [Spoil()], **BEST).train()


PRIVATE_OVERRIDES: dict[str, tuple[str, ...]] = {
    "_get_output_dir": ("trial",),
    "_get_train_sampler": ("train_dataset",),
    "_issue_warnings_after_load": ("load_result",),
    "_load_best_model": (),
    "_load_from_checkpoint": ("resume_from_checkpoint", "model"),
    "_load_optimizer_and_scheduler": ("checkpoint",),
    "_load_rng_state": ("checkpoint",),
    "_push_from_checkpoint": ("checkpoint_folder",),
    "_run_epoch": (),
    "_save_checkpoint": ("model", "trial"),
}
"""Private methods of ``Trainer`` that are overridden, with their parameters: transformers 5.18 to 5.23. The
parameters of ``_run_epoch`` are only passed on."""


def test_private_methods_are_those_of_the_installed_trainer() -> None:
    private = {name for name in dir(Trainer) if name.startswith("_") and not name.startswith("__")}
    own = {name for kind in (RaftTrainer, FinetuningTrainer) for name in vars(kind) if name in private}
    assert own == set(PRIVATE_OVERRIDES)
    for name, parameters in PRIVATE_OVERRIDES.items():
        if name == "_run_epoch":
            continue
        for kind in (Trainer, RaftTrainer):
            signature = inspect.signature(getattr(kind, name))
            assert tuple(signature.parameters)[1:] == parameters, f"{kind.__name__}.{name}"


def test_other_data_are_normalised_as_in_trainer(tmp_path: Path) -> None:
    rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}]
    model, args = build_model(config({}), 5), arguments(tmp_path, use_cpu=True)
    own, plain = (kind(model=model, args=args, train_dataset=rows) for kind in (RaftTrainer, Trainer))
    assert own.model_accepts_loss_kwargs == plain.model_accepts_loss_kwargs
    assert trainer(tmp_path).model_accepts_loss_kwargs
    # parts of a batch have mean losses
    assert not FinetuningTrainer(model=model, args=args, train_dataset=rows).model_accepts_loss_kwargs


def test_a_loss_without_a_perplexity_is_a_divergence(tmp_path: Path) -> None:
    training = trainer(tmp_path)
    weight: Any = training.model.get_output_embeddings().weight
    with torch.no_grad():
        weight.mul_(1e6)
    with pytest.raises(TrainingError, match=r"the validation loss is .* nats: the training has diverged"):
        training.evaluate()


@pytest.mark.parametrize("name", ["dispatch_batches", "split_batches"])
def test_what_would_cut_batches_in_another_way_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"accelerator_config: {name} is not for sequences"):
        trainer(tmp_path, accelerator_config={name: True})


def test_an_optimizer_that_is_not_installed_is_told_in_one_line(tmp_path: Path) -> None:
    training = trainer(tmp_path, optim="stable_adamw", max_steps=2)
    with pytest.raises(InputError, match="optim is 'stable_adamw': You need to install"):
        training.train()


def test_sequences_are_trained_once(tmp_path: Path) -> None:
    longer: list[dict[str, Any]] = [{"num_train_epochs": 2, "max_steps": -1}, {"max_steps": 7}]
    for values in longer:
        with pytest.raises(InputError, match=r"\d+ sequences are to be trained, .* have 48 draws"):
            trainer(tmp_path, **values).train()
    trainer(tmp_path, num_train_epochs=1, max_steps=-1).train()


def test_sequences_that_a_model_cannot_read_and_none_at_all_are_refused(tmp_path: Path) -> None:
    short = build_model(config({}), 5)
    short.config.max_position_embeddings = 4
    embeddings = next(m for n, m in short.named_modules() if n.endswith("position_embeddings"))
    embeddings.weight = torch.nn.Parameter(embeddings.weight[:4])
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=8)
    with pytest.raises(InputError, match=f"cannot read a sequence of {SEQUENCES.shape[1]} tokens"):
        RaftTrainer(model=short, args=arguments(tmp_path, use_cpu=True), train_dataset=data)
    empty = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=0)
    with pytest.raises(InputError, match="there is no sequence to train on"):
        RaftTrainer(model=short, args=arguments(tmp_path, use_cpu=True), train_dataset=empty)


def test_a_validation_without_a_number_is_an_error(tmp_path: Path) -> None:
    training = trainer(tmp_path)
    with torch.no_grad():
        next(training.model.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match="the validation loss is nan nats: the training has diverged"):
        training.evaluate()
    assert not training.state.log_history
    nothing = MaskedSequences(SEQUENCES[:8], TOKENIZER, 0, probability=1e-12)
    with pytest.raises(InputError, match="no token of the validation sequences is to be predicted"):
        trainer(tmp_path).evaluate(nothing)


def test_a_training_that_goes_on_is_not_evaluated_at_its_start(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "max_steps": 6, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2,
        "eval_on_start": True,
    }  # fmt: skip
    trainer(tmp_path, **values).train()
    again = trainer(tmp_path, **values)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    steps = [entry["step"] for entry in again.state.log_history if "eval_loss" in entry]
    assert steps == [0, 2, 4, 6]


@pytest.mark.parametrize(
    "values",
    [
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        {"dataloader_pin_memory": False},
    ],
)
def test_what_changes_no_weight_may_change_between_a_run_and_its_resumption(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)  # where pinning is the default
    before, now = (
        changed_arguments(RaftTrainingArguments(output_dir=str(tmp_path), **options))
        for options in ({}, values)
    )
    assert first_difference(before, now, RESUME_IGNORED_KEYS) is None
