"""A pretraining ends with tests on minimal pairs, and takes samples of them along the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from raft.errors import InputError
from raft.evaluation.callback import PairsCallback
from raft.evaluation.tasks import evaluate
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.run import PretrainingResult, read_text, run
from raft.pretraining.zero_shot import open_tests, parse_tests
from raft.training.arguments import RaftTrainingArguments

GPT2 = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 32}


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        (None, {}),
        ("zorro", {"zorro": None}),
        ("blimp=a/b, zorro=c", {"blimp": "a/b", "zorro": "c"}),
    ],
)
def test_what_is_named(text: str | None, tests: dict[str, str | None]) -> None:
    assert parse_tests(text) == tests


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zoro", "--evaluate takes blimp and zorro, not 'zoro'; the nearest is 'zorro'"),
        ("lambada", "--evaluate takes blimp and zorro, not 'lambada'"),
        ("zorro,zorro=a", "--evaluate names zorro twice"),
        ("zorro,", "--evaluate takes blimp and zorro, not ''"),
    ],
)
def test_other_tests_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PretrainingRecipe(activation="gelu", evaluate=text).check()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    texts = [f"the {i % 7} foxes of number {i % 5} jump over {i % 3} lazy dogs ." for i in range(400)]
    (folder / "texts.txt").write_text("\n\n".join(texts))
    pairs = folder / "zorro"
    pairs.mkdir()
    for name in ("order-of_words", "order-of_ends"):
        lines = [
            line for i in range(6) for line in (f"dogs lazy {i} over the jump", f"the {i} foxes jump over")
        ]
        (pairs / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def train(
    data: Path, folder: Path, evaluate: bool, sample: int = 0, steps: int = 40, items: int | None = None
) -> PretrainingResult:
    values: dict[str, Any] = {"sequence_length": 16, "vocab_size": 280, "global_batch_size": 8}
    recipe = PretrainingRecipe(
        corpus=str(data / "texts.txt"), tokenizer="train", objective="clm", architecture="gpt2", model=GPT2,
        validation_sequences=20, evaluate=f"zorro={data / 'zorro'}" if evaluate else None,
        evaluate_along=sample, evaluate_items=items, **values,
    )  # fmt: skip
    recipe.check()
    arguments = RaftTrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=8, learning_rate=1e-2, seed=1,
        eval_strategy="steps", eval_steps=10, save_steps=10, report_to="none", disable_tqdm=True,
        use_cpu=True,
    )  # fmt: skip
    return run(
        recipe,
        arguments,
        read_text(recipe),
        tests=open_tests(recipe.evaluate, recipe.evaluate_items, recipe.evaluate_along),
    )


def test_accuracies_are_those_of_the_saved_model(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path, evaluate=True, sample=3)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    expected = evaluate(model, tokenizer, "zorro", str(data / "zorro")).overall.by_sum.value  # type: ignore[union-attr]
    assert result.accuracies == {"zorro": expected}
    assert expected > 0.9  # of all texts one begins as the right sentences do
    assert json.loads((tmp_path / "zorro.json").read_text())["overall"]["by_sum"]["value"] == expected
    (history,) = result.accuracy_history.values()
    assert [step for step, _ in history] == [10, 20, 30, 40]
    assert history[-1][1] > 0.9


def test_unigrams_are_tested_on_the_same_pairs(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path, evaluate=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    recipe = PretrainingRecipe(
        corpus=str(data / "texts.txt"), tokenizer="train", objective="clm", architecture="gpt2", model=GPT2,
        validation_sequences=20, sequence_length=16, vocab_size=280,
    )  # fmt: skip
    counts = np.ones(len(tokenizer))
    np.add.at(counts, read_text(recipe).sequences.ravel(), 1)
    nats = -np.log(counts / counts.sum())
    lines = (data / "zorro" / "order-of_words.txt").read_text().splitlines()
    wrong, right = ([nats[tokenizer(line)["input_ids"]].sum() for line in lines[i::2]] for i in (0, 1))
    expected = np.mean([a < b for a, b in zip(right, wrong, strict=True)])
    assert result.unigram_accuracies == {"zorro": pytest.approx(expected)}


def test_tests_change_no_bit_of_the_training(data: Path, tmp_path: Path) -> None:
    tested = train(data, tmp_path / "tested", evaluate=True, sample=3)
    plain = train(data, tmp_path / "plain", evaluate=False)
    assert tested.loss == plain.loss
    assert plain.accuracies == {}
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("tested", "plain"))
    assert first == second


def test_a_run_that_finished_without_a_test_is_tested_when_asked(data: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(data, tmp_path / "data")
    plain = train(tmp_path / "data", run_folder, evaluate=False)
    later = train(tmp_path / "data", run_folder, evaluate=True)
    assert plain.accuracies == {} != later.accuracies
    assert PretrainingResult.read(run_folder) == later
    (run_folder / "model.safetensors").unlink()
    assert train(tmp_path / "data", run_folder, evaluate=True) == later  # not tested again


def test_a_run_of_an_older_recipe_goes_on(data: Path, tmp_path: Path) -> None:
    before = train(data, tmp_path, evaluate=False)
    file = tmp_path / "recipe.yaml"
    recipe = yaml.safe_load(file.read_text())
    assert recipe.pop("attention_within_documents") is False  # an option that there was not
    file.write_text(yaml.safe_dump(recipe))
    assert train(data, tmp_path, evaluate=False) == before
    file.write_text(yaml.safe_dump({**recipe, "attention_within_documents": True}))
    with pytest.raises(InputError, match="--attention_within_documents was True and is False"):
        train(data, tmp_path, evaluate=False)


def test_a_run_that_was_tested_on_other_pairs_is_tested_again(data: Path, tmp_path: Path) -> None:
    whole = train(data, tmp_path, evaluate=True)
    assert whole.pairs == {"zorro": 12}
    again = train(data, tmp_path, evaluate=True, items=2)
    assert again.pairs == {"zorro": 4}
    assert json.loads((tmp_path / "zorro.json").read_text())["overall"]["items"] == 4
    assert train(data, tmp_path, evaluate=True, items=2) == again


def test_a_run_that_was_tested_on_as_many_other_pairs_is_tested_again(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    before = train(tmp_path / "data", tmp_path / "run", evaluate=True)
    for file in (tmp_path / "data" / "zorro").iterdir():
        lines = file.read_text().splitlines()
        file.write_text("\n".join(lines[i ^ 1] for i in range(len(lines))) + "\n")  # the other one is right
    after = train(tmp_path / "data", tmp_path / "run", evaluate=True)
    assert after.accuracies["zorro"] == pytest.approx(1 - before.accuracies["zorro"])
    assert after.unigram_accuracies["zorro"] == pytest.approx(1 - before.unigram_accuracies["zorro"])


def test_a_sentence_that_is_too_long_is_refused_before_the_training(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    file = tmp_path / "data" / "zorro" / "order-of_ends.txt"
    file.write_text(file.read_text() + "the jump " * 40 + "\nthe foxes jump\n")
    with pytest.raises(InputError, match="the model takes 32 tokens, but a sentence has"):
        train(tmp_path / "data", tmp_path / "run", evaluate=True)
    assert not (tmp_path / "run").exists()


def test_a_run_with_checkpoints_is_not_removed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: PairsCallback, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 30:
            raise InputError("a score is not finite")

    monkeypatch.setattr(PairsCallback, "on_evaluate", refuse)
    with pytest.raises(InputError, match="a score is not finite"):
        train(data, tmp_path / "run", evaluate=True, sample=2)
    assert (tmp_path / "run" / "checkpoint-20").is_dir()


def test_so_many_pairs_are_tested_as_asked_for(data: Path) -> None:
    test = open_tests(f"zorro={data / 'zorro'}", items=2, along=1)["zorro"]
    assert [len(paradigm.pairs) for paradigm in test.paradigms] == [2, 2]
    assert test.sample is not None
    assert open_tests(f"zorro={data / 'zorro'}")["zorro"].sample is None
