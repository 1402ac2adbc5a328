"""A tiny GLUE and SQuAD in the official layouts, and a model that can learn them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertConfig

from raft.data.text.tokens import train_tokenizer
from raft.pretraining.train import build_model, save

PLACES = ["garden", "harbour", "library", "market"]


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RTE, in which a pair is an entailment where both sentences name one place; and a SQuAD of places."""
    folder = tmp_path_factory.mktemp("glue")
    random = np.random.default_rng(0)
    (folder / "RTE").mkdir()
    for part, count in (("train", 120), ("dev", 40)):
        rows = ["index\tsentence1\tsentence2\tlabel"]
        for i in range(count):
            first, second = random.choice(PLACES, 2) if i % 2 else [random.choice(PLACES)] * 2
            label = "entailment" if first == second else "not_entailment"
            rows.append(f"{i}\tanna is in the {first}\tanna sees the {second}\t{label}")
        (folder / "RTE" / f"{part}.tsv").write_text("\n".join(rows) + "\n")
    hidden = [f"{i}\tanna is in the {place}\tanna sees the {PLACES[0]}" for i, place in enumerate(PLACES)]
    (folder / "RTE" / "test.tsv").write_text("\n".join(["index\tsentence1\tsentence2", *hidden]) + "\n")
    (folder / "squad").mkdir()
    for part, count in (("train", 60), ("dev", 20)):
        paragraphs = []
        for i in range(count):
            place = str(random.choice(PLACES))
            context = f"anna sees a friend in the old {place} today"
            answer = {"text": place, "answer_start": context.index(place)}
            asked = {"id": f"{part}-{i}", "question": "where is the friend", "answers": [answer]}
            paragraphs.append({"context": context, "qas": [asked]})
        data = {"version": "1.1", "data": [{"title": "places", "paragraphs": paragraphs}]}
        (folder / "squad" / f"{part}-v1.1.json").write_text(json.dumps(data))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    texts = [f"anna is and sees a friend in the old {place} today where" for place in PLACES] * 20
    tokenizer = train_tokenizer(texts, 120, max_length=48)
    size: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 48, "initializer_range": 0.2,
    }  # fmt: skip
    save(build_model(BertConfig(**size), 1), tokenizer, folder)
    return folder
