"""The code on the pages runs as it stands, offline: hub names lead to tiny models of the same class.

Python is run (``pycon`` with its outputs), command lines are read by the commands' own parsers. ``text`` is
for outputs and drawings; any other kind of block is an error: nothing on the pages is left untested.
"""

from __future__ import annotations

import doctest
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, BertTokenizer

import raft
import raft.models.configuration_raft_bert  # before a fixture replaces the BertConfig that it is of
from raft.cli.main import COMMANDS, load_command
from raft.errors import InputError
from raft.functions import FUNCTIONS
from raft.kernels import dispatch
from raft.pretraining.recipe import PretrainingRecipe
from tests.stored_scripts import load_script, needs_results

pytest.importorskip("peft")

ROOT = Path(__file__).parents[1]
RESULT_RECIPES = sorted((ROOT / "results" / "recipes").glob("*.yaml"))
RUN = ROOT / "results" / "cpu-pretraining-1hour" / "raf-2022"
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


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: path in the repository.
        heading: that it stands under.
        line: of its first line of code, from 1 on.
        language: after the fence; empty where there is none.
        code: as it stands.
    """

    page: str
    heading: str
    line: int
    language: str
    code: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, those within lists too."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) % 2 == 0, f"{name} has a block that does not end"
    actual = []
    for match in re.finditer(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", text, re.MULTILINE):
        before = text[: match.start(3)]
        heading = ["", *re.findall(r"^##? (.*)$", before, re.MULTILINE)][-1]
        code = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
        actual.append(Block(name, heading, before.count("\n") + 1, match[2].strip(), code))
    return actual


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks(page)]


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
    whole = transformers.BertForPreTraining(BertConfig(**TINY))  # the published checkpoint has a pooler, too
    whole.save_pretrained("bert-base-uncased")
    Path("vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer("vocab.txt").save_pretrained("bert-base-uncased")
    theirs = transformers.BertForSequenceClassification(BertConfig(**{**TINY, "raf": {"sites": ["ffn"]}}))
    Path("their-model").mkdir()
    save_file(
        {**theirs.state_dict(), "bert.embeddings.position_ids": torch.arange(40)},
        "their-model/model.safetensors",
    )
    Path("runs").mkdir()
    Path("runs/raf").symlink_to(RUN, target_is_directory=True)
    Path("runs/convert-low-data").mkdir()
    grid_results().to_csv("runs/convert-low-data/results.csv", index=False)
    monkeypatch.setattr(datasets, "load_dataset", sst2)
    monkeypatch.setattr(dispatch, "BACKENDS", dict(dispatch.BACKENDS))
    monkeypatch.setattr(dispatch, "_chosen", {})
    monkeypatch.setenv("RAFT_KERNEL", "put back at the end")
    monkeypatch.delenv("RAFT_KERNEL")
    # importing peft can put another module object there than the one imported above
    monkeypatch.setattr(sys.modules["transformers"], "BertConfig", TinyConfig)


def grid_results() -> pd.DataFrame:
    """What ``raft grid`` leaves: two tasks, three seeds, and the RAFT two points better."""
    rows = [
        {
            "task": task, "model": "minilm", "activation": activation, "tuning": "full",
            "train_examples": "100", "learning_rate": 5e-5, "raf_learning_rate": 5e-3, "seed": seed,
            "points": points + seed + 2 * (activation == "raf"), "constant": False,
        }
        for task, points in (("rte", 50.0), ("mrpc", 70.0))
        for activation in ("keep", "raf")
        for seed in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


class TinyConfig:
    """Makes BERT's with small sizes where none are given; a subclass would leave its sizes out when saved."""

    from_pretrained = BertConfig.from_pretrained

    def __new__(cls, **values: Any) -> Any:
        """A plain ``BertConfig``."""
        return BertConfig(**{**TINY, **values})


def scores(model: Any) -> Tensor:
    with torch.no_grad():
        actual: Tensor = model.eval()(input_ids=IDS).logits
    return actual


def assert_trained(model: nn.Module) -> None:
    acts = raft.hf.rationals(model)
    moved = [act for act in acts.values() if not torch.equal(act.numerator, act.start_coefficients()[0])]
    assert len(moved) == 3  # two layers and the pooler


