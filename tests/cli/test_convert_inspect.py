"""``raft convert`` and ``raft inspect`` as a user types them, on tiny random checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

import raft
from raft.analysis.ablation import masked_loss
from raft.analysis.snapshots import read_inputs
from raft.cli.main import main
from raft.cli.tables import fold_name
from raft.hf import rationals
from raft.hf.histogram import joint_range
from raft.learned_activation import learned_activations

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
TEXTS = [f"the {adjective} {noun} sleeps" for adjective in ("old", "red", "big") for noun in ("cat", "dog")]
WORDS = sorted({word for text in TEXTS for word in text.split()})
FFN = "bert.encoder.layer.{}.intermediate.intermediate_act_fn"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        done = capsys.readouterr()
        return status, done.out, done.err

    return command


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    # weights of a trained model's size, so that inputs are spread
    BertForMaskedLM(BertConfig(vocab_size=20, initializer_range=0.5, **SIZES)).save_pretrained(folder)
    return folder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=20, **SIZES)).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n\n")
    return tmp_path / "texts.txt"


IDS = torch.arange(5, 17).reshape(2, 6)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        actual: torch.Tensor = model.eval()(input_ids=IDS).logits
    return actual


def test_convert_gives_what_the_library_gives(run: Run, bert: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "raft"
    status, printed, _ = run("convert", bert, out, "--calibration", texts, "--degrees", 3, 2)
    assert status == 0
    expected = raft.convert(
        AutoModelForMaskedLM.from_pretrained(bert), {"degrees": (3, 2)}, calibration=TEXTS
    )
    loaded = AutoModelForMaskedLM.from_pretrained(out)
    assert list(rationals(loaded)) == [FFN.format(0), FFN.format(1)]
    assert torch.equal(logits(loaded), logits(expected))
    uncalibrated = raft.convert(AutoModelForMaskedLM.from_pretrained(bert), {"degrees": (3, 2)})
    assert not torch.equal(logits(loaded), logits(uncalibrated))
    weights = AutoModelForMaskedLM.from_pretrained(bert).state_dict()
    assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in weights.items())
    assert AutoTokenizer.from_pretrained(out)(TEXTS[0]) == AutoTokenizer.from_pretrained(bert)(TEXTS[0])

    assert "BertForMaskedLM: 2 ffn" in printed
    assert "[-10.0, 10.0]" not in printed
    report: Any = expected.conversion_report
    for each in report:
        assert f"{each.max_error:.1e}" in printed
        assert f"{each.inputs:,}" in printed
    assert f"Saved in {out}, with its tokenizer" in printed
    assert max(map(len, printed.splitlines()[:-2])) <= 80  # the last lines have paths
    rows = [line.split() for line in printed.splitlines() if " gelu " in line]
    assert [row[0] for row in rows] == ["layer.0", "layer.1"]
    assert [path.name for path in out.parent.iterdir()] == ["raft"]
    # what the calibration gave each RAF is what they are shown over
    ends = [read_inputs(out)[FFN.format(layer)] for layer in range(2)]
    assert [each.total for each in ends] == [each.inputs for each in report]
    status, printed, _ = run("inspect", out)
    low, high = joint_range(ends) or (0.0, 0.0)
    assert f"inputs from {low:g} to {high:g}" in printed
    assert "--texts PATH measures each RAF over its own" in " ".join(printed.split())


def test_only_as_many_texts_as_asked_for_are_read(run: Run, bert: Path, texts: Path, tmp_path: Path) -> None:
    options = ("--calibration", texts, "--calibration_texts", 2)
    status, _, _ = run("convert", bert, tmp_path / "raft", *options)
    assert status == 0
    expected = raft.convert(AutoModelForMaskedLM.from_pretrained(bert), calibration=TEXTS[:2])
    assert torch.equal(logits(AutoModelForMaskedLM.from_pretrained(tmp_path / "raft")), logits(expected))


def test_texts_from_jsonl_and_from_a_folder_in_turn(run: Run, bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, part in (("a", TEXTS[:3]), ("b", TEXTS[3:])):
        lines = [json.dumps({"sentence": text, "label": 0}) for text in ["", *part]]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    options = ("--calibration", folder, "--text_column", "sentence", "--calibration_texts", 3)
    status, _, error = run("convert", bert, tmp_path / "raft", *options)
    assert (status, error) == (0, "")
    in_turn = [TEXTS[0], TEXTS[3], TEXTS[1]]
    expected = raft.convert(AutoModelForMaskedLM.from_pretrained(bert), calibration=in_turn)
    assert torch.equal(logits(AutoModelForMaskedLM.from_pretrained(tmp_path / "raft")), logits(expected))


def test_a_tokenizer_without_padding(run: Run, bert: Path, llama: Path, texts: Path, tmp_path: Path) -> None:
    tokenizer = BertTokenizer(str(bert / "vocab.txt"), model_input_names=["input_ids", "attention_mask"])
    tokenizer.pad_token = None
    tokenizer.save_pretrained(llama)
    texts.write_text("the cat\nthe old dog sleeps\n")
    assert AutoTokenizer.from_pretrained(llama).pad_token is None
    status, printed, error = run("convert", llama, tmp_path / "raft", "--calibration", texts)
    assert (status, error) == (0, "")
    # [CLS] and [SEP] with 2 and 4 words, 32 channels
    assert printed.count(f"{(4 + 6) * 32}") == 2


def test_convert_without_calibration_or_tokenizer(run: Run, llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "raft"
    options = ("--shared", "all", "--groups", 2, "--version", "B", "--init", "gelu")
    status, printed, error = run("convert", llama, out, *options)
    assert (status, error) == (0, "")
    config = {"shared": "all", "groups": 2, "version": "B", "init": "gelu"}
    expected = raft.convert(AutoModelForCausalLM.from_pretrained(llama), config)
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert len(rationals(loaded)) == 1
    assert torch.equal(logits(loaded), logits(expected))
    assert "The fits are for inputs in [-10, 10]" in printed
    assert "give --calibration PATH" in " ".join(printed.split())
    assert "= model.layers.0.mlp.act_fn" in printed
    assert "without a tokenizer" in printed


def test_a_sentence_encoder_keeps_its_other_parts(run: Run, bert: Path, texts: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "encoder", tmp_path / "raft"
    shutil.copytree(bert, source)
    files = {
        "modules.json": "[]",
        "sentence_bert_config.json": '{"max_seq_length": 9}',
        "config_sentence_transformers.json": "{}",
        "1_Pooling/config.json": '{"pooling_mode_cls_token": true}',
    }
    (source / "1_Pooling").mkdir()
    for name, content in files.items():
        (source / name).write_text(content)
    status, printed, _ = run("convert", source, out, "--calibration", texts)
    assert status == 0
    assert "its parts for sentence-transformers" in printed
    assert {name: (out / name).read_text() for name in files} == files


def test_rafs_before_projections_keep_the_logits(run: Run, bert: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "raft"
    options = ("--sites", "attention_input", "ffn_input", "--shared", "kind", "--calibration", texts)
    status, printed, error = run("convert", bert, out, *options)
    assert (status, error) == (0, "")
    assert "BertForMaskedLM: 2 attention_input, 2 ffn_input" in printed
    loaded = AutoModelForMaskedLM.from_pretrained(out)
    assert torch.equal(logits(loaded), logits(AutoModelForMaskedLM.from_pretrained(bert)))
    layer = "bert.encoder.layer.0"
    names = [f"{layer}.attention.self.attention_input", f"{layer}.intermediate.ffn_input"]
    assert list(rationals(loaded)) == [f"{name}.activation" for name in names]
    status, printed, error = run("inspect", out)
    assert (status, error) == (0, "")
    assert printed.count("identity") == 2


def test_residual_rafs_keep_the_logits(run: Run, llama: Path, tmp_path: Path) -> None:
    names = ("--shared", "first=0", "last=1")
    status, printed, _ = run("convert", llama, tmp_path / "raft", "--residual", "true", *names)
    assert status == 0
    assert "The fits are for" not in printed
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "raft")
    assert loaded.config.raf["shared"] == {"first": "0", "last": "1"}
    assert torch.equal(logits(loaded), logits(AutoModelForCausalLM.from_pretrained(llama)))


def test_task_loads_as_another_class_and_names_new_weights(run: Run, bert: Path, tmp_path: Path) -> None:
    options = ("--task", "sequence-classification", "--sites", "ffn", "pooler", "--layers", "1")
    status, printed, _ = run("convert", bert, tmp_path / "raft", *options)
    assert status == 0
    loaded = BertForSequenceClassification.from_pretrained(tmp_path / "raft")
    assert list(rationals(loaded)) == [FFN.format(1), "bert.pooler.activation"]
    assert "BertForSequenceClassification: 1 ffn, 1 pooler" in printed
    assert "random until trained: bert.pooler.dense.bias" in printed
    assert "classifier.weight" in printed


def test_overwrite_replaces_a_model_and_nothing_else(run: Run, llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "raft"
    assert run("convert", llama, out)[0] == 0
    (out / "old").write_text("")
    assert run("convert", llama, out, "--overwrite", "--degrees", "3", "2")[0] == 0
    assert not (out / "old").exists()
    assert AutoModelForCausalLM.from_pretrained(out).config.raf["degrees"] == [3, 2]

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("")
    status, _, error = run("convert", llama, tmp_path / "thesis", "--overwrite")
    assert status == 2
    assert "is not empty and holds no model; choose another DST" in error
    assert (tmp_path / "thesis" / "chapter").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}/nowhere", "{out}"], "nowhere: the path does not exist"),
        (["{tmp}", "{out}"], "it has no config.json"),
        (["no-such-model-anywhere", "{out}"], "cannot load no-such-model-anywhere: there is no such folder"),
        (["{bert}"], "the following arguments are required: DST"),
        (["{bert}", "{out}", "more"], "unexpected 'more'"),
        (["{bert}", "{out}", "--sites", "head"], "sites must be taken from ffn"),
        (["{bert}", "{out}", "--sites", "classifier"], "has no classifier activation that can be replaced"),
        (["{bert}", "{out}", "--layers", "7"], "has no ffn activation that can be replaced (layers='7')"),
        (["{bert}", "{out}", "--degrees", "5"], "degrees must be two integers"),
        (["{bert}", "{out}", "--version", "Z"], "version must be one of A, B, C, D, N, not 'Z'"),
        (["{bert}", "{out}", "--init", "gelo"], "unknown activation 'gelo'"),
        (["{bert}", "{out}", "--function", "splines"], "unknown learned function 'splines'"),
        (["{bert}", "{out}", "--function", "spline", "--settings", "{{5"], "--settings must be JSON such as"),
        (["{bert}", "{out}", "--function", "spline", "--settings", "[5]"], "--settings must be JSON such as"),
        (["{bert}", "{out}", "--function", "spline", "--settings", '{{"a": 5}}'], "--settings of spline"),
        (["{bert}", "{out}", "--settings", '{{"knots": 5}}'], "--settings are those of other functions"),
        (["{bert}", "{out}", "--function", "swish", "--degrees", "3", "2"], "--degrees is of rational"),
        (["{bert}", "{out}", "--function", "polynorm"], "--init of 'polynorm' must be 'default', not 'auto'"),
        (["{bert}", "{out}", "--shared", "0-5"], "NAME=LAYERS such as lower=0-5, not '0-5'"),
        (["{bert}", "{out}", "--task", "chess"], "--task must be one of base, masked-lm"),
        (["{bert}", "{out}", "--calibration", "{tmp}/none.txt"], "none.txt: the path does not exist"),
        (["{bert}", "{out}", "--calibration", "{empty}"], "empty.txt holds no text"),
        (["{bert}", "{out}", "--calibration", "{bert}/vocab.txt", "--calibration_texts", "0"], "at least 1"),
        (["{bert}", "{out}", "--calibration", "{bert}/model.safetensors"], "holds no parquet, jsonl or txt"),
        (["{bert}", "{bert}", "--overwrite"], "would be lost; choose another DST"),
        (["{bert}", "{tmp}", "--overwrite"], "would be lost; choose another DST"),
        (["{bert}", "{empty}"], "empty.txt is a file; choose another DST"),
        (["{llama}", "{out}", "--calibration", "{bert}/vocab.txt"], "has no tokenizer"),
        (["{damaged}", "{out}"], "cannot load"),
    ],
)
def test_convert_tells_bad_input_in_one_line(
    words: list[str], message: str, run: Run, bert: Path, llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_bytes((bert / "config.json").read_bytes())
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"\x00")
    places = {"tmp": tmp_path, "out": tmp_path / "made" / "out", "bert": bert, "llama": llama}
    places |= {"empty": tmp_path / "empty.txt", "damaged": tmp_path / "damaged"}
    before = sorted(tmp_path.rglob("*"))
    status, printed, error = run("convert", *[word.format(**places) for word in words])
    assert status == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert printed == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_convert_refuses_what_stands_there_and_a_raft(run: Run, llama: Path, tmp_path: Path) -> None:
    assert run("convert", llama, tmp_path / "raft")[0] == 0
    before = (tmp_path / "raft" / "config.json").stat().st_mtime_ns
    status, _, error = run("convert", llama, tmp_path / "raft")
    assert status == 2
    assert "holds another model; choose another DST, or give --overwrite" in error
    assert (tmp_path / "raft" / "config.json").stat().st_mtime_ns == before
    status, _, error = run("convert", tmp_path / "raft", tmp_path / "again")
    assert status == 2
    assert "is a RAFT already" in error
    assert not (tmp_path / "again").exists()


def saved(folder: Path, **raf: object) -> tuple[Path, BertForMaskedLM]:
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SIZES, vocab_size=20, raf=raf))  # type: ignore[call-arg]
    with torch.no_grad():
        for number, act in enumerate(rationals(model).values(), start=1):
            act.numerator[..., 0] += number
            act.denominator.zero_()
            act.numerator[..., 1:] = 0  # a constant: every number of the table is known
    model.save_pretrained(folder)
    return folder, model


def test_inspect_shows_each_raf(run: Run, tmp_path: Path) -> None:
    folder, model = saved(tmp_path / "raft", degrees=(3, 2), version="B", sites=["ffn", "mlm_head"])
    status, printed, error = run("inspect", folder, "--json", tmp_path / "rafs.json")
    assert (status, error) == (0, "")
    assert "BertForMaskedLM: 3 RAFs, 18 coefficients; inputs from -5 to 5" in printed
    assert printed.count("(3, 2) B") == 3
    rows = json.loads((tmp_path / "rafs.json").read_text())["rafs"]
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    for row, (name, act) in zip(rows, rationals(model).items(), strict=True):
        constant = act.numerator[0].item()
        difference = constant - torch.nn.functional.gelu(x)
        assert row["site"] == name
        assert row["places"] == [name]
        assert row["began_as"] == "gelu"
        assert row["numerator"] == [act.numerator.tolist()]
        assert row["rms"] == pytest.approx(difference.square().mean().sqrt().item(), rel=1e-6)
        assert row["max"] == pytest.approx(difference.abs().max().item(), rel=1e-6)
        assert row["low"] == row["high"] == pytest.approx(constant, rel=1e-6)
        for part in name.split("."):
            assert part in printed
        assert f"rms {row['rms']:.2g}" in printed
        assert f"max {row['max']:.2g}" in printed
        assert f"y {constant:.2f}…{constant:.2f}" in printed
    assert printed.count("⠤" * 12) >= 3  # the curves are flat
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80  # the last line has a path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rafs.json", "raft"]


def test_other_learned_functions_are_converted_and_shown(run: Run, bert: Path, tmp_path: Path) -> None:
    words = ["--function", "spline", "--settings", '{"knots": 9, "interval": [-4, 4]}', "--groups", "2"]
    status, printed, error = run("convert", bert, tmp_path / "raft", *words)
    assert (status, error) == (0, "")
    assert "The fits are for inputs in [-4, 4]" in printed
    act = next(iter(learned_activations(AutoModel.from_pretrained(tmp_path / "raft")).values()))
    assert act.settings() == {"knots": 9, "interval": [-4.0, 4.0], "groups": 2}
    words = ["--json", str(tmp_path / "rafs.json"), "--plot", str(tmp_path / "curves.svg")]
    status, printed, error = run("inspect", tmp_path / "raft", *words)
    assert (status, error) == (0, "")
    assert "inputs from -5 to 5" in printed
    assert "spline" in printed
    assert "knots 9" in printed
    assert "interval -4, 4" in printed
    row = json.loads((tmp_path / "rafs.json").read_text())["rafs"][0]
    assert row["function"] == "spline"
    assert row["knot_values"][1][-1] == pytest.approx(4, abs=1e-3)
    assert (tmp_path / "curves.svg").read_bytes().startswith(b"<?xml")
    status, _, error = run("inspect", tmp_path / "raft", "--formulas", tmp_path / "rafs.tex")
    assert (status, error.count("\n")) == (2, 1)
    assert "--formulas writes rational functions, not spline; --json has their numbers" in error


@pytest.mark.parametrize(
    ("config", "title"),
    [
        ({}, "BertForMaskedLM: 2 RAFs, 80 coefficients"),
        ({"r": 3}, "BertForMaskedLM: 2 RAFs, 20 coefficients"),
    ],
)
def test_functions_of_an_adapter_are_shown(
    config: dict[str, Any], title: str, run: Run, bert: Path, texts: Path, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    kind = raft.RafBottleneckConfig if config else raft.RafAdapterConfig
    adapted = peft.get_peft_model(BertForMaskedLM.from_pretrained(bert), kind(**(config or {"groups": 4})))
    for values in adapted.parameters():
        values.data.add_(0.1 * values.requires_grad)
    # a task type that PEFT lacks: the class that the base names
    adapted.save_pretrained(tmp_path / "adapter")
    status, out, error = run("inspect", tmp_path / "adapter", "--texts", texts)
    assert (status, error) == (0, "")
    assert title in out
    assert ("gelu +" in out) == (not config)
    assert "rms 0.00" not in out
    assert "Over the inputs of 6 texts" in out
    status, _, error = run("convert", tmp_path / "adapter", tmp_path / "converted")
    assert (status, error.count("\n")) == (2, 1)
    assert ("cannot be merged" if config else "is a RAFT already") in error
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"no tensors")
    status, _, error = run("inspect", tmp_path / "adapter")
    assert (status, error.count("\n")) == (2, 1)
    assert "cannot load" in error


def test_an_adapter_with_a_head_of_its_own_is_loaded(run: Run, bert: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = BertForSequenceClassification.from_pretrained(bert, num_labels=3)
    config = raft.RafAdapterConfig(groups=4, task_type="SEQ_CLS")
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    status, out, error = run("inspect", tmp_path / "adapter")
    assert (status, error) == (0, "")
    assert "BertForSequenceClassification: 2 RAFs" in out
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": None})
    )
    status, _, error = run("inspect", tmp_path / "adapter")
    assert (status, error.count("\n")) == (2, 1)
    assert "does not name its base model" in error


def test_functions_without_a_curve_are_listed(run: Run, bert: Path, tmp_path: Path) -> None:
    words = ["--function", "polynorm", "--init", "default", "--sites", "ffn"]
    status, printed, error = run("convert", bert, tmp_path / "raft", *words)
    assert (status, error) == (0, "")
    assert "The fits are for inputs" not in printed
    status, printed, error = run("inspect", tmp_path / "raft")
    assert (status, error) == (0, "")
    assert "2 RAFs, 8 coefficients" in printed
    assert "0.33, 0.33, 0.33" in printed
    assert "No curves of polynorm: its outputs depend on all channels." in printed
    assert max(map(len, printed.splitlines())) <= 80
    status, _, error = run("inspect", tmp_path / "raft", "--plot", tmp_path / "curves.png")
    assert status == 2
    assert "--plot draws curves, and polynorm is not elementwise: it has none" in error


def test_a_wide_terminal_gets_whole_names(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = saved(tmp_path / "raft")
    assert FFN.format(0) not in run("inspect", folder)[1]
    monkeypatch.setenv("COLUMNS", "140")
    assert FFN.format(0) in run("inspect", folder)[1]


def test_inspect_shared_and_grouped_rafs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    folder, _ = saved(tmp_path / "raft", shared="all", groups=4, residual=True)
    status, printed, _ = run("inspect", folder, "--json", tmp_path / "rafs.json")
    assert status == 0
    assert "1 RAF, 40 coefficients" in printed
    assert FFN.format("{0-1}") in printed
    assert "gelu +" in printed
    assert "4 groups" in printed
    (row,) = json.loads((tmp_path / "rafs.json").read_text())["rafs"]
    assert row["places"] == [FFN.format(0), FFN.format(1)]
    assert row["groups"] == 4
    assert row["residual"]
    assert (row["rms"], row["max"]) == pytest.approx((1, 1))  # 1 beside gelu


def test_inspect_measures_over_the_inputs_of_texts(
    run: Run, bert: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert run("convert", bert, tmp_path / "raft", "--calibration", texts, "--residual", "true")[0] == 0
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "raft")
    with torch.no_grad():
        model.get_submodule(FFN.format(1)).numerator[0] = 0.25
    model.save_pretrained(tmp_path / "raft")
    files = ("--json", tmp_path / "rafs.json", "--formulas", tmp_path / "rafs.py")
    status, printed, error = run("inspect", tmp_path / "raft", "--texts", texts, *files)
    assert (status, error) == (0, "")
    first, second = json.loads((tmp_path / "rafs.json").read_text())["measures"]
    assert (first["site"], second["site"]) == (FFN.format(0), FFN.format(1))
    assert (first["l2"], first["l2_to_start"]) == pytest.approx((0, 0), abs=1e-12)
    assert first["nearest"] == "gelu"
    assert second["max"] <= 0.25
    assert second["l2"] > 0
    assert f"{first['low']:.1f}…{first['high']:.1f}" in printed
    assert f"{second['l2']:.3f}" in printed
    assert f"Over the inputs of {len(TEXTS)} texts" in printed
    made: dict[str, Any] = {}
    exec((tmp_path / "rafs.py").read_text(), made)
    x = torch.tensor([-1.3, 0.4])
    expected = model.get_submodule(FFN.format(1))(x).tolist()
    assert [made["RAFS"][FFN.format(1)](value) for value in x.tolist()] == pytest.approx(expected, abs=1e-6)


def test_inspect_ablation_of_all_rafs_is_the_model_before_conversion(
    run: Run, bert: Path, texts: Path, tmp_path: Path
) -> None:
    assert run("convert", bert, tmp_path / "raft")[0] == 0
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "raft")
    with torch.no_grad():
        model.get_submodule(FFN.format(1)).numerator[0] += 0.5
    model.save_pretrained(tmp_path / "raft")
    options = ("--texts", texts, "--ablation", "--json", tmp_path / "rafs.json")
    status, printed, error = run("inspect", tmp_path / "raft", *options)
    assert (status, error) == (0, "")
    rows = json.loads((tmp_path / "rafs.json").read_text())["ablation"]
    by_name = {row["replaced"]: row for row in rows}
    assert list(by_name) == ["as it is", FFN.format(0), FFN.format(1), "all", "all by their mean"]
    faft, tokenizer = AutoModelForMaskedLM.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    with torch.no_grad():
        loss, changed = (masked_loss(each, tokenizer, batch, 2)() for each in (faft, model.eval()))
    assert by_name["all"]["loss"] == pytest.approx(loss, abs=1e-5)
    assert by_name["as it is"]["loss"] == pytest.approx(changed, abs=1e-5)
    assert abs(by_name[FFN.format(1)]["change"]) > 10 * abs(by_name[FFN.format(0)]["change"])
    assert f"{by_name['all']['loss']:.4f}" in printed


@pytest.mark.parametrize(("name", "begins"), [("c.png", b"\x89PNG"), ("c.pdf", b"%PDF"), ("c.SVG", b"<?xml")])
def test_plots(name: str, begins: bytes, run: Run, tmp_path: Path) -> None:
    folder, _ = saved(tmp_path / "raft", groups=2)
    (tmp_path / name).write_text("old")
    status, printed, _ = run("inspect", folder, "--plot", tmp_path / name, "--interval", -2, 3)
    assert status == 0
    assert "inputs from -2 to 3" in printed
    content = (tmp_path / name).read_bytes()
    assert content.startswith(begins)
    assert len(content) > 5000
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "raft"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}/nowhere"], "nowhere: the path does not exist"),
        ([], "the following arguments are required: MODEL"),
        (["{llama}"], "(LlamaForCausalLM) has no learned activation; 'raft convert "),
        (["{raft}", "--plot", "{tmp}/c.gif"], "--plot must end with .png, .pdf, .svg, not 'c.gif'"),
        (["{raft}", "--plot", "{tmp}/none/c.png"], "there is no folder"),
        (["{raft}", "--json", "{tmp}"], "is a folder, not a file"),
        (["{raft}", "--interval", "3", "-2"], "--interval must be two numbers, the smaller first, not 3 -2"),
        (["{raft}", "--interval", "3"], "--interval must be two numbers"),
        (["{raft}", "--formulas", "{tmp}/c.txt"], "--formulas must end with .json, .tex, .py, not 'c.txt'"),
        (["{raft}", "--texts", "{tmp}/none.txt"], "none.txt"),
        (["{raft}", "--texts", "{texts}"], "has no tokenizer, so it cannot read --texts"),
        (["{raft}", "--texts_read", "0"], "--texts_read must be at least 1, not 0"),
        (["{raft}", "--fixed", "cosine"], "--fixed: unknown activation 'cosine'"),
        (["{raft}", "--fixed", "relu"], "on the inputs of --texts; give both"),
        (["{raft}", "--ablation"], "--ablation needs --texts"),
    ],
)
def test_inspect_tells_bad_input_in_one_line(
    words: list[str], message: str, run: Run, llama: Path, texts: Path, tmp_path: Path
) -> None:
    folder, _ = saved(tmp_path / "raft")
    before = sorted(tmp_path.rglob("*"))
    places = {"tmp": tmp_path, "llama": llama, "raft": folder, "texts": texts}
    status, printed, error = run("inspect", *[word.format(**places) for word in words])
    assert status == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert printed == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_names_are_folded_before_dots() -> None:
    assert fold_name("encoder.layer.0.output", 16) == "encoder.layer.0\n.output"
    assert fold_name("encoder.layer", 40) == "encoder.layer"
    assert fold_name("a.intermediate", 6) == "a\n.inter\nmediat\ne"
