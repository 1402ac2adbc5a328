"""``raft report`` as a user types it: every kind of run, alone and together, and folders that hold none."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from raft.cli.main import main
from tests.report import run_folders


def text(page: Path) -> str:
    """What is read of it, without data, styles and scripts."""
    html = page.read_text(encoding="utf-8")
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_several_runs_become_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [
        run_folders.demo(tmp_path / "a-demo"),
        run_folders.pretraining(tmp_path / "pretrained"),
        run_folders.grid(tmp_path / "a-grid"),
    ]
    assert main(["report", *map(str, made), "--out", str(tmp_path / "new" / "page.html")]) == 0
    printed = capsys.readouterr().out
    assert "networks that learned" in printed
    assert "perplexity" in printed
    assert "Differences to keep" in printed
    assert "After 100 steps raf is 0.562 nats below gelu." in printed
    page = tmp_path / "new" / "page.html"
    html = page.read_text(encoding="utf-8")
    assert html.count("<section") == html.count('class="viewer"') == 3
    assert len(html.encode()) < 1_000_000
    # it needs nothing beside it: no address but within the page, and a name that looks like one
    html = html.replace('"http://www.w3.org/2000/svg"', "")
    assert "http:" not in html
    assert "https:" not in html
    assert set(re.findall(r'\b(?:src|href)="([^"#]*)', html)) == {"", "data:,"}
    assert not re.search(r"@import|url\((?!#)|<(?:img|iframe|object|embed|base)\b", html)
    actual = text(page)
    for needed in (
        "2 of 2 networks", "raft demo --max_steps 100",  # of the demo
        "4 runs", "of 100 steps", "−0.562", "321 documents", "raft pretrain --compare raf,gelu",
        "9 fine-tunings of 1 model", "+2.0 p=0.250 3/0/0",
    ):  # fmt: skip
        assert needed in actual
    assert sorted(path.name for path in page.parent.iterdir()) == ["page.html"]


@pytest.mark.slow
def test_figures_for_papers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [
        run_folders.grid(tmp_path / "grid", seeds=2),
        run_folders.pretraining(tmp_path / "pretrained"),
        run_folders.grid(tmp_path / "other" / "grid", seeds=1),
    ]
    figures = tmp_path / "figures"
    assert main(["report", *map(str, made), "--figures", str(figures)]) == 0
    files = {file.name: file.read_bytes() for file in figures.iterdir()}
    beginnings = {".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG", ".gif": b"GIF8"}
    assert all(content.startswith(beginnings[Path(name).suffix]) for name, content in files.items())
    stems = {Path(name).stem for name in files}
    assert f"{len(stems)} figures are in {figures}" in capsys.readouterr().out
    assert all({f"{stem}.pdf", f"{stem}.svg", f"{stem}.png"} <= set(files) for stem in stems)
    for needed in (
        "grid-scores-of-each-task",
        "pretrained-validation-losses",
        "grid-layer-0",
        "-distances-between",
    ):
        assert any(needed in stem for stem in stems)
    # two folders have the same name
    distances = "grid-distances-between-the-learned-functions"
    assert {distances, f"{distances}-2"} <= stems
    # the same again, to the byte
    again = tmp_path / "again"
    assert main(["report", *map(str, made[:2]), "--figures", str(again)]) == 0
    repeated = {file.name: file.read_bytes() for file in again.iterdir()}
    assert len(repeated) >= 12
    assert repeated.items() <= files.items()
    blocked = tmp_path / "file"
    blocked.write_text("")
    capsys.readouterr()
    assert main(["report", str(made[0]), "--figures", str(blocked)]) == 2
    assert "cannot write to" in one_line(capsys)


def test_the_page_lies_in_the_first_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folders.pretraining(tmp_path / "pretrained")
    assert main(["report", str(folder)]) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    alone = folder / "raf-2022"
    assert main(["report", str(alone)]) == 0
    assert "unigram model" in capsys.readouterr().out
    actual = text(alone / "report.html")
    assert "1 run of 100 steps" in actual
    assert "hidden_size: 64" in actual
    # a model with a fixed activation has nothing to look into
    assert main(["report", str(folder / "gelu-2022")]) == 0
    assert (
        "viewer"
        not in (folder / "gelu-2022" / "report.html").read_text().split("</style>")[1].split("<script")[0]
    )


def test_a_fine_tuning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folders.finetuning(tmp_path / "tuned")
    assert main(["report", str(folder)]) == 0
    row = r"MRPC +accuracy 78\.95, f1 81\.25 +the same for every input +80\.10"
    assert re.search(row, capsys.readouterr().out)
    actual = text(folder / "report.html")
    for needed in (
        "bert-base-uncased, converted (raf), tuned on 100 examples of mrpc (seed 7)", "80.10 points",
        "best after epoch 2 of 3", "The model says the same of every input of MRPC.",
        "raft finetune --config recipe.yaml", "to the fixed function", "to its start",
    ):  # fmt: skip
        assert needed in actual
    (folder / "finetuning.json").write_text('{"task": "mrpc"}')
    assert main(["report", str(folder)]) == 2
    assert "holds no result of 'raft finetune'" in one_line(capsys)


def test_the_results_that_are_kept_of_a_grid_are_left_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folders.grid(tmp_path / "grid")
    (folder / "recipe.yaml").write_text(
        "tasks: [rte]\nmodels: [runs/minilm]\nactivations: [keep, raf]\nseeds: 9\n"
    )
    rows = (folder / "results.csv").read_bytes()
    tables = (folder / "tables.md").read_bytes()
    for name in ("tables.md", "tables.tex"):
        (folder / name).unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "results.csv").read_bytes() == rows
    assert (folder / "tables.md").read_bytes() == tables
    assert (folder / "tables.tex").is_file()
    assert "The grid is not finished: it will be" not in text(folder / "report.html")
    # the cells of the search are no result
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "7e-07" not in html
    for name in ("raf-0", "raf-1", "raf-2", "raf-residual-0", "raf-residual-1", "raf-residual-2"):
        shutil.rmtree(folder / name)
    assert main(["report", str(folder)]) == 0
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "7e-07" in html
    assert "search for learning rates" in html
    shutil.rmtree(folder / "searched")
    assert main(["report", str(folder)]) == 0
    assert "What was learned" not in text(folder / "report.html")


@pytest.mark.slow
def test_a_page_of_very_many_runs_stays_small(tmp_path: Path) -> None:
    folder = run_folders.grid(tmp_path / "grid", seeds=2)
    options = json.loads((folder / "raf-1" / "cell.json").read_text())
    run_folders.snapshots(folder / "raf-1", list(range(0, 400, 5)), run_folders.LAYERS)
    seeds = range(100, 140)
    for seed in seeds:
        shutil.copytree(folder / "raf-1", folder / f"raf-{seed}")
        (folder / f"raf-{seed}" / "cell.json").write_text(json.dumps({**options, "seed": seed}))
    with (folder / "results.csv").open("a") as file:
        header, *rows = (folder / "results.csv").read_text().splitlines()
        place = header.split(",").index("seed")
        (row,) = [row.split(",") for row in rows if ",raf," in row and row.split(",")[place] == "1"]
        for seed in seeds:
            file.write(",".join([*row[:place], str(seed), *row[place + 1 :]]) + "\n")
    assert main(["report", str(folder)]) == 0
    page = folder / "report.html"
    assert 1_000_000 < page.stat().st_size < 5_000_000
    (left_out,) = re.findall(r"(\d+) more runs with RAFs are left out", text(page))
    assert "Drawn are" in text(page)
    shown = page.read_text().count('"settings":')
    assert shown + int(left_out) == len(list(folder.glob("raf*/cell.json")))
    # and so does one of several of them
    assert main(["report", *[str(folder)] * 2]) == 0
    assert page.stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: run"),
        (["nowhere"], "there is no folder nowhere"),
        (["empty"], "empty holds no run: no results.json of 'raft demo'"),
        (["demo", "empty"], "empty holds no run"),
        (["begun"], "begun is no finished run, but holds some: raft report begun/demo"),
        (["bench"], "bench/results.json holds no results of 'raft demo'"),
        (["demo", "--pdf"], "unknown option '--pdf'"),
        (["demo", "--out", "/"], "cannot write to /: it is a folder"),
        (["demo", "--out", "x", "--figures", "x"], "--out and --figures are both x"),
    ],
)
def test_bad_input_is_told_in_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "results.json").write_text('{"rows": [{"kernel": "raft"}]}')
    run_folders.demo(tmp_path / "demo")
    run_folders.demo(tmp_path / "begun" / "demo")
    assert main(["report", *words]) == 2
    assert message in one_line(capsys)
    assert not list(tmp_path.rglob("report.html"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("demo/results.json", '{"runs": []', "demo/results.json holds no results of 'raft demo'"),
        ("demo/rafs.safetensors", "torn", "cannot read"),
        ("pretrained/comparison.json", "[]", "holds no comparison of 'raft pretrain'"),
        ("pretrained/raf-2022/recipe.yaml", "a: [", "recipe.yaml holds no recipe"),
        ("pretrained/raf-2022/rafs.safetensors", "", "cannot read"),
        ("pretrained/raf-2022/inputs.json", '{"a": 1}', "holds no histograms of inputs"),
        ("grid/results.csv", "task,points\nrte,1\n", "holds no results of a grid: it has no column"),
        ("grid/results.csv", "", "cannot read"),
        ("grid/raf-0/cell.json", "{", "holds no options of a cell"),
    ],
)
def test_a_damaged_file_is_named(
    file: str, content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folders.demo(tmp_path / "demo")
    run_folders.pretraining(tmp_path / "pretrained")
    run_folders.grid(tmp_path / "grid")
    (tmp_path / file).write_text(content)
    assert main(["report", str(tmp_path / file.partition("/")[0])]) == 2
    err = one_line(capsys)
    assert message in err
    assert Path(file).name in err
    assert not list(tmp_path.rglob("report.html"))


@pytest.mark.parametrize("objective", ["mlm", "clm"])
def test_the_page_lists_the_options_that_count(tmp_path: Path, objective: str) -> None:
    folder = run_folders.pretraining(tmp_path / "runs")
    for file in folder.glob("*/recipe.yaml"):
        file.write_text(
            f"objective: {objective}\nactivation: raf\ndeepnorm: true\nmlm_probability: 0.15\nmax_steps: 9\n"
        )
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    shown = text(tmp_path / "page.html")
    assert "max_steps: 9" in shown
    for name in ("deepnorm", "mlm_probability"):
        assert (name in shown) == (objective == "mlm")