def check_trainer(actual: Namespace) -> None:
    assert_trained(actual["model"])
    rates = {group["name"]: group["initial_lr"] for group in actual["trainer"].optimizer.param_groups}
    assert rates == {"decay": 2e-5, "no_decay": 2e-5, "raf": 5e-4}
    again = AutoModelForSequenceClassification.from_pretrained("sst2-raft")
    assert torch.equal(scores(again), scores(actual["model"]))
    assert all(site.inputs > 0 for site in actual["model"].conversion_report)


def check_peft(actual: Namespace) -> None:
    assert_trained(actual["model"])
    saved = load_file("sst2-lora/adapter_model.safetensors")
    assert sum(name.endswith("numerator") for name in saved) == 3
    torch.testing.assert_close(scores(actual["again"]), scores(actual["model"]), rtol=0, atol=1e-6)


def check_loop(actual: Namespace) -> None:
    assert_trained(actual["model"])
    again = AutoModelForSequenceClassification.from_pretrained("sst2-loop")
    assert torch.equal(scores(again), scores(actual["model"]))


def check_options(actual: Namespace) -> None:
    assert raft.hf.rationals(actual["model"]) == {}
    plain = BertForMaskedLM.from_pretrained("bert-base-uncased")
    assert torch.equal(scores(actual["model"]), scores(plain))


def check_loaded(actual: Namespace) -> None:
    assert_trained(actual["model"])
    assert "raf" in json.loads(Path("sst2-raft/config.json").read_text())


def check_half(actual: Namespace) -> None:
    assert_trained(actual["model"])
    assert actual["model"].classifier.weight.dtype == torch.bfloat16
    assert {act.numerator.dtype for act in raft.hf.rationals(actual["model"]).values()} == {torch.float32}


def check_foreign(actual: Namespace) -> None:
    assert list(actual["checkpoint"].left_out) == ["bert.embeddings.position_ids"]
    theirs = load_file("their-model/model.safetensors")
    state = actual["model"].state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in state.items())
    name = "bert.encoder.layer.0.intermediate.intermediate_act_fn.numerator"
    assert torch.equal(actual["act"].numerator, theirs[name])


def check_readme(actual: Namespace) -> None:
    assert actual["y"].shape == (8, 3072)
    assert len(actual["optimizer"].param_groups) == 3
    assert len(raft.hf.rationals(actual["decoder"])) == 1
    assert all(site.inputs > 0 for site in actual["model"].conversion_report)
    assert len(raft.hf.rationals(actual["network"])) == 1
    assert raft.hf.rationals(AutoModelForSequenceClassification.from_pretrained("my-raft"))


def check_activation(actual: Namespace) -> None:
    assert actual["act"].numerator.grad.abs().min() > 0


def check_new(actual: Namespace) -> None:
    assert len(actual["optimizer"].param_groups) == 3
    assert len(raft.hf.rationals(actual["model"])) == 3


def check_pretrained(actual: Namespace) -> None:
    assert [site.inputs > 0 for site in actual["model"].conversion_report] == [True, True]


def check_learned(actual: Namespace) -> None:
    assert [function.began_as for function in actual["functions"]] == ["gelu"] * 4
    assert Path("curves.pdf").stat().st_size > 0


def check_history(actual: Namespace) -> None:
    assert actual["steps"][:2] == [0, 250]
    assert len(actual["values"]) == len(actual["steps"])
    assert not torch.equal(actual["values"][0], actual["values"][-1])


def check_grid(actual: Namespace) -> None:
    assert len(actual["results"]) == 12


def check_backend(actual: Namespace) -> None:
    with pytest.raises(NotImplementedError):
        actual["forward"](torch.zeros(1), torch.ones(2), torch.ones(1), "B")


def check_private(actual: Namespace) -> None:
    (act,) = raft.hf.rationals(actual["network"]).values()
    loss = actual["network"](torch.randn(3, 4)).square().sum(1).mean()
    loss.backward()
    numerator: Any = act.numerator
    samples = numerator.grad_sample
    assert samples.shape == (3, 6)
    torch.testing.assert_close(samples.mean(0), numerator.grad)


