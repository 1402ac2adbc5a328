"""``raft finetune`` as a user types it, on tiny files in the official layouts."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
)

import raft
from raft.analysis.snapshots import ParametricSnapshot, read_snapshots
from raft.cli.checkpoints import load_model
from raft.cli.main import main
from raft.coefficients.functions import FUNCTIONS
from raft.data.squad.questions import load_squad
from raft.data.squad.scores import score
from raft.hf import rationals
from raft.learned_activation import learned_activations
from raft.report.page.page import render_page
from raft.report.runs import build_section
from raft.training.arguments import CommandArguments
from tests.cli.conftest import PLACES

Run = Callable[..., tuple[int, str, str]]
QUIET = ["--report_to", "none", "--disable_tqdm", "true"]
FAST = ["--num_train_epochs", "4", "--per_device_train_batch_size", "8", "--learning_rate", "3e-3"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "160")

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["finetune", *(str(word) for word in words), *QUIET])
        done = capsys.readouterr()
        return status, done.out, done.err

    return command


def test_a_faft_becomes_a_raft_and_is_scored(run: Run, glue: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--task", "rte", "--data_dir", glue, "--model", model, "--output_dir", out, *FAST, "--seed", 7]
    status, printed, err = run(*words, "--activation", "raf", "--train_examples", 60, "--save_model", "true")
    assert (status, err) == (0, "")
    assert "encoder.layer.1.intermediate.intermediate_act_fn" in printed  # the conversion's report
    assert "RAFs" in printed
    result = json.loads((out / "finetuning.json").read_text())
    assert result["examples"] == {"train": 60, "validation": 30, "test (RTE)": 40}
    assert len(result["history"]) == 4
    assert result["history"][result["epoch"] - 1] == result["validation"] == max(result["history"])
    losses = [json.loads(line).get("loss") for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    lines = [line for line in printed.splitlines() if line.startswith("Epoch")]
    assert lines == [
        f"Epoch {epoch} of 4: loss {loss:.3f}, validation {points:.2f} points"
        for epoch, (loss, points) in enumerate(zip(losses, result["history"], strict=True), start=1)
    ]
    assert f"{result['tests']['RTE']:.2f}" in printed
    drawn = json.loads((out / "drawn.json").read_text())
    assert len(set(drawn["train_rows"])) == 60
    assert not set(drawn["train_rows"]) & set(drawn["validation_rows"])
    tuned = AutoModelForSequenceClassification.from_pretrained(out)
    assert tuned.config.id2label == {0: "entailment", 1: "not_entailment"}
    assert len(rationals(tuned)) == 3
    assert result["trained"]["RAFs"] == 30
    # what the RAFs were before and are after, and what they get; the tuned head is all that a pooler feeds
    snapshots, state = (load_file(out / name) for name in ("rafs.safetensors", "model.safetensors"))
    assert snapshots.pop("steps").tolist() == [0, result["epoch"] * 8]  # of 60 examples, 8 at a time
    before, after = ({name: stacked[i, 0] for name, stacked in snapshots.items()} for i in (0, 1))
    assert (
        set(before) == set(after) == {name for name in state if name.endswith(("numerator", "denominator"))}
    )
    assert all(torch.equal(after[name], state[name] * state[f"{name}_scale"]) for name in after)
    assert all((after[name] - before[name]).abs().max() > 0 for name in after)
    assert set(json.loads((out / "inputs.json").read_text())) == set(rationals(tuned))
    # its baseline draws the same examples; the recipe repeats the run
    baseline = tmp_path / "baseline"
    assert run(*words, "--train_examples", 60, "--output_dir", baseline)[0] == 0
    assert json.loads((baseline / "drawn.json").read_text()) == drawn
    assert not (baseline / "rafs.safetensors").exists()
    assert yaml.safe_load((out / "recipe.yaml").read_text())["activation"] == "raf"
    again = tmp_path / "again"
    assert run("--config", out / "recipe.yaml", "--output_dir", again)[0] == 0
    repeated = json.loads((again / "finetuning.json").read_text())
    assert {**repeated, "seconds": None} == {**result, "seconds": None}


@pytest.mark.parametrize("tuning", ["fixed", "bitfit-raf", "raf", "lora-raf"])
def test_modes_of_tuning(tuning: str, run: Run, glue: Path, model: Path, tmp_path: Path) -> None:
    if tuning.startswith("lora"):
        pytest.importorskip("peft")
    words = ["--task", "rte", "--data_dir", glue, "--model", model, "--output_dir", tmp_path / "out", *FAST]
    assert run(*words, "--activation", "raf-residual", "--tuning", tuning)[0] == 0
    site = "bert.encoder.layer.0.intermediate.intermediate_act_fn"
    before, after = load_file(tmp_path / "out" / "rafs.safetensors")[f"{site}.numerator"]
    assert torch.equal(before, torch.zeros(1, 6))
    assert (after.abs().max() > 0) == (tuning != "fixed")
    assert site in json.loads((tmp_path / "out" / "inputs.json").read_text())
    trained = json.loads((tmp_path / "out" / "finetuning.json").read_text())["trained"]
    assert (trained["RAFs"] > 0) == (tuning != "fixed")
    assert (trained.get("weights", 0) > 0) == (tuning == "fixed")


@pytest.mark.parametrize("activation", ["spline", "polynorm"])
def test_other_learned_functions_are_tuned(
    activation: str, run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    words = ["--task", "rte", "--data_dir", glue, "--model", model, "--output_dir", tmp_path / "out", *FAST]
    status, _, error = run(*words, "--activation", activation, "--save_model")
    assert (status, error) == (0, "")
    before, after = read_snapshots(tmp_path / "out")
    tuned = learned_activations(AutoModelForSequenceClassification.from_pretrained(tmp_path / "out"))
    assert set(after.rafs) == set(tuned)
    x = np.linspace(-3, 3, 31)
    for site, act in tuned.items():
        kept, started = after.rafs[site], before.rafs[site]
        assert act.name == activation
        if activation == "spline":
            assert np.array_equal(kept.values(x), act.values(x))
            assert kept.replaced is not None
            # it began as lines between values of the fixed function at knots a quarter apart
            expected = FUNCTIONS[kept.replaced](x)
            assert np.abs(started.values(x)[0] - expected).max() < 0.02
        else:
            assert isinstance(kept, ParametricSnapshot)
            assert isinstance(started, ParametricSnapshot)
            assert torch.equal(kept.act.coefficients()[0], act.coefficients()[0])
            assert not torch.equal(kept.act.coefficients()[0], started.act.coefficients()[0])
    result = json.loads((tmp_path / "out" / "finetuning.json").read_text())
    assert result["trained"]["RAFs"] == sum(p.numel() for act in tuned.values() for p in act.parameters())
    section = render_page([build_section(tmp_path / "out")])
    assert ("Not drawn: polynorm" in section) == (activation == "polynorm")


def test_questions_are_answered(run: Run, glue: Path, model: Path, tmp_path: Path) -> None:
    words = ["--task", "squad", "--data_dir", glue, "--model", model, "--output_dir", tmp_path / "out"]
    status, printed, err = run(*words, *FAST, "--num_train_epochs", 12, "--max_length", 40)
    assert (status, err) == (0, "")
    assert "exact" in printed
    result = json.loads((tmp_path / "out" / "finetuning.json").read_text())
    assert result["tests"]["SQuAD"] == result["parts"]["SQuAD"]["f1"] > 90
    questions = load_squad(glue / "squad", "validation", "1.1")
    answers = json.loads((tmp_path / "out" / "predictions" / "squad.json").read_text(encoding="utf-8"))
    assert score(answers, questions, "1.1")[1] == pytest.approx(result["tests"]["SQuAD"])
    drawn = json.loads((tmp_path / "out" / "drawn.json").read_text())
    assert (len(drawn["train_rows"]), drawn["validation_part"]) == (45, "train")
    assert sorted(drawn["train_rows"] + drawn["validation_rows"]) == list(range(60))


def test_one_file_of_questions_is_not_trained_on_and_scored_on_too(
    run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    file = glue / "squad" / "train-v1.1.json"
    status, _, err = run(
        "--task", "squad", "--data_dir", file, "--model", model, "--output_dir", tmp_path / "out"
    )
    assert (status, err.count("\n")) == (2, 1), err
    assert f"--data_dir {file} is one file, and a fine-tuning needs two" in err
    assert not (tmp_path / "out").exists()


def test_one_question_is_too_few_to_train_and_choose_on(
    run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(glue / "squad", tmp_path / "squad")
    file = tmp_path / "squad" / "train-v1.1.json"
    content = json.loads(file.read_text())
    del content["data"][0]["paragraphs"][1:]
    file.write_text(json.dumps(content))
    words = ["--task", "squad", "--data_dir", tmp_path, "--model", model, "--output_dir", tmp_path / "out"]
    status, _, err = run(*words)
    assert (status, err.count("\n")) == (2, 1), err
    assert "SQuAD has no training examples" in err


def test_predictions_are_written_for_the_server(run: Run, glue: Path, model: Path, tmp_path: Path) -> None:
    words = ["--task", "rte", "--data_dir", glue, "--model", model, "--output_dir", tmp_path / "out"]
    assert run(*words, *FAST, "--predict", "true")[0] == 0
    lines = (tmp_path / "out" / "predictions" / "RTE.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert len(lines) == 1 + len(PLACES)
    assert {line.split("\t")[1] for line in lines[1:]} <= {"entailment", "not_entailment"}
    assert list(json.loads((tmp_path / "out" / "finetuning.json").read_text())["tests"]) == ["RTE"]


def test_a_data_set_of_ones_own(run: Run, model: Path, tmp_path: Path) -> None:
    data = tmp_path / "reviews"
    data.mkdir()
    rows = [f"anna sees the old {place},{kind}" for place in PLACES for kind in ("good", "bad")]
    for part in ("train", "dev"):
        (data / f"{part}.csv").write_text("\n".join(["text,label", *rows * 8]) + "\n")
    (data / "test.csv").write_text("text\nanna is in the garden\na friend\n")
    words = ["--dataset", data, "--model", model, *FAST, "--num_train_epochs", 1, "--train_examples", "all"]
    status, out, err = run(*words, "--output_dir", tmp_path / "out")
    assert (status, err) == (0, "")
    assert "reviews, seed" in out
    count = len(rows) * 8
    expected = f"Examples: {count * 3 // 4} train, {count // 4} validation, {count} test ("
    assert expected in " ".join(out.split())
    assert "best single class 50.00" in out or "the same for every input" in out
    result = json.loads((tmp_path / "out" / "finetuning.json").read_text())
    no_better = [result["tests"][name] <= points for name, points in result["single_class"].items()]
    assert ("try more epochs" in out) == (bool(result["constant"]) or any(no_better))
    assert not (tmp_path / "out" / "predictions").exists()
    assert run(*words, "--predict", "true", "--output_dir", tmp_path / "predicted")[0] == 0
    lines = (tmp_path / "predicted" / "predictions" / "test.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == ["0", "1"]
    assert {line.split("\t")[1] for line in lines[1:]} <= {"good", "bad"}


def test_a_row_that_cannot_be_read_is_told_in_one_line(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "b\\ud800", "label": 1}\n')
    words = ["--dataset", tmp_path / "a.jsonl", "--model", model, "--output_dir", tmp_path / "out"]
    status, _, err = run(*words)
    assert (status, err.count("\n")) == (2, 1), err
    assert "a.jsonl, line 2: column 'text' holds half a character ('b\\ud800'); mend or remove it" in err


def test_patience_ends_a_training(run: Run, glue: Path, model: Path, tmp_path: Path) -> None:
    words = ["--task", "rte", "--data_dir", glue, "--model", model, "--output_dir", tmp_path / "out"]
    still = ["--num_train_epochs", 9, "--learning_rate", "1e-9", "--patience", 2]
    assert run(*words, *still)[0] == 0
    result = json.loads((tmp_path / "out" / "finetuning.json").read_text())
    assert (result["epoch"], len(result["history"])) == (1, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "accuracy"], "--metric is of --dataset, which is not given"),
        (["--task", "snli", "--predict", "true"], "snli has no test set without labels"),
        (["--task", "squad", "--stratified", "true"], "--stratified draws classes alike"),
        (["--task", "trec"], "unknown task 'trec'; known are cola, sst2"),
        (["--task", "mrpc"], "MRPC"),
        (
            ["--train_examples", "500"],
            "500 training examples are asked for, but the task has 90 to draw from",
        ),
        (["--train_examples", "few"], "--train_examples must be a number above 0 or 'all', not 'few'"),
        (["--tuning", "half"], "--tuning must be one of full, fixed"),
        (["--activation", "gelo"], "or the model's fixed function, not 'gelo'; the nearest is 'gelu'"),
        (["--activation", "relu"], "has gelu; give keep to train it as it is, or raf to convert it"),
        (["--tuning", "raf"], "--tuning raf trains RAFs alone"),
        (["--model", "/nowhere"], "/nowhere"),
        (["--activation", "raf", "--degrees", "5", "99"], "degrees"),
        (["--version", "B"], "--version is of a model that is converted"),
        (["--raf_sites", "ffn"], "--raf_sites is of a model that is converted"),
        (
            ["--activation", "raf", "--raf_sites", "conv"],
            "cannot be converted: BertForSequence",
        ),
        (["--activation", "raf", "--raf_sites", "attn"], "raf.sites must be taken from ffn"),
        (["--version", "B", "--activation", "swish"], "--version is of a model that is converted"),
        (["--max_length", "2"], "--max_length must be at least 8, not 2"),
        (["--metric_for_best_model", "accuracy"], "are not needed"),
        (["--split", "mine"], "--split must be one of paper, official, not 'mine'"),
    ],
)
def test_bad_input_is_told_in_one_line(
    words: list[str], message: str, run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    common = ["--task", "rte", "--data_dir", glue, "--model", model, "--output_dir", tmp_path / "out"]
    status, _, err = run(*common, *words)
    assert (status, err.count("\n")) == (2, 1), err
    assert message in err
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_be_tuned_are_told_in_one_line(
    run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    words = ["--task", "rte", "--data_dir", glue, "--output_dir", tmp_path / "out"]
    bare, damaged, small, rafts = (tmp_path / name for name in ("bare", "damaged", "small", "raft"))
    head = AutoModelForSequenceClassification.from_pretrained(model)
    head.save_pretrained(bare)
    shutil.copytree(model, damaged)
    (damaged / "model.safetensors").write_bytes(b"half of a file")
    tokenizer = AutoTokenizer.from_pretrained(model)
    config = copy.deepcopy(head.config)
    config.vocab_size = 10
    AutoModelForSequenceClassification.from_config(config).save_pretrained(small)
    tokenizer.save_pretrained(small)
    raft.convert(head).save_pretrained(rafts)
    tokenizer.save_pretrained(rafts)
    for place, message in (
        (bare, "has no tokenizer: save the model's there too"),
        (damaged, f"cannot load {damaged}"),
        (small, "tokens, but the model's vocab_size is 10"),
        (rafts, "has RAFs already, which --activation keep trains as they are"),
    ):
        status, _, err = run(*words, "--model", place, "--activation", "raf")
        assert (status, err.count("\n")) == (2, 1), err
        assert message in err
    assert not (tmp_path / "out").exists()
    # what was tuned before, and not kept
    assert run(*words, "--model", model, *FAST)[0] == 0
    status, _, err = run(*words[:-1], tmp_path / "next", "--model", tmp_path / "out")
    assert (status, "run it again with --save_model true" in err) == (2, True)


def test_a_service_that_is_not_there_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--report_to", "carrier_pigeons", "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2
    assert "carrier_pigeons is not supported" in capsys.readouterr().err


SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "pad_token_id": 0, "attention_window": 4,
}  # fmt: skip


def short_model(kind: str, positions: int, tokenizer_of: Path, folder: Path, head: Any = AutoModel) -> Path:
    """A model of few positions, with a tokenizer that says nothing of them."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    size = {
        name: value for name, value in SMALL.items() if name != "attention_window" or kind == "longformer"
    }
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), max_position_embeddings=positions, type_vocab_size=2, **size
    )
    head.from_config(config).save_pretrained(folder)
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("task", "kind", "positions"),
    [
        ("rte", "bert", 10),
        ("squad", "bert", 15),
        ("rte", "roberta", 10),
        ("squad", "roberta", 16),
        ("rte", "xlm-roberta", 10),
        ("rte", "camembert", 10),
        ("rte", "longformer", 10),
        ("rte", "mpnet", 10),
        ("squad", "mpnet", 17),
    ],
)
def test_inputs_are_cut_to_what_a_model_has_positions_for(
    task: str, kind: str, positions: int, run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    short = short_model(kind, positions, model, tmp_path / "short")
    words = ["--task", task, "--data_dir", glue, "--model", short, "--num_train_epochs", 1]
    status, _, err = run(*words, "--output_dir", tmp_path / "out")
    assert (status, err) == (0, "")


def test_inputs_of_a_grid_and_of_a_transfer_are_cut_too(
    glue: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = short_model("roberta", 10, model, tmp_path / "short", AutoModelForSequenceClassification)
    grid = ["grid", "--tasks", "rte", "--models", str(short), "--activations", "keep", "raf", "--sizes", "20"]
    grid += ["--seeds", "1", "--data_dir", str(glue), "--num_train_epochs", "1", *QUIET]
    assert main([*grid, "--output_dir", str(tmp_path / "grid")]) == 0, capsys.readouterr().err
    words = ["transfer", "--task", "rte", "--data_dir", str(glue), "--model", str(short)]
    names = ["--labels", "LABEL_0=entailment", "LABEL_1=not_entailment"]
    assert main([*words, *names]) == 0, capsys.readouterr().err


def test_inputs_of_an_adapter_are_cut_to_its_base_models_positions(
    glue: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peft = pytest.importorskip("peft")
    short = short_model("roberta", 10, model, tmp_path / "short", AutoModelForSequenceClassification)
    base = AutoModelForSequenceClassification.from_pretrained(short)
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"])
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(short).save_pretrained(tmp_path / "adapter")
    words = ["transfer", "--task", "rte", "--data_dir", str(glue), "--model", str(tmp_path / "adapter")]
    names = ["--labels", "LABEL_0=entailment", "LABEL_1=not_entailment"]
    assert main([*words, *names]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("activation", ["keep", "raf"])
@pytest.mark.parametrize("task", ["rte", "squad"])
def test_models_that_take_no_attention_mask_are_tuned(
    task: str, activation: str, run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.model_input_names = ["input_ids", "token_type_ids"]
    config = AutoConfig.for_model("fnet", vocab_size=len(tokenizer), max_position_embeddings=48, **SMALL)
    AutoModel.from_config(config).save_pretrained(tmp_path / "fnet")
    tokenizer.save_pretrained(tmp_path / "fnet")
    words = ["--task", task, "--data_dir", glue, "--model", tmp_path / "fnet", "--num_train_epochs", 1]
    status, _, err = run(*words, "--activation", activation, "--output_dir", tmp_path / "out")
    assert (status, err) == (0, "")


@pytest.fixture
def three_way(tmp_path: Path) -> Path:
    rows = [{"text": f"anna is in the {place}", "label": place} for place in PLACES[:3]] * 10
    path = tmp_path / "three_classes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_head_with_another_number_of_outputs_is_replaced(
    kind: str, outputs: int, run: Run, three_way: Path, model: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(model)
    size = {**SMALL, "max_position_embeddings": 48, "vocab_size": len(tokenizer), "num_labels": outputs}
    del size["attention_window"]
    config = AutoConfig.for_model(kind, **size)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "tuned")
    tokenizer.save_pretrained(tmp_path / "tuned")
    words = ["--model", tmp_path / "tuned", "--num_train_epochs", 1, "--save_model", "true"]
    for place in ("a", "b"):
        status, _, err = run("--dataset", three_way, *words, "--output_dir", tmp_path / place)
        assert status == 0, err
    line = f"the head of {tmp_path / 'tuned'} has {outputs} outputs and the task needs 3: it gets a new one ("
    assert [record.getMessage().startswith(line) for record in caplog.records if record.name == "raft"] == [
        True,
        True,
    ]
    first, second = (load_file(tmp_path / place / "model.safetensors") for place in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)  # new weights are the seed's
    result = json.loads((tmp_path / "a" / "finetuning.json").read_text())
    assert result["trained"]["head"] > 0


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("task", ["squad", "stsb"])
def test_a_tuned_model_is_tuned_on_another_kind_of_task(
    task: str, outputs: int, run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    head = AutoModelForSequenceClassification.from_pretrained(model, num_labels=outputs)
    head.save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "tuned")
    rows = [f"0\ta\tb\tc\td\te\tf\tanna is here\tanna sees\t{i % 6}" for i in range(24)]
    header = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
    (tmp_path / "STS-B").mkdir()
    for part in ("train", "dev"):
        (tmp_path / "STS-B" / f"{part}.tsv").write_text("\n".join([header, *rows]) + "\n")
    words = ["--task", task, "--data_dir", glue if task == "squad" else tmp_path, "--num_train_epochs", 1]
    status, _, err = run(*words, "--model", tmp_path / "tuned", "--output_dir", tmp_path / "out")
    assert status == 0, err


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("bert.embeddings.word_embeddings.weight", [9, 32]),
        ("bert.encoder.layer.0.intermediate.intermediate_act_fn.numerator", [4]),
        ("classifier.weight", [2, 9]),
    ],
    ids=["embeddings", "RAF", "head of another width"],
)
def test_nothing_but_the_outputs_of_a_head_may_have_another_shape(
    name: str, shape: list[int], run: Run, three_way: Path, model: Path, tmp_path: Path
) -> None:
    head = raft.convert(AutoModelForSequenceClassification.from_pretrained(model))
    head.save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "tuned")
    file = tmp_path / "tuned" / "model.safetensors"
    save_file({**load_file(file), name: torch.zeros(shape)}, file, {"format": "pt"})
    words = ["--dataset", three_way, "--model", tmp_path / "tuned", "--output_dir", tmp_path / "out"]
    status, _, err = run(*words)
    assert (status, err.count("\n")) == (2, 1), err
    assert name in err
    assert str(shape) in err
    assert not (tmp_path / "out").exists()


def test_a_decoder_without_a_padding_token_is_tuned(
    run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    size: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 48, "eos_token_id": 3}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size)).save_pretrained(tmp_path / "gpt2")
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    tokenizer.save_pretrained(tmp_path / "gpt2")
    words = ["--task", "rte", "--data_dir", glue, "--model", tmp_path / "gpt2", "--num_train_epochs", 1]
    status, _, err = run(*words, "--output_dir", tmp_path / "out", "--activation", "raf")
    assert (status, err) == (0, "")


