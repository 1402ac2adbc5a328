"""Models and data of other people."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset, DatasetDict
from transformers import RobertaConfig, RobertaForSequenceClassification

from raft.data.text.tokens import train_tokenizer
from tests.cases.replay import GRID, WORDS, case, command, documents, glue, pretrain, take

ROWS = [{"text": f"anna sees the {WORDS[i % 9]}", "label": "pos" if i % 2 else "neg"} for i in range(40)]

MANY = [{"text": f"{' '.join(WORDS)} {i}", "label": "pos" if i % 2 else "neg"} for i in range(400)]


def said(function: Callable[[], str]) -> str:
    """An outcome, with what the log said before it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger("raft").addHandler(handler)
    try:
        outcome = function()
    finally:
        logging.getLogger("raft").removeHandler(handler)
    return f"{outcome} | {stream.getvalue()}"


def roberta() -> str:
    """A RoBERTa whose positions end before its texts do, and whose tokenizer tells no limit."""
    folder = Path("roberta")
    if not folder.exists():
        tokenizer = train_tokenizer([" ".join(WORDS)] * 50, 100, max_length=int(1e30))
        torch.manual_seed(0)
        sizes: dict[str, Any] = {
            "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 20, "pad_token_id": 1,
            "id2label": {0: "entailment", 1: "not_entailment"},
        }  # fmt: skip
        RobertaForSequenceClassification(RobertaConfig(**sizes)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)


def long_glue() -> Path:
    """RTE with sentences of sixty words."""
    folder = glue()
    for file in (folder / "RTE").glob("*.tsv"):
        file.write_text(file.read_text().replace("anna sees the", "anna sees the " + "old red " * 30))
    return folder


def dataset(*words: object, name: str = "data", model: str = "base") -> str:
    """``raft finetune`` on a data set of one's own."""
    tuning = "--num_train_epochs 1 --max_length 16 --report_to none --disable_tqdm true --output_dir out"
    return command("finetune", "--model", take(model), "--dataset", name, *tuning.split(), *words)


