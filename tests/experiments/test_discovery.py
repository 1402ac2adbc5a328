"""Functions are handed from model to model, and new models start with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForMaskedLM

from raft.cli.main import main
from raft.cli.recipes import find_recipe
from raft.errors import InputError
from raft.experiments.discovery import DiscoveryOptions, functions_of
from raft.functions import load_functions
from raft.networks.config import RafConfig
from raft.pretraining.recipe import PretrainingRecipe

STEPS = 6


def command(texts: Path, out: Path, *others: str) -> list[str]:
    return [
        "discover", "--config", "discover-cpu", "--corpus", str(texts), "--output_dir", str(out),
        "--max_steps", str(STEPS), "--num_models", "2", "--seeds", "2", "--vocab_size", "120",
        "--sequence_length", "16", "--max_position_embeddings", "16", "--hidden_size", "16",
        "--num_attention_heads", "1", "--global_batch_size", "4", "--per_device_train_batch_size", "4",
        "--validation_sequences", "10", "--eval_steps", "3", "--save_steps", "3", "--snapshot_steps", "3",
        "--raf_learning_rate", "5e-2", "--disable_tqdm", "true", "--use_cpu", "true", *others,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("discovery")
    texts = folder / "texts.txt"
    lines = (f"the {i % 7} foxes of number {i % 5} jump over {i % 3} lazy dogs ." for i in range(300))
    texts.write_text("\n\n".join(lines))
    assert main(command(texts, folder / "found")) == 0
    return texts, folder / "found"


def coefficients(file: Path) -> dict[str, dict[str, list[float]]]:
    return {kind: one["parameters"] for kind, one in json.loads(file.read_text())["functions"].items()}


def functions(folder: Path) -> dict[str, dict[str, list[float]]]:
    found = functions_of(AutoModelForMaskedLM.from_pretrained(folder))
    return {kind: one.parameters for kind, one in found.items()}


def test_each_model_goes_on_with_the_functions_of_the_one_before(found: tuple[Path, Path]) -> None:
    _, folder = found
    for number, seed in ((1, 2022), (2, 2023)):
        assert coefficients(folder / f"functions-{number}.json") == functions(folder / "models" / str(seed))
    first, last = (coefficients(folder / f"functions-{n}.json") for n in (1, 2))
    assert first.keys() == {"ffn", "attention_input"}
    assert coefficients(folder / "functions.json") == last != first
    config = json.loads((folder / "models" / "2023" / "config.json").read_text())
    assert {kind: one["parameters"] for kind, one in config["raf"]["init"].items()} == first
    origin = json.loads((folder / "functions.json").read_text())["origin"]
    assert origin["seeds"] == [2022, 2023]
    assert len(origin["losses"]) == 2
    exchanged = coefficients(folder / "functions-exchanged.json")
    assert exchanged == {"ffn": last["attention_input"], "attention_input": last["ffn"]}


def test_new_models_have_seeds_that_found_nothing_and_frozen_ones_keep_the_functions(
    found: tuple[Path, Path],
) -> None:
    _, folder = found
    runs = sorted(path.name for path in (folder / "reuse").iterdir() if path.is_dir())
    assert {name[-4:] for name in runs} == {"2024", "2025"}
    assert len(runs) == 7 * 2
    frozen = "raf-raf_init-{}.json-raf_learning_rate-0-2024"
    for name in ("functions", "functions-1", "functions-exchanged"):
        kept = functions(folder / "reuse" / frozen.format(name))
        assert kept == coefficients(folder / f"{name}.json")
    trained = functions(folder / "reuse" / "raf-raf_init-functions.json-2024")
    assert trained != coefficients(folder / "functions.json")


def test_layers_can_have_functions_of_their_own(found: tuple[Path, Path], tmp_path: Path) -> None:
    texts, _ = found
    others = ["--config", str(tmp_path / "recipe.yaml")]
    recipe = yaml.safe_load(find_recipe("discover-cpu", "discover").read_text())
    recipe.pop("raf_shared")
    Path(others[1]).write_text(yaml.safe_dump(recipe))
    words = command(texts, tmp_path / "out", "--seeds", "1", "--num_models", "1", "--max_steps", "3")
    assert main([words[0], *others, *words[3:]]) == 0
    of_file = coefficients(tmp_path / "out" / "functions.json")
    assert list(of_file) == ["attention_input.0", "attention_input.1", "ffn.0", "ffn.1"]
    assert of_file["ffn.0"] != of_file["ffn.1"]
    run = tmp_path / "out" / "reuse" / "raf-raf_init-functions.json-raf_learning_rate-0-2023"
    assert functions(run) == of_file
    exchanged = coefficients(tmp_path / "out" / "functions-exchanged.json")
    assert exchanged["ffn.1"] == of_file["attention_input.1"]
    with pytest.raises(ValueError, match="functions of single layers"):
        RafConfig(init=str(tmp_path / "out" / "functions.json"), sites=["ffn"], shared="kind")


def test_the_table_says_what_each_variant_is(found: tuple[Path, Path]) -> None:
    _, folder = found
    rows = [line.split("|")[1].strip() for line in (folder / "table.md").read_text().splitlines()[2:]]
    assert rows == [
        "gelu", "raf, frozen at its start", "raf, trained", "found, frozen", "found, trained on",
        "found by one model, frozen", "found, exchanged between sites, frozen", "unigram model",
    ]  # fmt: skip


def test_the_same_command_trains_nothing_again(
    found: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    texts, folder = found
    before = (folder / "functions.json").read_bytes()
    weights = (folder / "reuse" / "gelu-2025" / "model.safetensors").stat().st_mtime_ns
    assert main(command(texts, folder)) == 0
    assert capsys.readouterr().out.count("finished before") == 2 + 7 * 2
    assert (folder / "functions.json").read_bytes() == before
    assert (folder / "reuse" / "gelu-2025" / "model.safetensors").stat().st_mtime_ns == weights


@pytest.mark.parametrize("number", ["1", "3"])
def test_another_number_of_models_does_not_go_on(
    found: tuple[Path, Path], number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, folder = found
    before = (folder / "functions.json").read_bytes()
    assert main(command(texts, folder, "--num_models", number)) == 2
    assert "holds what 2 models found: give --num_models 2" in capsys.readouterr().err
    assert (folder / "functions.json").read_bytes() == before
    assert main(["report", str(folder)]) == 2
    assert f"holds some: raft report {folder / 'reuse'}" in capsys.readouterr().err


def test_found_functions_start_other_commands(found: tuple[Path, Path], tmp_path: Path) -> None:
    texts, folder = found
    file = str(folder / "functions.json")
    other = [word for word in command(texts, tmp_path / "run", "--raf_init", file) if word != "--num_models"]
    other.remove("2")
    other[0:3] = ["pretrain"]
    assert (
        main([*other, "--tokenizer", "train", "--raf_sites", "ffn", "--seeds", "1", "--activation", "raf"])
        == 0
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert {k: v["parameters"] for k, v in config["raf"]["init"].items()} == coefficients(Path(file))
    act = load_functions(file)["ffn"]
    assert torch.isfinite(act(torch.linspace(-5, 5, 9))).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"compare": "raf,gelu"}, "leave --compare out"),
        ({"activation": "gelu"}, "--activation gelu is no learned function"),
        ({"raf_groups": 2}, "leave --raf_groups and --raf_gain out"),
        ({"raf_gain": 0.2}, "leave --raf_groups and --raf_gain out"),
        ({"raf_sites": ["mlm_head"]}, "--raf_sites needs one of ffn, attention_input, ffn_input"),
    ],
)
def test_what_finds_nothing_is_refused(changed: dict[str, Any], message: str) -> None:
    recipe = PretrainingRecipe(**{"raf_shared": "kind", **changed})
    with pytest.raises(InputError, match=message):
        DiscoveryOptions().check(recipe, Path("found"))
    with pytest.raises(InputError, match="has a comma or a colon"):
        DiscoveryOptions().check(PretrainingRecipe(), Path("found/12:30"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num_models", "0"], "--num_models"),
        (["--fixed", "gleu"], "gleu"),
        (["--raf_init", "nowhere.json"], "cannot read nowhere.json"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("one two three\n")
    assert main(command(texts, tmp_path / "out", *words)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