def check_plugged(actual: Namespace) -> None:
    assert dispatch.backend_of("cpu") is actual["backend"]


CHECKS: dict[str, dict[str, Callable[[Namespace], None]]] = {
    "README.md": {"Sixty seconds": check_readme},
    "docs/analysing.md": {"One model": check_learned},
    "docs/reports.md": {"Over the training": check_history, "A grid": check_grid},
    "docs/converting.md": {
        "With transformers.Trainer": check_trainer,
        "Options": check_options,
        "Save, load, share": check_loaded,
    },
    "docs/with-others.md": {
        "With PEFT LoRA": check_peft,
        "With a plain PyTorch loop": check_loop,
        "Half precision": check_half,
        "Opacus": check_private,
        "Others' checkpoints": check_foreign,
    },
    "docs/index.md": {
        "An activation": check_activation,
        "A new RAFT": check_new,
        "A pretrained model": check_pretrained,
    },
    "docs/kernels.md": {"A minimal backend": check_backend, "Plug it in": check_plugged},
}
"""What is looked at after a block has run, beyond that it ran."""

LOOK_AT_RUNS = ("docs/analysing.md", "docs/reports.md")


def run_python(block: Block, names: Namespace) -> None:
    """Execute a block at its own lines, for tracebacks."""
    exec(compile("\n" * (block.line - 1) + block.code, str(ROOT / block.page), "exec"), names)


def run_session(block: Block, names: Namespace) -> None:
    """Run a session of the interpreter and compare what it prints."""
    test = doctest.DocTestParser().get_doctest(block.code, names, block.place, block.page, block.line - 1)
    assert test.examples, f"{block.place} has no prompt"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    assert runner.run(test, out=said.append, clear_globs=False).failed == 0, "".join(said)
    names.update(test.globs)


def check_recipe(block: Block, names: Namespace) -> None:
    """Refuse what no pretraining takes."""
    PretrainingRecipe(**yaml.safe_load(block.code)).check()


RUNNERS = {"python": run_python, "pycon": run_session, "yaml": check_recipe}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=needs_results if page in LOOK_AT_RUNS else ())  # it looks at RUN
        for page in sorted({block.page for block in BLOCKS if block.language in RUNNERS})
    ],
)
def test_every_block_does_what_the_page_says(page: str) -> None:
    before = dict(FUNCTIONS)
    checks = dict(CHECKS.get(page, {}))
    names: Namespace = {}
    try:
        for block in BLOCKS:
            if block.page == page and block.language in RUNNERS:
                RUNNERS[block.language](block, names)
                checks.pop(block.heading, lambda _: None)(names)
    finally:  # a page adds a function of its own, which other tests must not see
        for name in FUNCTIONS.keys() - before.keys():
            del FUNCTIONS[name]
    assert not checks, f"{page} has no code under {', '.join(checks)}"


class Parsed(Exception):  # noqa: N818 (it is no error)
    """A command has read its words, and would begin to work."""


@pytest.fixture
def only_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands stop when their parser has taken all words, in the folder of the repository."""
    monkeypatch.chdir(ROOT)
    for name in COMMANDS:
        module = import_module(f"raft.cli.commands.{name.replace('-', '_')}")
        for parser in ("parse", "parse_recipe"):
            if hasattr(module, parser):
                monkeypatch.setattr(module, parser, stopping(getattr(module, parser)))


def stopping(parser: Callable[..., Any]) -> Callable[..., Any]:
    """A parser that ends the command when it is done."""

    def parse(*arguments: Any, **options: Any) -> None:
        raise Parsed(parser(*arguments, **options))

    return parse


def command_lines(code: str) -> Iterator[list[str]]:
    """The words of each line of a shell block, comments and variables before the command left out."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            yield words


