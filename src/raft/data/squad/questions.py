"""SQuAD 1.1 and 2.0, and data in its form: questions on paragraphs, answered by spans of them.

Texts are kept unchanged, leading spaces included: answers are positions in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from raft.data.hub import load_splits
from raft.data.json_rows import has_lone_surrogate
from raft.data.splits import TrainOrValidation
from raft.errors import InputError

SquadVersion = Literal["1.1", "2.0"]
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Answer:
    """A span of the context.

    Attributes:
        text: as in the data; its case may differ from the context's.
        start: position of its first character in the context.
    """

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question on a paragraph, and its right answers.

    Attributes:
        id: unique.
        context: the paragraph.
        question: its text.
        answers: may hold duplicates; empty where the context has no answer.
    """

    id: str
    context: str
    question: str
    answers: tuple[Answer, ...]


def load_squad(source: str | Path, split: TrainOrValidation, version: SquadVersion) -> tuple[Question, ...]:
    """Read one split, in the order of the data.

    Args:
        source: a folder with ``train-v1.1.json`` and ``dev-v1.1.json``, or the same of ``v2.0``; one file in
            SQuAD's form, whatever the split; or a name, of the hub's ``rajpurkar/squad`` or
            ``rajpurkar/squad_v2``.
        split: ``train`` or ``validation``, which is SQuAD's official development set.
        version: ``1.1``, where each question must have an answer, or ``2.0``.

    Raises:
        InputError: for a source that cannot be read, and for the first invalid question: no answer in 1.1, an
            answer that is not at its ``answer_start`` (in any case, as TriviaQA's are lower-cased), a
            duplicate id, an empty context.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250; Rajpurkar, Jia and Liang 2018, arXiv 1806.03822.
    """
    if isinstance(source, str):
        return _check_ids(_read_hub(source, split, version), source)
    name = "train" if split == "train" else "dev"
    path = source / f"{name}-v{version}.json" if source.is_dir() else source
    if not path.is_file():
        raise InputError(f"no SQuAD file {path}")
    return _check_ids(_read_file(path, version), str(path))


def _read_file(path: Path, version: SquadVersion) -> Iterator[Question]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise InputError(f"{path} is not in SQuAD's form: it is nested too deeply") from error
    for a, article in enumerate(_member(content, "data", list, str(path)), start=1):
        of_article = f"{path}, article {a}"
        for p, paragraph in enumerate(_member(article, "paragraphs", list, of_article), start=1):
            of_paragraph = f"{of_article}, paragraph {p}"
            context = _member(paragraph, "context", str, of_paragraph)
            for q, qa in enumerate(_member(paragraph, "qas", list, of_paragraph), start=1):
                yield _question(qa, context, version, str(path), f"{of_paragraph}, question {q}")


def _read_hub(source: str, split: TrainOrValidation, version: SquadVersion) -> Iterator[Question]:
    contexts: dict[str, str] = {}  # rows repeat them, and each is kept once
    for number, row in enumerate(load_splits(source)[split]):
        context = contexts.setdefault(row["context"], row["context"])
        pairs = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        answers = [{"text": text, "answer_start": start} for text, start in pairs]
        yield _question({**row, "answers": answers}, context, version, source, f"{source}, row {number}")


def _member(of: object, name: str, kind: type[Kind], where: str) -> Kind:
    if not isinstance(of, dict) or name not in of:
        raise InputError(f"{where}: no {name!r}; the file must be in SQuAD's form")
    value = of[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{where}: {name!r} is {type(value).__name__}, where {kind.__name__} is expected")
    return value


def _question(qa: object, context: str, version: SquadVersion, source: str, place: str) -> Question:
    """Check one question of a file or a hub dataset; messages name its id where it has one."""
    id = _member(qa, "id", str, place)
    where = f"{source}, question {id}"
    answers = []
    for answer in _member(qa, "answers", list, where):
        text, start = _member(answer, "text", str, where), _member(answer, "answer_start", int, where)
        answers.append(Answer(text, start))
        if not text.strip():
            raise InputError(f"{where}: an answer is empty")
        span = context[start : start + len(text)] if start >= 0 else ""
        if span.lower() != text.lower():
            raise InputError(f"{where}: the answer {text!r} does not stand at {start}, there is {span!r}")
    text = _member(qa, "question", str, where)
    if not context.strip():
        raise InputError(f"{where}: its context is empty")
    texts = (id, context, text, *(answer.text for answer in answers))
    broken = next((text for text in texts if has_lone_surrogate(text)), None)
    if broken is not None:
        raise InputError(f"{where}: half a character in {broken!a:.60}; mend or remove it")
    is_impossible = not answers
    if isinstance(qa, dict) and qa.get("is_impossible", is_impossible) != is_impossible:
        raise InputError(
            f"{where}: is_impossible is {qa['is_impossible']}, but there are {len(answers)} answers"
        )
    if is_impossible and version == "1.1":
        raise InputError(f"{where}: it has no answer, which SQuAD 1.1 does not allow; read it as version 2.0")
    return Question(id, context, text, tuple(answers))


def _check_ids(questions: Iterable[Question], where: str) -> tuple[Question, ...]:
    by_id: dict[str, Question] = {}
    for question in questions:
        if question.id in by_id:
            raise InputError(f"{where}, question {question.id}: another question has the same id")
        by_id[question.id] = question
    if not by_id:
        raise InputError(f"{where} holds no questions")
    return tuple(by_id.values())
