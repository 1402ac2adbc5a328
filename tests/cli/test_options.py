"""Options that cannot be: each is refused in one line, before anything is read or written."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pytest
import torch
from transformers import HfArgumentParser
from transformers.utils import logging

from raft.bounds import BOUNDS
from raft.cli.commands.bench import KernelSettings, StepSettings
from raft.cli.commands.convert import ConvertSettings
from raft.cli.commands.demo import DemoSettings
from raft.cli.commands.inspect import InspectSettings
from raft.cli.commands.pretrain import _parse
from raft.cli.main import main
from raft.cli.processes import ProcessOptions
from raft.cli.slurm import SlurmOptions
from raft.errors import InputError
from raft.experiments.grid import GridRecipe
from raft.finetuning.run import FinetuningRecipe
from raft.networks.config import RafConfig
from raft.pretraining.recipe import PretrainingRecipe
from raft.report.tables.grid import tabulate_differences
from raft.training.arguments import RaftTrainingArguments, is_slow_bfloat16

CHECKED_ELSEWHERE = {"degrees", "interval", "local_rank"}
"""By ``RafConfig``, as a pair, and by nobody: torchrun sets it."""

PRETRAIN = ["pretrain", "--corpus", "docs.txt", "--max_steps", "2", "--output_dir", "out"]
FINETUNE = ["finetune", "--task", "rte", "--data_dir", "glue", "--model", "m", "--output_dir", "out"]
GRID = ["grid", "--models", "m", "--output_dir", "out"]


@pytest.mark.parametrize(
    "kind",
    [
        PretrainingRecipe, RaftTrainingArguments, SlurmOptions, FinetuningRecipe, GridRecipe, ProcessOptions,
        DemoSettings, ConvertSettings, InspectSettings, KernelSettings, StepSettings,
    ],
)  # fmt: skip
def test_every_number_of_every_option_has_bounds(kind: Any) -> None:
    hints = get_type_hints(kind)
    numbers = (int, float, int | None, float | None, list[int], list[float])
    named = {each.name for each in fields(kind) if each.init and hints[each.name] in numbers}
    assert named - CHECKED_ELSEWHERE <= BOUNDS.keys()


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (PRETRAIN, "--per_device_train_batch_size 0", "--per_device_train_batch_size must be at least 1"),
        (PRETRAIN, "--seed -1", "--seed must be at least 0, not -1"),
        (PRETRAIN, "--seed 99999999999999999999", "--seed must be at most 4294967295"),
        (PRETRAIN, "--initializer_range nan", "--initializer_range must be finite, not nan"),
        (PRETRAIN, "--warmup_steps nan", "--warmup_steps must be finite, not nan"),
        (PRETRAIN, "--adam_beta2 2", "--adam_beta2 must be below 1, not 2.0"),
        (PRETRAIN, "--intermediate_size -1", "--intermediate_size must be at least 1, not -1"),
        (PRETRAIN, "--validation_sequences -1", "--validation_sequences must be at least 1, not -1"),
        (PRETRAIN, "--compare=", "--compare is empty: give it a value, or leave it out"),
        (PRETRAIN, "--weight_decay -1", "--weight_decay must be at least 0, not -1.0"),
        (PRETRAIN, "--max_grad_norm nan", "--max_grad_norm must be finite, not nan"),
        (PRETRAIN, "--output_dir=", "--output_dir is empty"),
        (PRETRAIN, "--accelerator_config nowhere.json", "nowhere.json"),
        (PRETRAIN, "--learn_rate 1e-3", "unknown option '--learn_rate'; the nearest is '--learning_rate'"),
        (PRETRAIN, "--out runs", "unknown option '--out'; the nearest is '--output_dir'"),
        (FINETUNE, "--per_device_eval_batch_size 0", "--per_device_eval_batch_size must be at least 1"),
        (FINETUNE, "--gradient_accumulation_steps 0", "--gradient_accumulation_steps must be at least 1"),
        (FINETUNE, "--num_train_epochs inf", "--num_train_epochs must be finite, not inf"),
        (FINETUNE, "--num_train_epochs 0", "--num_train_epochs must be above 0, not 0.0"),
        (FINETUNE, "--train_examples ²", "--train_examples must be a number above 0 or 'all', not '²'"),
        (FINETUNE, "--patience -1", "--patience must be at least 1, not -1"),
        (FINETUNE, "--max_steps -5", "--max_steps must be at least 1, not -5"),
        (FINETUNE, "--task rt", "; the nearest is 'rte'"),
        (GRID, "--train-examples 5", "--train_examples is no option of raft grid: give --sizes"),
        (GRID, "--search_learning_rates nan", "--search_learning_rates must be finite"),
        (["convert", "m", "out"], "--layers 0-99999999999", "all below 10000, not '0-99999999999'"),
        (["bench", "step"], "--layers 99999999999", "--layers must be at most 10000"),
        (["bench", "kernel"], "--shapes ²x3", "a shape is written as 4096x3072, not '²x3'"),
        (["inspct"], "m", "; the nearest is 'inspect'"),
    ],
)
def test_what_cannot_be_is_one_line(
    command: list[str], words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main([*command, *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dropout: 2", "--dropout must be below 1"),
        ("seed: true", "invalid int value: 'True'"),
        ("learn_rate: 0.1", "unknown key 'learn_rate' in the recipe .*; the nearest is 'learning_rate'"),
    ],
)
def test_recipes_pass_through_the_same(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"output_dir: x\n{line}\n")
    with pytest.raises(InputError, match=message):
        _parse(["--config", str(tmp_path / "r.yaml")])


def test_a_recipe_turns_off_what_is_on_by_default(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("output_dir: x\ndeepnorm: false\n")
    assert not _parse(["--config", str(tmp_path / "r.yaml")])[0].deepnorm


@pytest.mark.parametrize(
    "block",
    [{"layers": [0.5]}, {"layers": [True]}, {"layers": [1j]}, {"layers": "0-99999999999"}, {"layers": "²"},
     {"layers": range(10**12)}, {"shared": {"a": "0-99999999999"}}, {"shared": 0}, {"degrees": [True, 4]},
     {"sites": [["ffn"]]}, {"version": []}, {"init": []}],
)  # fmt: skip
def test_a_block_that_cannot_be_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"layers|shared|degrees|sites|version|init"):
        RafConfig.from_dict(block)


def test_output_that_nobody_reads_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert main(["--help"]) == 0
        assert main(["bench", "--help"]) == 0


@pytest.mark.parametrize("command", [PRETRAIN, FINETUNE, GRID, ["discover", *PRETRAIN[1:]]])
def test_remarks_of_transformers_on_arguments_are_not_shown(
    command: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Remarking(RaftTrainingArguments):
        def __post_init__(self) -> None:
            super().__post_init__()
            logging.get_logger("transformers.training_args").warning("made once more")
            raise InputError("made")

    monkeypatch.setattr(f"raft.cli.commands.{command[0]}.CommandArguments", dataclass(Remarking))
    monkeypatch.setattr(logging.get_logger(), "propagate", True)
    logging.set_verbosity_warning()
    assert main(command) == 2
    assert "made once more" not in caplog.text


@pytest.mark.parametrize(("known", "slow"), [({}, False), ({"bf16": False}, True), ({"bf16": True}, False)])
def test_slow_bfloat16_is_known(
    known: dict[str, bool], slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    made = RaftTrainingArguments(output_dir=str(tmp_path), bf16=True, use_cpu=True)
    assert is_slow_bfloat16(made) == slow


@pytest.mark.parametrize("command", [PRETRAIN, FINETUNE, GRID, ["discover", *PRETRAIN[1:]]])
def test_float16_on_a_cpu_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--fp16", "true", "--use_cpu", "true"]) == 2
    assert capsys.readouterr().err == "raft: --fp16 needs a GPU: leave it out, or give --bf16\n"


def test_differences_of_models_of_one_class_are_marked() -> None:
    rows = [
        {"task": "t", "model": "m", "train_examples": "9", "tuning": "full", "activation": activation,
         "seed": seed, "points": points + seed, "constant": activation == "keep"}
        for activation, points in (("keep", 0.0), ("raf", 59.0)) for seed in range(3)
    ]  # fmt: skip
    table = tabulate_differences(pd.DataFrame(rows))
    assert table is not None
    assert table.rows[0][-1].endswith("3/0/0*")
    assert table.title.endswith("; * some models predict one class for every input")


@pytest.mark.parametrize("option", ["--output_dir", "--model", "--config", "--data_dir"])
def test_a_path_that_cannot_be_is_one_line(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "--task", "rte", option, "a\0b"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("raft: ")


def test_what_steers_a_terminal_is_shown_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[31mred"]) == 2
    err = capsys.readouterr().err
    assert "\x1b[31mred" not in err
    assert "x1b[31mred" in err


def test_a_recipe_that_is_nested_too_deeply_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text("corpus: " + "[" * 3000)
    assert main(["pretrain", "--config", str(tmp_path / "recipe.yaml")]) == 2
    assert "cannot read the recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words", "name", "value"),
    [
        ("finetune", ["--model_name_or_path", "folder"], "model", "folder"),
        ("finetune", ["--task-name=rte"], "task", "rte"),
        ("finetune", ["--lr", "1e-3"], "learning_rate", 1e-3),
        ("finetune", ["--max_seq_length", "64"], "max_length", 64),
        ("finetune", ["--dataset_name", "own"], "dataset", "own"),
        ("pretrain", ["--dataset_name", "own"], "corpus", "own"),
        ("pretrain", ["--block_size", "64"], "sequence_length", 64),
        ("grid", ["--model_name_or_path", "folder"], "models", ["folder"]),
        ("convert", ["--model_name_or_path", "src", "dst"], "src", "src"),
        ("convert", ["--model_name_or_path=src", "dst"], "src", "src"),
        ("bench", ["step", "--batch_size", "8"], "batch_size", 8),
    ],
)
def test_names_that_others_give_options_work(
    command: str, words: list[str], name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[Any] = []

    def keep(parser: Any, words: Any) -> Any:
        parsed.append(HfArgumentParser.parse_args_into_dataclasses(parser, words, look_for_args_file=False))
        raise InputError("parsed")

    monkeypatch.setattr("raft.cli.options._parse_words", keep)
    assert main([command, *words]) == 2
    (settings,) = parsed
    assert next(getattr(part, name) for part in settings if hasattr(part, name)) == value


def test_the_home_folder_is_found_in_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("corpus: ~/texts\nmax_steps: 1\noutput_dir: ~/runs/one\n")
    assert main(["pretrain", "--config", "~/recipe.yaml"]) == 2
    assert f"no corpus at {tmp_path}/texts" in capsys.readouterr().err
    assert main(["report", "~/nowhere"]) == 2
    assert f"there is no folder {tmp_path}/nowhere" in capsys.readouterr().err


def test_recipes_take_them_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("lr: -1\n")
    assert main(["finetune", "--config", str(recipe)]) == 2
    assert "--learning_rate must be at least 0, not -1.0" in capsys.readouterr().err