def check_command(words: list[str]) -> None:
    """Raise unless each of its options, recipes, targets and extras exists."""
    program = words[0]
    if program in ("torchrun", "accelerate") and "raft.cli.main" in words:
        words = words[words.index("raft.cli.main") :]
        program = "raft"
    if program == "raft":
        assert words[1] in COMMANDS, f"there is no command {words[1]}"
        with pytest.raises(Parsed):
            load_command(words[1])(words[2:])
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"the Makefile has no {words[1:]}"
    elif words[:4] == ["git", "clone", "--depth", "1"]:  # all of the history would be many times as much
        assert words[4:] == ["REPOSITORY", "raft"]
    elif words[0] == "cd":
        assert words[1:] == ["raft"], "a page goes into the folder that it has cloned"
    elif words[:2] == ["pip", "install"]:
        check_installation(words[2:])
    elif words[:3] == ["python", "-m", "http.server"]:
        assert len(words) == 5, "python -m http.server --directory FOLDER"
        assert words[3] == "--directory"
    else:
        raise AssertionError(f"nobody reads {program!r}: teach this test, or call the block text")


def check_installation(words: list[str]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    known = re.findall(r"^(\w+) = \[", project.partition("[project.optional-dependencies]")[2], re.MULTILINE)
    for word in words:
        if word in ("-e", "-c"):
            continue
        name, _, extras = word.partition("[")
        assert f'name = "{name}"' in project or (ROOT / name).exists(), f"pip cannot install {word}"
        assert all(each in known for each in extras.rstrip("]").split(",") if each), f"no such extra: {word}"


@pytest.mark.usefixtures("only_parsing")
@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "sh"], ids=lambda block: block.place
)
def test_every_command_line_is_one(block: Block) -> None:
    lines = list(command_lines(block.code))
    assert lines
    for words in lines:
        check_command(words)


@pytest.mark.usefixtures("only_parsing")
@pytest.mark.parametrize("place", [None, "folder"])
@pytest.mark.parametrize("file", RESULT_RECIPES, ids=lambda file: file.stem)
def test_recipes_of_results_are_commands(file: Path, place: str | None) -> None:
    make_results = load_script("make_results")
    recipes = make_results.read_recipes()
    recipe = recipes[file.stem]
    assert set(recipe) <= {"minutes", "threads", "after", "needs", "gpu", "small", "small_grid", "commands"}
    for name in ("wikipedia", "glue_dir"):  # the hub has no such articles, and these commands want a folder
        is_named = any(f"{{{name}}}" in command for command in recipe["commands"])
        assert is_named == (name.removesuffix("_dir") in recipe.get("needs", []))
    assert set(recipe.get("after", [])) <= set(recipes)
    needed = dict.fromkeys(recipe.get("needs", []), "folder")  # without which nothing is run
    places = {**dict.fromkeys(make_results.PLACES, place), **needed}
    trial = make_results.commands(recipe, places, is_trial=True) if recipe.get("gpu") else []
    for program, *words in [*make_results.commands(recipe, places), *trial]:
        assert program == sys.executable
        if words[:2] == ["-m", "raft.cli.main"]:
            check_command(["raft", *words[2:]])
        elif words[:2] != ["-m", "pytest"]:
            assert (ROOT / words[0]).is_file()


@pytest.mark.usefixtures("only_parsing")
@pytest.mark.parametrize(
    "line",
    [
        "raft finetune --task rte --no_such_option 1",
        "raft pretrain --config none",
        "raft bench nothing",
        "make nothing",
        "pip install raft-transformers[nothing]",
        "curl https://example.org",
    ],
)
def test_a_line_that_would_not_work_is_found(line: str) -> None:
    with pytest.raises((AssertionError, InputError)):
        check_command(shlex.split(line))


def test_no_block_is_left_untested() -> None:
    known = {*RUNNERS, "sh", "text"}
    wrong = [f"{block.place} ({block.language})" for block in BLOCKS if block.language not in known]
    assert not wrong, f"neither run nor parsed: {', '.join(wrong)}"
    code = re.compile(r"^(>>>|\$ |raft [a-z]+ |import |from \S+ import )", re.MULTILINE)
    hidden = [block.place for block in BLOCKS if block.language == "text" and code.search(block.code)]
    assert not hidden, f"code that is called text: {', '.join(hidden)}"
    total = sum(len(re.findall(r"^ *```\S", page.read_text("utf-8"), re.MULTILINE)) for page in PAGES)
    assert len(BLOCKS) == total