def rows(file: str, values: Sequence[Mapping[str, object]]) -> None:
    """Write a csv, jsonl or parquet file, compressed where its name says so."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(values)
    if ".json" in file:
        table.to_json(file, orient="records", lines=True)
    elif file.endswith(".parquet"):
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False)


@case("B", "RoBERTa's positions in finetune", "^status 0")
def _() -> str:
    long_glue()
    words = ["--task", "rte", "--data_dir", "glue", "--num_train_epochs", 1, "--output_dir", "out"]
    return command("finetune", "--model", roberta(), *words, "--report_to", "none", "--disable_tqdm", "true")


@case("B", "RoBERTa's positions in grid", "^status 0")
def _() -> str:
    long_glue()
    return command(*GRID, "--models", roberta(), "--output_dir", "out", "--max_length", 128)


@case("B", "RoBERTa's positions in transfer", "^status 0")
def _() -> str:
    long_glue()
    return command("transfer", "--model", roberta(), "--task", "rte", "--data_dir", "glue")


@case("B", "a data set of three classes for a model of two", "status 0.* new")
def _() -> str:
    rows("data.jsonl", [{"text": f"anna {i}", "label": "abc"[i % 3]} for i in range(60)])
    return said(lambda: dataset(name="data.jsonl", model="two-labels"))


for hidden in (".ipynb_checkpoints/a-checkpoint.txt", "._train.parquet", "dataset_infos.json", "state.json"):

    @case("B", f"a corpus folder with {hidden}", r"^status 0; (3[89]\d|40\d) documents")
    def _(hidden: str = hidden) -> str:
        file = documents()
        folder = Path("corpus")
        (folder / hidden).parent.mkdir(parents=True)
        file.rename(folder / "a.txt")
        text = (folder / "a.txt").read_text() if hidden.endswith(".txt") else '{"x": 1}'
        (folder / hidden).write_text(text)
        return pretrain("--corpus", "corpus")


@case("B", "save_to_disk as a corpus", "^status 0")
def _() -> str:
    with contextlib.redirect_stderr(io.StringIO()):
        Dataset.from_list(MANY).save_to_disk("corpus")
    return pretrain("--corpus", "corpus")


@case("B", "save_to_disk as a data set", "^status 0")
def _() -> str:
    with contextlib.redirect_stderr(io.StringIO()):
        DatasetDict({"train": Dataset.from_list(ROWS)}).save_to_disk("data")
    return dataset()


@case("B", "an .arrow file as a corpus", "^status (0|2; raft: .*)")
def _() -> str:
    with contextlib.redirect_stderr(io.StringIO()):
        Dataset.from_list(MANY).save_to_disk("saved")
    (file,) = Path("saved").glob("*.arrow")
    return pretrain("--corpus", file.rename("corpus.arrow"))


for name, text in (
    ("indented JSON", json.dumps(MANY, indent=2)),
    ("JSON with data in it", json.dumps({"data": MANY})),
    ("indented objects", "\n".join(json.dumps(row, indent=2) for row in MANY)),
):

    @case("B", f"{name} as a corpus", "^status 0|one object a line")
    def _(text: str = text) -> str:
        Path("corpus.json").write_text(text)
        return pretrain("--corpus", "corpus.json")

    @case("B", f"{name} as a data set", "^status 0|one object a line")
    def _(text: str = text) -> str:
        Path("data.json").write_text(text)
        return dataset(name="data.json")


for file in ("train.jsonl.gz", "data/train-00000-of-00001.parquet"):

    @case("B", f"a data set folder with {file}", "^status 0")
    def _(file: str = file) -> str:
        rows(f"data/{file}", ROWS)
        return dataset()


def labelled(*labels: object) -> str:
    """Tune on a csv with such labels among forty of two classes."""
    values: list[dict[str, object]] = [
        {**row, "label": labels[i % len(labels)]} for i, row in enumerate(ROWS)
    ]
    rows("data.csv", values)
    outcome = said(lambda: dataset("--save_model", "true", name="data.csv"))
    return f"{outcome} | classes {classes()}"


def classes() -> list[str]:
    """Names of the classes of a tuned model."""
    config = Path("out/config.json")
    return sorted(json.loads(config.read_text()).get("id2label", {}).values()) if config.exists() else []


TWO = r"(^status 2; raft: |classes \['{}', '{}'\])"
case("B", "label -1 in a csv", r"-1.*classes \['0', '1'\]")(lambda: labelled(0, 1, 0, 1, -1))
case("B", '" pos" beside "pos"', TWO.format("neg", "pos"))(lambda: labelled("pos", "neg", " pos", "neg"))
case("B", "one empty label", TWO.format("neg", "pos"))(lambda: labelled(*["pos", "neg"] * 19, "pos", None))
case("B", "1.0 beside 1", TWO.format("0", "1"))(lambda: labelled("1.0", "0", "1", "0.0"))
case("B", "True beside true", TWO.format("True", "false"))(lambda: labelled("True", "false", "true", "False"))


@case("B", "1.0 and 1 in two files", TWO.format("0", "1"))
def _() -> str:
    for part, labels in (("train", (0, 1)), ("validation", ("0.0", "1.0"))):
        rows(f"data/{part}.csv", [{**row, "label": labels[i % 2]} for i, row in enumerate(ROWS)])
    outcome = dataset("--save_model", "true")
    return (
        f"{outcome} | classes {sorted(json.loads(Path('out/config.json').read_text())['id2label'].values())}"
    )


@case("B", "two columns of one name", "^status 2; raft: .*text")
def _() -> str:
    Path("data.csv").write_text("text,text,label\n" + "a,b,x\nc,d,y\n" * 20)
    return dataset(name="data.csv")


@case("B", "texts that are all empty", "^status 2; raft: ")
def _() -> str:
    rows("data.jsonl", [{**row, "text": ""} for row in ROWS])
    return dataset(name="data.jsonl")


@case("B", "half a character", r"^status (0|2; raft: .*(line|row) 3)")
def _() -> str:
    lines = [json.dumps(row) for row in ROWS]
    lines[2] = '{"text": "anna \\ud800 sees", "label": "pos"}'
    Path("data.jsonl").write_text("\n".join(lines))
    return dataset(name="data.jsonl")


@case("B", "questions longer than RoBERTa's positions", "^status (0|2; raft: )")
def _() -> str:
    place = "garden"
    context = "anna sees a friend in the old red " * 10 + place
    answer = {"text": place, "answer_start": context.index(place)}
    asked = [{"id": str(i), "question": "where is anna", "answers": [answer]} for i in range(8)]
    squad = {"version": "1.1", "data": [{"title": "a", "paragraphs": [{"context": context, "qas": asked}]}]}
    for part in ("train", "dev"):
        Path(f"{part}-v1.1.json").write_text(json.dumps(squad))
    words = ["--task", "squad", "--data_dir", ".", "--num_train_epochs", 1, "--output_dir", "out"]
    return command("finetune", "--model", roberta(), *words, "--report_to", "none", "--disable_tqdm", "true")
