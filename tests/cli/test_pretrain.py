"""``raft pretrain`` as a user types it, on a tiny corpus."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import torch
import yaml
from filelock import FileLock
from huggingface_hub import HfApi, RepoUrl
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

import raft
from raft.cli import slurm
from raft.cli.commands.report import main as report_main
from raft.cli.main import main
from raft.coefficients import named_fit
from raft.experiments.pretraining import PretrainingComparison
from raft.hf import rationals
from raft.pretraining.variants import folder_name
from raft.training.checkpoints import seal

WORDS = ["old", "red", "big", "shy", "odd", "mad", "wet", "dry"]
RECIPE = """
# a recipe, with a comment
tokenizer: train
vocab_size: 120
sequence_length: 16
max_position_embeddings: 16
num_hidden_layers: 2
hidden_size: 32
num_attention_heads: 2
dropout: 0.0
global_batch_size: 8
per_device_train_batch_size: 4
max_steps: 12
learning_rate: 3e-3
warmup_steps: 0.1
eval_strategy: steps
eval_steps: 4
save_steps: 4
snapshot_steps: 4
logging_steps: 2
report_to: none
disable_tqdm: true
seed: 7
"""

SHORT = ("--max_steps", "4")
LONG = ("--max_steps", "120", "--save_steps", "90", "--eval_steps", "60", "--snapshot_steps", "60")
"""So that a signal comes in the middle."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "cache"))

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["pretrain", *(str(word) for word in words)])
        done = capsys.readouterr()
        return status, done.out, done.err

    return command


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = [f"The {a} {b} fox jumps over the {c} dog number {i}." for i in range(9) for a in WORDS
             for b in WORDS for c in WORDS[:4]]  # fmt: skip
    (corpus / "train.txt").write_text("\n\n".join(lines))
    (corpus / "validation.txt").write_text(
        "\n\n".join(f"A {a} fox and a {b} dog." for a in WORDS for b in WORDS)
    )
    file = tmp_path / "recipe.yaml"
    file.write_text(f"corpus: {corpus}\noutput_dir: {tmp_path / 'run'}\n{RECIPE}")
    return file


def test_a_run_leaves_a_model_that_others_can_use(run: Run, recipe: Path, tmp_path: Path) -> None:
    status, out, err = run("--config", recipe)
    assert (status, err) == (0, "")
    assert "validation loss" in out
    folder = tmp_path / "run"
    model = AutoModelForMaskedLM.from_pretrained(folder)
    assert len(rationals(model)) == 2
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model(**tokenizer("the old fox", return_tensors="pt")).logits.shape[-1] == len(tokenizer)
    result = json.loads((folder / "pretraining.json").read_text())
    assert [step for step, _, _ in result["history"]] == [4, 8, 12]
    assert result["loss"] == result["history"][-1][2]
    assert result["tokens"] == 12 * 8 * 16
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8, 10, 12]
    snapshots = load_file(folder / "rafs.safetensors")
    assert snapshots["steps"].tolist() == [0, 4, 8, 12]
    name = next(iter(rationals(model)))
    first, *_, last = snapshots[f"{name}.numerator"][:, 0]
    torch.testing.assert_close(first, torch.tensor(raft.named_fit("gelu").numerator))
    assert torch.equal(last, rationals(model)[name].numerator)
    assert set(json.loads((folder / "inputs.json").read_text())) == set(rationals(model))
    card = (folder / "README.md").read_text()
    assert "RAFT" in card
    assert f"{result['loss']:.4f}" in card
    assert (folder / "curves.png").stat().st_size > 1000
    assert (folder / "activations.png").stat().st_size > 1000
    # the folder's recipe repeats the run
    again = tmp_path / "again"
    assert run("--config", folder / "recipe.yaml", "--output_dir", again)[0] == 0
    weights = load_file(folder / "model.safetensors")
    assert all(
        torch.equal(weights[key], value) for key, value in load_file(again / "model.safetensors").items()
    )