@pytest.mark.parametrize("tuning", ["lora", "lora-raf"])
def test_a_saved_model_needs_no_adapter(
    tuning: str, run: Run, glue: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    tuned, data = tmp_path / "tuned", ["--task", "rte", "--data_dir", glue]
    words = [*data, "--model", model, "--activation", "raf", "--tuning", tuning, "--raf_learning_rate", "0.1"]
    assert run(*words, "--output_dir", tuned, *FAST, "--save_model", "true")[0] == 0
    loaded = AutoModelForSequenceClassification.from_pretrained(tuned)
    assert len(rationals(loaded)) == 3
    assert loaded.config.id2label == {0: "entailment", 1: "not_entailment"}
    result = json.loads((tuned / "finetuning.json").read_text())
    snapshots = load_file(tuned / "rafs.safetensors")
    assert len(snapshots.pop("steps")) == 2
    state = loaded.state_dict()
    for name, values in snapshots.items():
        assert torch.equal(values[-1], torch.atleast_2d(state[name] * state[f"{name}_scale"]))
    out = tmp_path / "scores.json"
    assert main(["transfer", *map(str, data), "--model", str(tuned), "--out", str(out)]) == 0
    (actual,) = json.loads(out.read_text())["scores"].values()
    assert actual["points"] == pytest.approx(result["tests"]["RTE"])


def test_an_adapter_of_rafs_is_saved_as_a_model_with_residual_ones(
    run: Run, glue: Path, model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    tuned, words = tmp_path / "tuned", ["--task", "rte", "--data_dir", glue, "--model", model]
    words += ["--tuning", "raf-adapter:groups=4", "--raf_learning_rate", "0.1", "--save_model", "true"]
    assert run(*words, "--output_dir", tuned, *FAST)[0] == 0
    loaded = rationals(AutoModelForSequenceClassification.from_pretrained(tuned))
    trained = json.loads((tuned / "finetuning.json").read_text())["trained"]
    assert trained["adapter"] == sum(p.numel() for act in loaded.values() for p in act.parameters()) > 0
    snapshots = load_file(tuned / "rafs.safetensors")
    for site, act in loaded.items():
        numerator, _ = act.coefficients()
        assert torch.equal(snapshots[f"{site}.numerator"][-1], numerator)
        assert numerator.abs().max() > 0
        assert site in json.loads((tuned / "inputs.json").read_text())


@pytest.mark.parametrize("tuning", ["raf-adapter:groups=4", "raf-bottleneck:r=2", "lora:r=1"])
def test_an_adapter_is_saved_by_itself(
    tuning: str, run: Run, glue: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    tuned, words = tmp_path / "tuned", ["--task", "rte", "--data_dir", glue, "--model", model]
    words += ["--tuning", tuning, "--raf_learning_rate", "0.1", "--save_model", "true", "--output_dir", tuned]
    assert run(*words, *FAST)[0] == 0
    assert load_model(str(tuned / "adapter"), keeps_adapter=True)[1] == []  # as raft inspect reads it
    card = (tuned / "adapter" / "README.md").read_text()
    assert f"`raft finetune --tuning {tuning}`" in card
    assert "library_name: peft" in card
    monkeypatch.chdir(tuned)
    shown: dict[str, Any] = {}
    exec(card.partition("```python")[2].partition("```")[0], shown)
    alone, ids = shown["model"].eval(), torch.arange(20, 40)[None]
    with torch.no_grad():
        actual = alone(input_ids=ids).logits
        if tuning.startswith("raf-bottleneck"):
            assert not (tuned / "model.safetensors").exists()
            return
        merged = AutoModelForSequenceClassification.from_pretrained(tuned).eval()
        torch.testing.assert_close(merged(input_ids=ids).logits, actual, rtol=1e-4, atol=1e-5)


def test_an_adapter_of_a_converted_model_is_not_judged_without_its_rafs(
    glue: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peft = pytest.importorskip("peft")
    head = AutoModelForSequenceClassification.from_pretrained(model)
    converted = raft.convert(head)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", target_modules=["query"], modules_to_save=raft.peft_modules(converted)
    )
    peft.get_peft_model(converted, config).save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "adapter")
    capsys.readouterr()
    words = ["transfer", "--task", "rte", "--data_dir", str(glue), "--model", str(tmp_path / "adapter")]
    assert main(words) == 2
    assert "holds RAFs for a model that has none" in capsys.readouterr().err


def test_a_tuned_model_is_judged_on_another_task(
    run: Run, glue: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = tmp_path / "tuned"
    common = ["--data_dir", glue, "--model", model, "--output_dir", tuned, *FAST]
    assert run("--task", "rte", *common, "--num_train_epochs", 12, "--save_model", "true")[0] == 0
    (tmp_path / "snli").mkdir()
    rows = ["premise\thypothesis\tlabel"]
    for first in PLACES:
        for number, second in enumerate(PLACES):
            label = "entailment" if first == second else ("neutral", "contradiction")[number % 2]
            rows.append(f"anna is in the {first}\tanna sees the {second}\t{label}")
    (tmp_path / "snli" / "test.tsv").write_text("\n".join(rows) + "\n")
    words = ["transfer", "--model", str(tuned), "--task", "snli", "--data_dir", str(tmp_path / "snli")]
    assert main([*words, "--out", str(tmp_path / "scores.json")]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    # what it says of the pairs is what it is scored by
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    loaded = AutoModelForSequenceClassification.from_pretrained(tuned).eval()
    pairs = [row.split("\t") for row in rows[1:]]
    batch = tokenizer([p[0] for p in pairs], [p[1] for p in pairs], return_tensors="pt", padding=True)
    said = loaded(**batch).logits.argmax(-1).tolist()
    right = sum((number == 0) == (pair[2] == "entailment") for number, pair in zip(said, pairs, strict=True))
    (actual,) = scores.values()
    assert actual["points"] == pytest.approx(100 * right / len(pairs))
    assert f"{actual['points']:.2f}" in capsys.readouterr().out
    for wrong, message in (
        (["--task", "stsb"], "STS-B"),
        (["--model", str(model)], "has no tuned head"),
        (["--labels", "entailment"], "--labels takes name=name"),
        (["--labels", "not_entailment=odd"], "no mapping is known"),
    ):
        capsys.readouterr()
        assert main([*words, *wrong]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert message in err


@pytest.mark.parametrize(("command", "advice"), [("finetune", "start it"), ("grid", "give --processes")])
def test_a_launcher_of_processes_is_refused(
    command: str, advice: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CommandArguments, "world_size", 2)
    assert main([command, "--output_dir", "never"]) == 2
    said = capsys.readouterr().err
    assert f"raft {command} trains in one process, and a launcher started 2" in said
    assert advice in said
