"""``--help``: short, grouped, at once, and what the parsers say."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from raft.cli.help import LAYOUTS, PAGE_NAMES, read_page
from raft.cli.main import COMMANDS, main
from raft.cli.recipes import COMMANDS as WITH_RECIPES
from raft.cli.recipes import list_recipes
from tests.stored_scripts import load_script


@pytest.mark.parametrize("command", PAGE_NAMES)
def test_pages_are_what_the_parsers_print(command: str) -> None:
    assert read_page(command) == load_script("write_help").render(command), (
        "'make help' writes the pages anew"
    )


@pytest.mark.parametrize("command", PAGE_NAMES)
def test_pages_are_short(command: str) -> None:
    lines = str(read_page(command)).splitlines()
    assert len(lines) < 80
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", LAYOUTS)
def test_examples_begin_with_the_command(command: str) -> None:
    for line in LAYOUTS[command].example.splitlines():
        assert shlex.split(line)[: 1 + len(command.split())] == ["raft", *command.split()]


def test_help_needs_no_torch() -> None:
    code = """
import sys
from raft.cli.main import main
for words in (["--help"], ["--version"], ["pretrain", "--help"], ["bench", "step", "-h"], ["recipes"]):
    assert main(words) == 0
assert main(["pretrian"]) == 2
assert main(["grid", "--config", "paper"]) == 2
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "numpy", "yaml"} & set(done.stdout.splitlines()[-1].split())
    assert "the nearest is 'pretrain'" in done.stderr


def test_all_options_are_listed_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["pretrain", "--help-all"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    own, _, foreign = printed.partition("of transformers.TrainingArguments:")
    assert "--dropout" in own
    assert "--gradient_checkpointing" in foreign
    assert "--no_deepnorm" not in printed  # one spelling of each
    assert "--global-batch-size" not in printed
    assert printed.startswith(str(read_page("pretrain")).partition("'raft pretrain --help-all'")[0])


def test_defaults_are_those_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "--config", "cpu-15min", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "--num_hidden_layers N Layers of the encoder. (default: 2)" in printed
    assert "--max_steps N Steps of the training. (default: 22000)" in printed


def test_recipes_are_listed_with_what_each_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command in WITH_RECIPES:
        assert list_recipes(command)
        for name in list_recipes(command):
            line = next(line for line in lines if line.split()[:1] == [name])
            assert len(line.split()) > 2, f"{name} does not say what it takes"
    assert max(map(len, lines)) <= 80


def test_a_recipe_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "cpu-15min"]) == 0
    assert "max_steps: 22000" in capsys.readouterr().out
    assert main(["recipes", "discover-cpu"]) == 0
    assert "max_steps: " in capsys.readouterr().out
    assert main(["recipes", "cpu-15mim"]) == 2
    assert "the nearest is 'cpu-15min'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "name", "message"),
    [
        (
            "pretrain",
            "cpu-15mim",
            "no recipe 'cpu-15mim' for raft pretrain: there is no such file, and",
        ),
        ("grid", "paper", "paper is a recipe of raft pretrain, not of raft grid"),
        ("finetune", "glue-full", "glue-full is a recipe of raft grid, not of raft finetune"),
        ("finetune", "nothing", "no recipe 'nothing' for raft finetune: there is no such file"),
    ],
)
def test_unknown_recipes_are_one_line(
    command: str, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", name]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "words", [["help", "pretrain"], ["pretrain", "-h"], ["--help", "pretrain"], ["pretrain", "--help"]]
)
def test_help_is_asked_for_in_many_ways(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == read_page("pretrain")
    assert main(["help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: raft COMMAND [options]"
    assert max(map(len, lines)) <= 80


def test_other_projects_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["finetune", "--help-all"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "--model_name_or_path for --model," in printed
    assert "--block_size" not in printed


def test_epochs_are_no_option_of_a_pretraining(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--config", "cpu-15min", "--num_train_epochs", "2"]) == 2
    assert "--num_train_epochs is no option of raft pretrain: give --max_steps" in capsys.readouterr().err


def test_a_file_is_a_recipe_before_a_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("paper").write_text("max_steps: 7\n")
    with pytest.raises(SystemExit):
        main(["pretrain", "--config", "paper", "--help"])
    assert "(default: 7)" in capsys.readouterr().out


def test_every_command_has_a_page() -> None:
    assert {name.partition(" ")[0] for name in PAGE_NAMES} == set(COMMANDS) - {"recipes"}
