"""Small data in SQuAD's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raft.data.squad.questions import Answer, Question

CONTEXT = "  Ada Lovelace wrote the first program in 1843. It computed Bernoulli numbers, she said."


def qa(id: str, *texts: str, context: str = CONTEXT, **more: Any) -> dict[str, Any]:
    answers = [{"text": text, "answer_start": context.find(text)} for text in texts]
    return {"id": id, "question": f"What about {id}?", "answers": answers, **more}


def write_squad(path: Path, qas: list[dict[str, Any]], version: str = "1.1", context: str = CONTEXT) -> Path:
    article = {"title": "Ada", "paragraphs": [{"context": context, "qas": qas}]}
    path.write_text(json.dumps({"version": version, "data": [article]}), encoding="utf-8")
    return path


def asked(id: str, *texts: str, context: str = "", question: str = "Who?") -> Question:
    """A question; answers that are not in the context stand at 0, as for scores it does not matter."""
    answers = tuple(Answer(text, max(0, context.find(text))) for text in texts)
    return Question(id, context, question, answers)