def test_a_finished_run_is_pushed_without_its_checkpoints(
    run: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = []

    def upload(self: HfApi, *, repo_id: str, folder_path: Path, ignore_patterns: list[str]) -> None:
        files = {str(path.relative_to(folder_path)) for path in folder_path.rglob("*") if path.is_file()}
        ignored = {file for file in files if any(fnmatch(file, pattern) for pattern in ignore_patterns)}
        pushed.append((repo_id, files - ignored))

    monkeypatch.setattr(
        HfApi, "create_repo", lambda self, name, **_: RepoUrl(f"https://huggingface.co/{name}")
    )
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    words = ("--config", recipe, "--push_to_hub", "true", "--hub_model_id", "someone/tiny-raft")
    status, out, _ = run(*words)
    assert status == 0
    assert "https://huggingface.co/someone/tiny-raft" in out
    ((name, files),) = pushed
    assert name == "someone/tiny-raft"
    assert {"README.md", "model.safetensors", "tokenizer.json", "rafs.safetensors"} <= files
    assert not any("checkpoint" in file for file in files)
    # the hub may fail: the model is there, and the same command pushes it

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(HfApi, "upload_folder", refuse)
    status, _, err = run(*words)
    assert (status, err.count("\n")) == (1, 1)
    assert "the hub did not take it as someone/tiny-raft: no route to host" in err
    assert run(*words, "--compare", "raf,relu")[0] == 2


def test_variants_read_the_same_batches_and_end_in_a_table(run: Run, recipe: Path, tmp_path: Path) -> None:
    words = ("--config", recipe, "--compare", "raf,relu", "--seeds", 2)
    status, out, _ = run(*words)
    assert status == 0
    folder = tmp_path / "run"
    names = ["raf-7", "raf-8", "relu-7", "relu-8"]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == names
    comparison = json.loads((folder / "comparison.json").read_text())
    raf, relu = comparison["variants"]
    differences = [a["loss"] - b["loss"] for a, b in zip(raf["results"], relu["results"], strict=True)]
    assert raf["difference"]["mean"] == pytest.approx(sum(differences) / 2)
    assert raf["difference"]["low"] < raf["difference"]["mean"] < raf["difference"]["high"]
    assert relu["difference"] is None
    table = (folder / "table.md").read_text()
    assert "± " in table
    assert "minus relu [95 %] | relu's loss after" in table
    assert "unigram model" in out
    of_one = yaml.safe_load((folder / "relu-8" / "recipe.yaml").read_text())
    assert (of_one["activation"], of_one["seed"], of_one["seeds"]) == ("relu", 8, 1)
    assert "compare" not in of_one
    assert (folder / "curves.png").stat().st_size > 1000
    assert (folder / "differences.png").is_file()
    assert rationals(AutoModelForMaskedLM.from_pretrained(folder / "relu-7")) == {}
    # given again, nothing is trained again
    stamp = (folder / "raf-7" / "model.safetensors").stat().st_mtime_ns
    assert run(*words)[0] == 0
    assert (folder / "raf-7" / "model.safetensors").stat().st_mtime_ns == stamp


def test_processes_share_the_runs_of_a_comparison(run: Run, recipe: Path, tmp_path: Path) -> None:
    words = ("--config", recipe, "--compare", "raf,relu", "--seeds", 2, "--disable_tqdm", "true")
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert run(*words, "--output_dir", alone)[0] == 0
    together.mkdir()
    others = FileLock(
        together / ".relu-7.lock", thread_local=False
    )  # a process that works on one of the runs for a while
    others.acquire()

    def release_after_the_last() -> None:
        until = time.monotonic() + 300
        while not (together / "relu-8" / "pretraining.json").exists() and time.monotonic() < until:
            time.sleep(0.2)
        others.release()

    Thread(target=release_after_the_last).start()
    status, out, err = run(*words, "--output_dir", together, "--processes", 2)
    assert (status, err) == (0, "")
    assert out.count("validation loss") == 4 + 1  # each run, and the table
    assert out.index("relu, seed 8") < out.index("relu, seed 7")
    losses = [
        [result["loss"] for variant in json.loads((folder / "comparison.json").read_text())["variants"]
         for result in variant["results"]]
        for folder in (alone, together)
    ]  # fmt: skip
    assert losses[0] == losses[1]


def test_a_run_that_another_process_works_on_is_refused(run: Run, recipe: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".run.lock"):
        status, _, err = run("--config", recipe)
    assert (status, err.count("\n")) == (2, 1)
    assert "another process trains in" in err
    status, _, err = run("--config", recipe, "--processes", 2)
    assert (status, err.count("\n")) == (2, 1)
    assert "give --compare or --seeds too" in err


def test_gated_layers_are_compared_at_equal_parameters(run: Run, recipe: Path, tmp_path: Path) -> None:
    names = ["gelu", "swiglu", "raf_glu:raf_learning_rate=1e-2"]
    status, out, _ = run("--config", recipe, *SHORT, "--compare", ",".join(names))
    assert status == 0
    assert all(name in out for name in names)
    folder = tmp_path / "run"
    comparison = PretrainingComparison.read(folder)
    assert comparison.baseline == "gelu"
    plain, gated, raf = (variant.results[0].parameters for variant in comparison.variants)
    assert abs(gated - plain) <= 2 * (3 * 32 + 2) / 2
    assert raf == gated + 2 * (6 + 4)
    models = [AutoModelForMaskedLM.from_pretrained(folder / folder_name(name, 7)) for name in names]
    assert [model.config.gated for model in models] == [False, True, True]
    gelu = torch.tensor(named_fit("gelu").numerator)
    learned = rationals(models[2])
    assert len(learned) == 2
    assert all((act.numerator - gelu).abs().max() > 1e-3 for act in learned.values())
    card = (folder / "raf_glu-raf_learning_rate-1e-2-7" / "README.md").read_text()
    assert " parameters, variant raf_glu:raf_learning_rate=1e-2" in card
    assert "of 2 layers, hidden size 32, with gated feed-forward layers and rational" in card
    assert "the fixed activation swiglu" in (folder / "swiglu-7" / "README.md").read_text()


def test_variants_differ_in_what_their_names_say(run: Run, recipe: Path, tmp_path: Path) -> None:
    names = ["raf:raf_init=relu", "relu", "raf", "raf:raf_learning_rate=0", "raf:raf_shared=all"]
    names += ["raf:version=B:degrees=3/2", "raf:raf_groups=2", "relu:learning_rate=1e-3"]
    inputs = "raf:raf_sites=ffn+attention_input:raf_shared=kind"
    names.append(inputs)
    status, out, _ = run("--config", recipe, *SHORT, "--compare", ", ".join(names))
    assert status == 0
    folder = tmp_path / "run"
    comparison = PretrainingComparison.read(folder)
    assert [variant.activation for variant in comparison.variants] == names
    assert all(name in out for name in names)
    models = {
        name: AutoModelForMaskedLM.from_pretrained(folder / folder_name(name, 7))
        for name in names
        if name.startswith("raf")
    }
    frozen = rationals(models["raf:raf_learning_rate=0"])
    fit = named_fit("gelu", (5, 4))
    for act in frozen.values():
        assert torch.equal(act.numerator, torch.tensor(fit.numerator))
        assert torch.equal(act.denominator, torch.tensor(fit.denominator))
    assert not any(
        torch.equal(act.numerator, frozen[site].numerator) for site, act in rationals(models["raf"]).items()
    )
    feed_forward = [site for site in rationals(models["raf"]) if "pooler" not in site]
    assert len(feed_forward) == 2
    shared = rationals(models["raf:raf_shared=all"])
    assert len([site for site in shared if "pooler" not in site]) == 1
    assert [name.rpartition(".")[0].rpartition(".")[2] for name in rationals(models[inputs])] == [
        "attention_input",
        "intermediate",
    ]
    small = next(iter(rationals(models["raf:version=B:degrees=3/2"]).values()))
    assert (small.version, small.degrees) == ("B", (3, 2))
    assert "version B, degrees (3, 2)" in (folder / "raf-version-B-degrees-3-2-7" / "README.md").read_text()
    recipe_of_one = yaml.safe_load((folder / "relu-learning_rate-1e-3-7" / "recipe.yaml").read_text())
    assert (recipe_of_one["activation"], recipe_of_one["learning_rate"]) == ("relu", 1e-3)
    page = tmp_path / "page.html"
    report_main([str(folder), "--out", str(page)])
    text = page.read_text(encoding="utf-8")
    assert "raf:version=B:degrees=3/2" in text
    actual = re.search(r'"application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert actual is not None
    data = json.loads(actual[1])
    assert {run["settings"]["variant"] for run in data["runs"]} == {n for n in names if n.startswith("raf")}
    baselines = {run["settings"]["variant"]: {raf["baseline"] for raf in run["rafs"]} for run in data["runs"]}
    assert "relu" in baselines["raf:raf_init=relu"]
    assert "relu" not in baselines["raf"]
    assert baselines[inputs] == {"gelu", "identity"}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_trackers_get_losses_rates_and_coefficients(run: Run, recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run("--config", recipe, "--report_to", "tensorboard")[0] == 0
    every = list((tmp_path / "run").rglob("events.out.tfevents.*"))
    (shown,) = (file for file in every if file.parent.name == "rafs")
    (events,) = (file for file in every if file != shown)
    figures = EventAccumulator(str(shown))
    figures.Reload()
    # of the snapshots at 4, 8 and 12: so short a training has no time for one in the middle
    assert [image.step for image in figures.Images("raf/functions")] == [4, 12]
    actual = EventAccumulator(str(events))
    actual.Reload()
    losses_by_step = {event.step: event.value for event in actual.Scalars("train/loss")}
    lines = lines_of(tmp_path / "run")
    expected = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert losses_by_step == pytest.approx(expected, rel=1e-5)
    names = set(actual.Tags()["scalars"])
    assert {"eval/loss", "train/learning_rate"} <= names
    coefficients = [name for name in names if "intermediate_act_fn/" in name]
    assert len(coefficients) == 2 * 10
    # the folder is a run's all the same
    assert run("--config", recipe, "--report_to", "tensorboard")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corpus", "nowhere.txt"], "no corpus at nowhere.txt"),
        (["--global_batch_size", "10"], "--global_batch_size 10 is no multiple of"),
        (["--activation", "gelo"], "gelo"),
        (["--compare", "raf,raf"], "--compare needs different variants, not raf and raf"),
        (
            ["--compare", "raf,raf:width=3"],
            "raf:width=3: 'width=3' must be one of raf_init, raf_gain, degrees",
        ),
        (["--compare", "raf,,gelu"], "--compare needs names with commas between them"),
        (
            ["--compare", "raf: version = B:degrees=3/2,raf:degrees=3 / 2:version=B"],
            "not raf:version=B:degrees=3/2 and raf:degrees=3/2:version=B",
        ),
        (["--compare", "raf,raf:version=B:version=C"], "version is given twice"),
        (["--compare", "gelu,gelu:learning_rate=-1"], "learning_rate cannot be '-1'"),
        (["--compare", "raf,raf:raf_learning_rate=nan"], "raf_learning_rate cannot be 'nan'"),
        (["--learning_rate", "-1"], "--learning_rate must be at least 0, not -1.0"),
        (["--compare", "raf,raf:version"], "'version' must be one of"),
        (["--compare", "raf,raf:degrees=5,4"], "degrees cannot be '5'"),
        (["--compare", "raf,raf:degrees=a/b"], "--compare raf:degrees=a/b: degrees cannot be 'a/b'"),
        (["--compare", "raf,raf:version=Z"], "version"),
        (["--compare", "gelu,gelu:version=B"], "only learning_rate can be set of a fixed activation"),
        (["--compare", "raf,raf:raf_lr_scheduler_type=steep"], "must be one of constant, linear, cosine"),
        (["--activation", "raf:version=B"], "raf:version=B"),
        (["--hidden_size", "33"], "--hidden_size 33 must be a multiple of --num_attention_heads"),
        (["--sequence_length", "99"], "--sequence_length must be at most --max_position_embeddings"),
        (["--max_steps", "-1"], "--max_steps must be given"),
        (["--tokenizer", "/nowhere"], "no tokenizer at /nowhere: the path does not exist"),
        (["--gradient_accumulation_steps", "5"], "--gradient_accumulation_steps follows from"),
        (["--label_smoothing_factor", "0.1"], "--label_smoothing_factor has no effect on a pretraining"),
        (["--load_best_model_at_end", "true"], "--load_best_model_at_end and --metric_for_best_model"),
        (["--data_seed", "7"], "--data_seed has no effect on a pretraining, whose order follows from --seed"),
        (["--train_sampling_strategy", "sequential"], "--train_sampling_strategy has no effect on a pretr"),
        (["--auto_find_batch_size", "true"], "auto_find_batch_size would change how many examples a step"),
        (["--ignore_data_skip", "true"], "ignore_data_skip would let a training that goes on read its first"),
        (["--save_only_model", "true"], "--save_only_model would leave nothing that a stopped training"),
        (["--save_strategy", "best"], "--save_strategy must be no, steps or epoch"),
        (["--evaluate_along", "3"], "--evaluate_along is of minimal pairs: give --evaluate, too"),
        (["--evaluate_items", "3"], "--evaluate_items is of minimal pairs: give --evaluate, too"),
        (["--streaming", "true"], "--streaming is of hub datasets"),
        (["--lr_scheduler_type", "polynomial"], "must be one of constant, linear, cosine"),
        (["--no_such_option", "1"], "unknown option '--no_such_option'"),
        (["--output_dir", "/proc/nowhere"], "cannot write to /proc/nowhere"),
        (["--optim", "galore_adamw"], "optim is 'galore_adamw', which makes its own groups"),
        (["--resume_from_checkpoint", "x"], "the same command goes on by itself"),
        (["--raf_init", "auto"], "--raf_init names a function"),
        (["--raf_groups", "7"], "--raf_groups 7 must divide --hidden_size"),
        (["--compare", "gelu,raf:raf_groups=7"], "--raf_groups 7 must divide --hidden_size"),
        (["--dropout", "2"], "--dropout must be below 1, not 2.0"),
        (["--config"], "argument --config: expected one argument; 'raft pretrain --help' lists the options"),
        (["--report_to", "carrier_pigeons"], "--report_to carrier_pigeons: carrier_pigeons is not supported"),
    ],
)
def test_bad_input_is_told_in_one_line(run: Run, recipe: Path, words: list[str], message: str) -> None:
    status, _, err = run("--config", recipe, *words)
    assert status == 2
    assert err.count("\n") == 1
    assert message in err


def test_bad_recipes_are_told_in_one_line(run: Run, recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    for text, message in (
        ("hiden_size: 3", "unknown key 'hiden_size'"),
        ("- a\n- b", "holds no 'key: value' lines"),
        ("a: [", "cannot read the recipe"),
        ("hidden_size: wide\noutput_dir: x", "invalid int value: 'wide'"),
        ("hidden_size: [32, 64]\noutput_dir: x", "hidden_size in the recipe"),
        ("learning_rate:\noutput_dir: x", "has no value"),
        ("degrees: 5\noutput_dir: x", "degrees must be two integers"),
    ):
        file.write_text(text)
        status, _, err = run("--config", file)
        assert (status, err.count("\n")) == (2, 1), err
        assert message in err
    assert run("--config", tmp_path / "none.yaml")[0] == 2


def test_another_recipe_does_not_go_on(run: Run, recipe: Path, tmp_path: Path) -> None:
    assert run("--config", recipe)[0] == 0
    status, _, err = run("--config", recipe, "--learning_rate", "1e-3")
    assert status == 2
    assert "--learning_rate was 0.003 and is 0.001" in err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    status, _, err = run("--config", recipe, "--output_dir", tmp_path / "other")
    assert status == 2
    assert "is not empty and holds no run" in err
    status, _, err = run(
        "--config", recipe, "--output_dir", tmp_path / "other", "--compare", "raf,gelu", "--corpus", "no"
    )
    assert status == 2
    assert "is not empty and holds no comparison" in err
    # runs of another recipe are told before the corpus is read
    variant = tmp_path / "compared" / "gelu-2022"
    variant.mkdir(parents=True)
    (variant / "recipe.yaml").write_text("activation: gelu\nhidden_size: 48\n")
    status, _, err = run(
        "--config", recipe, "--output_dir", variant.parent, "--compare", "raf,gelu", "--seed", "2022",
        "--corpus", "./nowhere",
    )  # fmt: skip
    assert status == 2
    assert "gelu-2022 holds a run of another recipe" in err
    (variant / "recipe.yaml").write_bytes(b"\x00: [")
    status, _, err = run(
        "--config", recipe, "--output_dir", variant, "--activation", "gelu", "--corpus", "./nowhere"
    )
    assert (status, err.count("\n")) == (2, 1)
    assert "recipe.yaml holds no recipe" in err


def test_nothing_stays_of_what_was_refused(run: Run, recipe: Path, tmp_path: Path) -> None:
    status, _, err = run("--config", recipe, "--global_batch_size", 1_000_000_000)
    assert status == 2
    assert "one batch needs 1000000000" in err
    assert not (tmp_path / "run").exists()
    users = tmp_path / "run" / ".git" / "HEAD"
    users.parent.mkdir(parents=True)
    users.touch()
    assert run("--config", recipe, "--global_batch_size", 1_000_000_000)[0] == 2
    assert [path.name for path in (tmp_path / "run").rglob("*")] == [".git", "HEAD"]


def test_a_log_that_is_none_does_not_go_on(run: Run, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run("--config", recipe)[0] == 0
    (folder / "pretraining.json").unlink()
    whole = (folder / "metrics.jsonl").read_bytes()
    for damage in (b"\xff" + whole, b"[]\n" + whole, b"{}\n" + whole, b"{\n" + whole):
        (folder / "metrics.jsonl").write_bytes(damage)
        status, _, err = run("--config", recipe)
        assert status == 2
        assert len(err.splitlines()) == 1
        assert f"{folder}/metrics.jsonl" in err


def test_a_sealed_checkpoint_that_does_not_fit_is_one_line(run: Run, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run("--config", recipe, "--save_total_limit", 1)[0] == 0
    (folder / "pretraining.json").unlink()
    (checkpoint,) = folder.glob("checkpoint-*")
    optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    optimizer["state"][0]["exp_avg"] = torch.zeros(3, 7)
    for content, reason in ((optimizer, "exp_avg of shape (3, 7)"), (Trace(tmp_path / "trace"), "not read")):
        torch.save(content, checkpoint / "optimizer.pt")
        seal(checkpoint)
        status, _, err = run("--config", recipe, "--save_total_limit", 1)
        assert status == 2
        assert len(err.splitlines()) == 1
        assert f"cannot resume from {checkpoint}: " in err
        assert reason in err
    assert not (tmp_path / "trace").exists()


class Trace:
    """Makes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_another_text_does_not_go_on(run: Run, recipe: Path, tmp_path: Path) -> None:
    assert run("--config", recipe)[0] == 0
    assert run("--config", recipe)[0] == 0
    text = tmp_path / "corpus" / "train.txt"
    text.write_text(text.read_text().replace("fox", "cat"))
    status, _, err = run("--config", recipe)
    assert status == 2
    assert "was begun with another text or tokenizer" in err


def test_the_recipes_of_the_project_are_read(run: Run, tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "src" / "raft" / "recipes" / "pretrain"
    files = sorted(folder.glob("*.yaml"))
    assert {file.stem for file in files} >= {"paper", "paper-1gpu", "small-1gpu-30min", "cpu-15min"}
    for file in files:
        values = yaml.safe_load(file.read_text())
        assert values["global_batch_size"] % values["per_device_train_batch_size"] == 0
        # half precision needs a device; all else is checked before the corpus is looked for
        plain = ("--fp16", "false", "--bf16", "false", "--output_dir", tmp_path / file.stem)
        status, _, err = run("--config", file, *plain, "--corpus", "./nowhere")
        assert status == 2
        assert "no corpus at ./nowhere" in err


def test_a_stopped_run_goes_on_with_the_same_command(recipe: Path, run: Run, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert run("--config", recipe, *LONG, "--output_dir", whole)[0] == 0
    command = [sys.executable, "-m", "raft.cli.main", "pretrain", "--config", str(recipe), *LONG]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    begun = time.monotonic()
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() - begun < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "to go on: raft pretrain --config" in out
    assert not (tmp_path / "run" / "pretraining.json").exists()
    assert run("--config", recipe, *LONG)[0] == 0
    actual, expected = (load_file(f / "model.safetensors") for f in (tmp_path / "run", whole))
    assert all(torch.equal(actual[key], value) for key, value in expected.items())
    actual, expected = (load_file(f / "rafs.safetensors") for f in (tmp_path / "run", whole))
    steps = actual["steps"].tolist()
    assert steps == sorted({*steps, 0, 60, 120})  # and that of the stop
    places = [steps.index(step) for step in (0, 60, 120)]
    assert all(torch.equal(actual[key][places], value) for key, value in expected.items())


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(recipe: Path, run: Run, tmp_path: Path) -> None:
    assert run("--config", recipe)[0] == 0
    two = tmp_path / "two"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
        "raft.cli.main", "pretrain", "--config", str(recipe), "--output_dir", str(two),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation loss") == 1
    actual, expected = (losses(folder) for folder in (two, tmp_path / "run"))
    assert len(expected) == 9
    assert actual == pytest.approx(expected, abs=1e-4)


def losses(folder: Path) -> list[float]:
    """Those of training and validation along the way."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines for key in ("loss", "eval_loss") if key in line]


def test_without_a_cluster_it_says_so(run: Run, recipe: Path) -> None:
    pytest.importorskip("submitit", reason="needs submitit")
    status, _, err = run("--config", recipe, "--slurm")
    assert status == 2
    assert "the cluster takes no job" in err


@pytest.mark.slow
def test_a_job_that_is_preempted_goes_on_by_itself(
    run: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="needs submitit")
    words = ("--config", recipe, *LONG)
    assert run(*words, "--output_dir", tmp_path / "whole")[0] == 0
    jobs = []

    def submit(*arguments: Any) -> Any:
        jobs.append(slurm.submit(*arguments))
        return jobs[-1]

    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr("raft.cli.commands.pretrain.submit", submit)
    status, out, _ = run(*words, "--slurm")
    assert status == 0
    assert "Submitted job" in out
    folder = tmp_path / "run"
    begun = time.monotonic()
    while not (folder / "metrics.jsonl").exists() and time.monotonic() - begun < 120:
        time.sleep(0.05)
    (task,) = psutil.Process(int(jobs[0].job_id)).children()
    task.send_signal(slurm.get_requeue_signal())
    jobs[0].result()
    assert "Requeued job" in jobs[0].stdout()
    assert json.loads((folder / "pretraining.json").read_text())["steps"] == 120
    actual, expected = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "whole"))
    assert all(torch.equal(actual[key], value) for key, value in expected.items())
