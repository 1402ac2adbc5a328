"""What a training shows to its trackers and keeps on disk is what its RAFs were."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import raft
from raft.callbacks import NAME, RafCallback
from raft.hf import rationals


class Rows(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {"input_ids": torch.arange(place, place + 6) % 20, "labels": place % 2}


def train(
    folder: Path, callbacks: list[TrainerCallback], report_to: list[str], faft: bool = False, **raf: Any
) -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = BertForSequenceClassification(config)
    if not faft:
        raft.convert(model, raf)
    arguments = TrainingArguments(
        str(folder), max_steps=6, per_device_train_batch_size=4, learning_rate=1e-2, report_to=report_to,
        save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    Trainer(model, arguments, train_dataset=Rows(), callbacks=callbacks).train()
    return model


def test_snapshots_and_a_tensorboard_hold_the_training(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = train(tmp_path, [RafCallback(every=2, share=1.0)], ["tensorboard"])
    snapshots = load_file(tmp_path / "rafs.safetensors")
    assert snapshots["steps"].tolist() == [0, 2, 4, 6]
    for site, act in rationals(model).items():
        numerators = snapshots[f"{site}.numerator"]
        assert torch.equal(numerators[-1, 0], act.coefficients()[0].detach())
        assert not torch.equal(numerators[0], numerators[-1])
    events = accumulator.EventAccumulator(str(tmp_path / "runs" / "rafs"), size_guidance={"images": 0})
    events.Reload()
    shown = events.Images(NAME)
    assert [image.step for image in shown] == [2, 4, 6]
    assert shown[0].encoded_image_string != shown[-1].encoded_image_string
    assert shown[0].width > 200


@pytest.mark.parametrize(("function", "drawn"), [("spline", 3), ("polynorm", 0)])
def test_other_learned_functions_are_kept_and_drawn_where_they_have_curves(
    function: str, drawn: int, tmp_path: Path
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    callbacks: list[TrainerCallback] = [RafCallback(every=2, share=1.0)]
    train(tmp_path, callbacks, ["tensorboard"], function=function, init="default")
    assert load_file(tmp_path / "rafs.safetensors")["steps"].tolist() == [0, 2, 4, 6]
    events = accumulator.EventAccumulator(str(tmp_path / "runs" / "rafs"), size_guidance={"images": 0})
    events.Reload()
    assert len(events.Images(NAME)) == drawn if drawn else NAME not in events.Tags()["images"]


def test_the_last_snapshot_is_of_the_last_step_and_others_runs_are_dropped(tmp_path: Path) -> None:
    train(tmp_path, [RafCallback(every=1)], [])
    whole = load_file(tmp_path / "rafs.safetensors")
    assert whole["steps"].tolist() == list(range(7))

    class PutBack(TrainerCallback):
        """As ``load_best_model_at_end`` does."""

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            for act in rationals(kwargs["model"]).values():
                torch.nn.init.zeros_(act.numerator)

    train(tmp_path, [PutBack(), RafCallback(every=4)], [])
    again = load_file(tmp_path / "rafs.safetensors")
    assert again["steps"].tolist() == [0, 4, 6]
    assert again.keys() == whole.keys()
    assert all(torch.equal(actual, whole[name][[0, 4, 6]]) for name, actual in again.items())


class Recorder(ModuleType):
    """Stands for wandb or trackio, both of which have log() and Image."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.logged: list[dict[str, Any]] = []

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    @staticmethod
    def Image(pixels: np.ndarray) -> np.ndarray:  # noqa: N802  # their name
        return pixels


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_figures_are_logged_beside_their_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Recorder(name)
    monkeypatch.setitem(sys.modules, name, library)
    callback = RafCallback(every=4, share=1.0)
    with monkeypatch.context() as patch:
        # transformers' own callback would begin a run
        patch.setattr("transformers.trainer.get_reporting_integration_callbacks", lambda report_to: [])
        train(tmp_path, [callback], [name])
    assert [entry["train/global_step"] for entry in library.logged] == [4, 6]
    first, last = (entry[NAME] for entry in library.logged)
    assert first.dtype == np.uint8
    assert first.shape == last.shape
    assert (first != last).any()


def test_figures_that_take_too_long_are_left_out_but_for_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 10))  # each look at the clock is ten seconds later
    library = Recorder("wandb")
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setattr("transformers.trainer.get_reporting_integration_callbacks", lambda report_to: [])
    monkeypatch.setattr("raft.callbacks.time.perf_counter", lambda: next(clock))
    callback = RafCallback(every=1, share=0.2)
    train(tmp_path, [callback], ["wandb"])
    # 10 s each: the first at step 1, from 10 s to 20 s; 10 s are less than a fifth from 60 s on, at step 5
    assert [entry["train/global_step"] for entry in library.logged] == [1, 5, 6]
    assert callback.spent == 30


def test_a_faft_has_nothing_to_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Recorder("wandb")
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setattr("transformers.trainer.get_reporting_integration_callbacks", lambda report_to: [])
    train(tmp_path, [RafCallback(every=1)], ["wandb"], faft=True)
    assert not library.logged
    assert not (tmp_path / "rafs.safetensors").exists()


def test_a_step_is_a_whole_number() -> None:
    with pytest.raises(ValueError, match="every must be at least 1, not 0"):
        RafCallback(every=0)
