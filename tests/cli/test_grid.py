"""``raft grid`` as a user types it: each cell once, rates by validation, tables at the end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModel

import raft
from raft.cli import slurm
from raft.cli.commands.grid import parse_grid
from raft.cli.main import main
from raft.cli.processes import ProcessOptions, say_if_busy, share_devices
from raft.experiments.cells import CellFolder
from raft.experiments.grid import Grid, GridRecipe
from raft.experiments.statistics import compare_paired
from raft.finetuning.run import FinetuningRecipe, is_raft
from raft.pretraining.run import PretrainingResult
from raft.report.tables.grid import build_frame, tabulate_differences, tabulate_rates, tabulate_scores
from raft.training.arguments import RaftTrainingArguments

RECIPE = """
tasks: [rte]
models: [{model}]
activations: [keep, raf]
sizes: ["24"]
seeds: 2
search_learning_rates: [1e-3, 3e-3]
search_seeds: 1
data_dir: {glue}
num_train_epochs: 2
per_device_train_batch_size: 8
max_length: 24
report_to: none
disable_tqdm: true
output_dir: {out}
"""


FINETUNING_OPTIONS = {
    "data_dir", "num_train_epochs", "per_device_train_batch_size", "max_length", "report_to", "disable_tqdm",
}  # fmt: skip


@pytest.fixture
def recipe(glue: Path, model: Path, tmp_path: Path) -> Path:
    file = tmp_path / "grid.yaml"
    file.write_text(RECIPE.format(model=model, glue=glue, out=tmp_path / "grid"))
    return file


def cells(folder: Path) -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/cell.json")}


def result(folder: Path) -> dict[str, Any]:
    actual: dict[str, Any] = json.loads((folder / "finetuning.json").read_text())
    return actual


def test_a_grid_searches_runs_and_compares(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    folder = tmp_path / "grid"
    assert main(["grid", "--config", str(recipe)]) == 0
    printed = capsys.readouterr().out
    actual = cells(folder)
    # for each activation two rates of a seed that does not count, and two seeds with the chosen rate
    assert len(actual) == 8
    rows = pd.read_csv(folder / "results.csv", dtype={"train_examples": str})
    assert sorted(zip(rows.activation, rows.seed, strict=True)) == [
        ("keep", 2022), ("keep", 202206), ("raf", 2022), ("raf", 202206),
    ]  # fmt: skip
    searched = pd.read_csv(folder / "search.csv")
    for activation, of_it in rows.groupby("activation"):
        (rate,) = set(of_it.learning_rate)
        validation = {
            options["learning_rate"]: result(folder / name)["validation"]
            for name, options in actual.items()
            if (options["activation"], options["seed"]) == (activation, 2021)
        }
        assert validation[rate] == max(validation.values())
        tried = searched[searched.activation == activation]
        assert dict(zip(tried.learning_rate, tried.validation, strict=True)) == pytest.approx(validation)
    draws = [json.loads((folder / name / "drawn.json").read_text()) for name, options in actual.items()
             if options["seed"] == 2022]  # fmt: skip
    assert all(drawn == draws[0] for drawn in draws)
    raf, keep = (rows[rows.activation == name].points.tolist() for name in ("raf", "keep"))
    assert f"{sum(raf) / 2:.1f}" in printed
    assert f"p={compare_paired(raf, keep).p_value:.3f}" in printed
    assert "\\toprule" in (folder / "tables.tex").read_text()
    assert "| raf |" in (folder / "tables.md").read_text()
    # the report of it is the same, also where the cells are gone
    written = (folder / "tables.md").read_text()
    shutil.copytree(folder, tmp_path / "copy")
    shutil.copy(folder / "results.csv", tmp_path)
    for place in (tmp_path / "copy", tmp_path):
        (place / "tables.md").unlink(missing_ok=True)
        capsys.readouterr()
        assert main(["report", str(place)]) == 0
        tables, _, opened = capsys.readouterr().out.rpartition("Open ")
        assert tables in printed
        assert Path(opened.strip()) == place / "report.html"
        assert (place / "tables.md").read_text() == written
    # given again, with a seed more, only what is new is run
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*/finetuning.json")}
    assert main(["grid", "--config", str(recipe), "--seeds", "3"]) == 0
    assert len(cells(folder)) == 10
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    # other options are another grid
    capsys.readouterr()
    assert main(["grid", "--config", str(recipe), "--num_train_epochs", "5"]) == 2
    assert "--num_train_epochs was 2.0 and is 5.0" in capsys.readouterr().err


def test_cells_of_a_task_or_a_model_that_has_changed_are_not_taken_for_its_own(
    recipe: Path, glue: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights = shutil.copytree(glue, tmp_path / "glue"), shutil.copytree(model, tmp_path / "model")
    words = [
        "--models",
        str(weights),
        "--activations",
        "keep",
        "--seeds",
        "1",
        "--search_learning_rates",
        "1e-3",
    ]
    again = ["grid", "--config", str(recipe), "--data_dir", str(data), *words]
    assert main(again) == 0
    (weights / "notes.txt").write_text("nothing of the model")
    assert main(again) == 0
    row = data / "RTE" / "train.tsv"
    rows = row.read_text()
    row.write_text(rows.replace("not_entailment", "entailment", 1))
    capsys.readouterr()
    assert main(again) == 2
    assert "holds cells of another task rte: its files have changed since" in capsys.readouterr().err
    row.write_text(rows)
    changed = AutoModel.from_pretrained(weights)
    with torch.no_grad():
        changed.pooler.dense.bias += 1
    changed.save_pretrained(weights)
    assert main(again) == 2
    assert f"holds cells of another model {weights}: " in capsys.readouterr().err
    # another model beside it is no change
    assert main([*again, "--models", str(model)]) == 0


def test_modes_that_are_one_training_share_a_cell(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    words = ["--tunings", "fixed", "full", "--seeds", "1", "--search_learning_rates", "1e-3"]
    assert main(["grid", "--config", str(recipe), *words]) == 0
    rows = pd.read_csv(folder / "results.csv").set_index(["activation", "tuning"])
    assert sorted(rows.index) == [("keep", "fixed"), ("keep", "full"), ("raf", "fixed"), ("raf", "full")]
    assert len(cells(folder)) == 3
    assert rows.points["keep", "fixed"] == rows.points["keep", "full"]
    assert not list(folder.glob("*-keep-fixed-*"))
    # it is what the mode does by itself
    alone = tmp_path / "alone"
    cell = ["--activation", "keep", "--tuning", "fixed", "--train_examples", "24", "--seed", "2022"]
    kept = {
        key: value for key, value in yaml.safe_load(recipe.read_text()).items() if key in FINETUNING_OPTIONS
    }
    file = tmp_path / "alone.yaml"
    file.write_text(yaml.safe_dump({**kept, "task": "rte", "output_dir": str(alone)}))
    model = yaml.safe_load(recipe.read_text())["models"][0]
    words = ["--model", model, "--learning_rate", "1e-3", "--raf_learning_rate", "0"]
    assert main(["finetune", "--config", str(file), *cell, *words]) == 0
    assert result(alone)["tests"]["RTE"] == rows.points["keep", "fixed"]


def test_an_adapter_has_its_rate_and_its_numbers_in_the_results(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    tunings = ["head", "raf-adapter:groups=2", "raf-bottleneck:r=1", "raf-bottleneck:r=1:learned=false"]
    words = ["--activations", "keep", "--tunings", *tunings, "--seeds", "1"]
    rates = ["--search_learning_rates", "1e-3", "--raf_learning_rate", "0.02"]
    assert main(["grid", "--config", str(recipe), *words, *rates]) == 0
    rows = pd.read_csv(tmp_path / "grid" / "results.csv").set_index("tuning").loc[tunings]
    assert rows.raf_learning_rate.fillna(0).tolist() == [0, 0.02, 0.02, 0]
    # two layers of two groups, two bottlenecks
    numbers = (rows.trained - rows.trained["head"]).tolist()
    assert numbers[:2] == [0, 40]
    assert numbers[2] - numbers[3] == 20


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_killed_grid_finishes_with_every_cell_once(
    processes: str, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "grid"
    command = [sys.executable, "-m", "raft.cli.main", "grid", "--config", str(recipe)]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    begun = time.monotonic()
    while not cells(folder) and time.monotonic() - begun < 120:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/finetuning.json")}
    assert main([*command[3:], "--processes", processes]) == 0
    assert len(cells(folder)) == 8
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert not list(folder.glob(".*.unfinished"))


def test_a_failed_cell_is_told_and_spoils_no_other(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["grid", "--config", str(recipe), "--sizes", "24", "500", "--search_learning_rates", "1e-3"]
    assert main([*words, "--seeds", "1"]) == 1
    printed = capsys.readouterr()
    assert "failed: " in printed.out
    assert "500 training examples are asked for, but the task has 90" in printed.err.replace("\n", " ")
    assert len(pd.read_csv(tmp_path / "grid" / "results.csv")) == 2


@pytest.mark.parametrize("what", ["nothing", "cells"])
def test_a_folder_without_results_is_told_in_one_line(
    what: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "cells":
        (tmp_path / "recipe.yaml").write_bytes(recipe.read_bytes())
        (tmp_path / "shared.json").write_text("{}")
    assert main(["report", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert {"nothing": "holds no run", "cells": "no cell of the grid"}[what] in err


def test_what_a_grid_varies_is_no_option_of_it(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, instead in (("task", "tasks"), ("seed", "seeds"), ("train_examples", "sizes")):
        assert main(["grid", "--config", str(recipe), f"--{name}=1"]) == 2
        assert f"--{name} is no option of raft grid: give --{instead}" in capsys.readouterr().err
    recipe.write_text(recipe.read_text() + "model: roberta-base\n")
    assert main(["grid", "--config", str(recipe)]) == 2
    assert "is no option of raft grid: give models" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize("rates", ["-1", "nan", "1e-3 0.001"])
def test_rates_that_cannot_be_searched_are_told(
    rates: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grid", "--config", str(recipe), "--search_learning_rates", *rates.split()]) == 2
    assert "--search_learning_rates " in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "pretraining"
    other.mkdir()
    (other / "recipe.yaml").write_text("max_steps: 7\n")
    assert main(["grid", "--config", str(recipe), "--output_dir", str(other)]) == 2
    assert "is not empty and holds no grid" in capsys.readouterr().err.replace("\n", " ")
    assert [path.name for path in other.iterdir()] == ["recipe.yaml"]
    assert (other / "recipe.yaml").read_text() == "max_steps: 7\n"
    assert main(["report", str(other)]) == 2
    assert "is not finished: the command that began it goes on" in capsys.readouterr().err.replace("\n", " ")


def test_the_first_activation_is_compared_with_also_where_the_first_model_lacks_it() -> None:
    recipe = GridRecipe(models=["a", "b"], activations=["keep", "raf"])
    rows = [
        {"task": "rte", "model": model, "activation": activation, "tuning": "full", "train_examples": "9",
         "seed": seed, "points": 50.0 + seed, "constant": False, "learning_rate": 1e-4,
         "raf_learning_rate": None}
        for model, activation in (("a", "raf"), ("b", "keep"), ("b", "raf"))
        for seed in (1, 2)
    ]  # fmt: skip
    table = tabulate_differences(build_frame(rows, recipe))
    assert table is not None
    assert table.title.startswith("Differences to keep")
    assert [row[0] for row in table.rows] == ["raf"]


def test_a_data_set_of_ones_own_is_run_once_by_its_name(tmp_path: Path) -> None:
    words = ["--dataset", str(tmp_path / "mine.csv"), "--output_dir", str(tmp_path / "grid")]
    assert parse_grid(words)[0].recipe.tasks == ["mine"]
    assert parse_grid([*words, "--tasks", "reviews"])[0].recipe.tasks == ["reviews"]
    assert FinetuningRecipe(dataset="someone/reviews:small").task == "reviews"
    assert FinetuningRecipe(dataset="mine.csv", task="films").task == "films"


def test_processes_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("raft.cli.processes.usable_cores", lambda: 16)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert share_devices(1) == [{}]
    assert share_devices(3) == [{"OMP_NUM_THREADS": "5"}] * 3
    assert share_devices(20)[0] == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert [share["CUDA_VISIBLE_DEVICES"] for share in share_devices(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert share_devices(2) == [{"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "7"}]


@pytest.mark.parametrize(
    ("load", "threads", "processes", "says"),
    [(3.1, 2, 1, True), (0.2, 2, 1, False), (3.1, 1, 1, False), (3.1, 2, 2, False)],
)
def test_a_busy_machine_is_told_of(
    load: float,
    threads: int,
    processes: int,
    says: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    monkeypatch.setattr("raft.cli.processes.usable_cores", lambda: 2)
    say_if_busy(ProcessOptions(processes=processes))
    out = capsys.readouterr().out
    assert ("(load 3.1 on 2 cores)" in out, "OMP_NUM_THREADS=1" in out) == (says, says)


def test_a_damaged_result_is_told(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["grid", "--config", str(recipe), "--activations", "keep", "--seeds", "1"]
    assert main([*words, "--num_train_epochs", "1", "--search_learning_rates", "1e-3"]) == 0
    (file,) = (tmp_path / "grid").glob("*/finetuning.json")
    file.write_text("{")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "grid")]) == 2
    assert "finetuning.json holds no result of 'raft finetune'" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_jobs_of_a_cluster_share_the_cells(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="needs submitit")
    jobs = []

    def submit(*arguments: Any) -> Any:
        jobs.append(slurm.submit(*arguments))
        return jobs[-1]

    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr("raft.cli.commands.grid.submit", submit)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main(["grid", "--config", str(recipe), "--slurm", "--processes", "2"]) == 0
    out = capsys.readouterr().out
    assert all(job.job_id in out for job in jobs)
    for job in jobs:
        job.result()
    assert len(jobs) == 2
    assert len(cells(tmp_path / "grid")) == 8
    assert main(["report", str(tmp_path / "grid")]) == 0
    assert "Differences to keep" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "rte", "rte"], "--tasks needs one or more different values"),
        (["--tasks", "trec"], "unknown task 'trec'"),
        (["--tunings", "half"], "--tuning must be one of full"),
        (["--seeds", "11"], "--seeds must be at most 10"),
        (["--processes", "0"], "--processes must be at least 1, not 0"),
        (["--slurm", "--slurm_nodes", "2"], "a grid's jobs have one GPU each"),
        (["--report_to", "carrier_pigeons"], "carrier_pigeons is not supported"),
    ],
)
def test_bad_input_is_told_in_one_line(
    words: list[str], message: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grid", "--config", str(recipe), *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_the_recipes_of_the_project_are_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = sorted((Path(__file__).parents[2] / "src" / "raft" / "recipes" / "grid").glob("*.yaml"))
    assert len(files) >= 2
    for file in files:
        # the size of a job is looked at when all else is in order
        words = ["--config", str(file), "--slurm", "--slurm_nodes", "2", "--output_dir", str(tmp_path)]
        assert main(["grid", *words]) == 2
        assert "a grid's jobs have one GPU each" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("is_raft", "activations", "cells"),
    [
        (False, ["keep", "raf"], {"keep full": 2, "keep bitfit": 2, "raf full": 4, "raf bitfit": 2}),
        (True, ["keep"], {"keep full": 4, "keep bitfit": 2}),
    ],
)
def test_rates_of_rafs_are_searched_where_there_are_rafs(
    is_raft: bool, activations: list[str], cells: dict[str, int], model: Path, tmp_path: Path
) -> None:
    raft.convert(AutoModel.from_pretrained(model)).save_pretrained(tmp_path / "raft")
    recipe = GridRecipe(
        ["rte"], [str(tmp_path / "raft" if is_raft else model)], activations, ["full", "bitfit"],
        search_seeds=1, search_learning_rates=[1e-4, 1e-3], search_raf_learning_rates=[1e-3, 1e-2],
    )  # fmt: skip
    grid = Grid(recipe, FinetuningRecipe(), RaftTrainingArguments(output_dir=str(tmp_path)))
    searched = grid.search_cells(CellFolder(tmp_path / "grid"))
    actual = Counter(f"{cell.options['activation']} {cell.options['tuning']}" for cell in searched)
    assert actual == cells
    rates = {(cell.options["tuning"], cell.options["raf_learning_rate"]) for cell in searched}
    assert {rate for tuning, rate in rates if tuning == "bitfit"} == {0}
    assert {rate for tuning, rate in rates if tuning == "full"} == (
        {1e-3, 1e-2} if is_raft else {0, 1e-3, 1e-2}
    )


def test_a_raft_is_not_compared_with_itself(
    recipe: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raft.convert(AutoModel.from_pretrained(model)).save_pretrained(tmp_path / "raft")
    capsys.readouterr()
    assert main(["grid", "--config", str(recipe), "--models", str(tmp_path / "raft")]) == 2
    assert (
        "has RAFs already, and nothing of it is converted: give --activations keep" in capsys.readouterr().err
    )
    assert main(["grid", "--config", str(recipe), "--activations", "keep", "--version", "B"]) == 2
    assert "--version is of a model that is converted" in capsys.readouterr().err


def test_tables_pair_by_seed_and_average_over_tasks() -> None:
    points = {
        ("cola", "keep"): [10.0, 20.0, 30.0], ("cola", "raf"): [12.0, 21.0, 36.0],
        ("rte", "keep"): [50.0, 60.0, 55.0], ("rte", "raf"): [50.0, 58.0, 55.0],
    }  # fmt: skip
    rates = {"keep": None, "raf": 5e-3}
    rows = [
        {"task": task, "model": "m", "activation": activation, "tuning": "full", "train_examples": "100",
         "seed": seed, "points": value, "constant": value == 50.0,
         "learning_rate": 1e-4 if task == "cola" else 2e-4, "raf_learning_rate": rates[activation]}
        for (task, activation), values in points.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    table = tabulate_scores(pd.DataFrame(rows))
    assert table.title.endswith("over 3 seeds; * some models predict one class for every input")
    assert [*table.cells] == ["activation", "cola", "rte", "average"]
    assert table.rows[0] == ["keep", "20.0 ± 10.0", "55.0 ± 5.0*", "37.5 ± 6.6*"]
    assert [row[0] for row in table.rows] == ["keep", "raf"]
    floors = {"cola": 0.0, "rte": 52.7}
    told = tabulate_scores(pd.DataFrame([{**row, "single_class": floors[str(row["task"])]} for row in rows]))
    assert told.rows[:2] == table.rows
    assert told.rows[2] == ["best single class", "0.0", "52.7", "26.4"]
    # a task whose answers are no classes has none, and so has the average
    partly = [{**row, "single_class": {"cola": 0.0}.get(str(row["task"]))} for row in rows]
    assert tabulate_scores(pd.DataFrame(partly)).rows[2] == ["best single class", "0.0", "", ""]
    differences = tabulate_differences(pd.DataFrame(rows))
    assert differences is not None
    ((name, cola, rte, average),) = differences.rows
    assert name == "raf"
    assert cola.startswith("+3.0 [")
    assert cola.endswith("p=0.250 3/0/0")
    assert rte.startswith("−0.7 [")
    assert rte.endswith("0/2/1*")  # a model of it predicts one class
    assert average.startswith("+1.2 [")
    chosen = tabulate_rates(pd.DataFrame(rows))
    assert chosen is not None
    assert chosen.rows == [["keep", "0.0001", "0.0002"], ["raf", "0.0001 / 0.005", "0.0002 / 0.005"]]
    # of one activation, models are compared
    models = [{**row, "model": row["activation"], "activation": "keep"} for row in rows]
    by_model = tabulate_differences(pd.DataFrame(models))
    assert by_model is not None
    assert by_model.rows == differences.rows
    assert tabulate_differences(pd.DataFrame(rows[:3])) is None
    assert "$\\pm$" in tabulate_scores(pd.DataFrame(rows)).latex()


def test_pretrained_models_are_compared_and_judged_untrained(
    glue: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = []
    for name in ("gelu", "raf"):
        for seed in (1, 2):
            folder = tmp_path / "pretrained" / f"{name}-{seed}"
            shutil.copytree(model, folder)
            result = PretrainingResult(name, seed, 1, 3.0, 6.0, 1.0, 1, 1, [(1, 1.0, 3.0)])
            (folder / "pretraining.json").write_text(json.dumps(asdict(result)))
            places.append(str(folder))
    (tmp_path / "snli").mkdir()
    snli = ["premise\thypothesis\tlabel", "anna is in the garden\tanna sees the garden\tentailment",
            "anna is in the garden\tanna sees the library\tneutral"]  # fmt: skip
    (tmp_path / "snli" / "test.tsv").write_text("\n".join(snli) + "\n")
    out = tmp_path / "grid"
    words = ["grid", "--tasks", "rte", "--models", *places, "--activations", "keep", "--sizes", "24",
             "--seeds", "2", "--data_dir", str(glue), "--num_train_epochs", "1", "--max_length", "24",
             "--transfer", "snli", "--transfer_data_dir", str(tmp_path)]  # fmt: skip
    words += ["--disable_tqdm", "true", "--output_dir", str(out)]
    assert main(words) == 0
    rows = pd.read_csv(out / "results.csv")
    assert Counter(rows.task) == {"rte": 8, "rte→snli": 8}
    assert dict(zip(rows.model, rows.pretrained, strict=True)) == {
        "gelu-1": "gelu", "gelu-2": "gelu", "raf-1": "raf", "raf-2": "raf",
    }  # fmt: skip
    assert set(rows[rows.task == "rte→snli"].points) <= {0.0, 50.0, 100.0}
    tables = (out / "tables.md").read_text()
    # the models are copies of one: none is better
    assert "| activation | rte | rte→snli |" in tables
    assert "| best single class |" in tables
    assert "| raf | 0.0 0/2/0* | 0.0 0/2/0* |" in tables
    assert main(["report", str(out)]) == 0
    assert "one a pretraining" in " ".join(capsys.readouterr().out.split())
    written = (out / "results.csv").read_bytes()
    (tmp_path / "pretrained").rename(tmp_path / "elsewhere")  # what was finished stays as it is
    is_raft.cache_clear()
    assert main(["report", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "one a pretraining" in " ".join(printed.split())
    assert f"As last written: cannot load {places[0]}" in printed
    with (out / "recipe.yaml").open("a") as recipe:  # of an older version
        recipe.write("raf_scaled_steps: true\n")
    assert main(["report", str(out)]) == 0
    assert "As last written: " in capsys.readouterr().out
    assert (out / "results.csv").read_bytes() == written
    assert main([*words[:-1], str(tmp_path / "new")]) == 2
    assert f"cannot load {places[0]}" in capsys.readouterr().err.replace("\n", " ")
    (tmp_path / "elsewhere").rename(tmp_path / "pretrained")
    for task, message in (("snlli", "unknown task 'snlli'"), ("squad", "cannot be judged on questions")):
        assert main([*words[:-1], str(tmp_path / task), "--transfer", task]) == 2
        assert message in capsys.readouterr().err.replace("\n", " ")
