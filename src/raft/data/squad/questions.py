"""SQuAD 1.1 and 2.0, and data in its form: questions on paragraphs, answered by spans of them.

Texts are kept unchanged, leading spaces included: answers are positions in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from raft.data.hub import load_splits
from raft.data.json_rows import has_lone_surrogate
from raft.data.splits import TrainOrValidation
from raft.errors import InputError

SquadVersion = Literal["1.1", "2.0"]
HUB_SPLITS: dict[TrainOrValidation, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "dev", "test"),
}
"""Names of splits on the hub; the first that a data set has is taken."""

COLUMNS = {column: column for column in ("id", "title", "context", "question", "answers")}
"""Columns of a hub dataset; ``id`` and ``title`` may be missing."""

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
        title: of the article.
        context: the paragraph.
        question: its text.
        answers: may hold duplicates; empty where the context has no answer.
        is_impossible: whether the context has no answer (SQuAD 2.0 only).
    """

    id: str
    title: str
    context: str
    question: str
    answers: tuple[Answer, ...]
    is_impossible: bool = False


@dataclass(frozen=True)
class QuestionSet:
    """Questions, and the version whose rules apply to them.

    Attributes:
        version: ``2.0`` where some questions have no answer.
        questions: in the order of the data.
    """

    version: SquadVersion
    questions: tuple[Question, ...]


def load_squad(
    source: str | Path,
    split: TrainOrValidation,
    version: SquadVersion | None = None,
    columns: Mapping[str, str] | None = None,
) -> QuestionSet:
    """Read one split.

    Args:
        source: a JSON file in SQuAD's form (whatever the split); a folder with ``train-v1.1.json``,
            ``dev-v1.1.json``, ``train-v2.0.json``, ``dev-v2.0.json`` or some of them; or a hub dataset,
            ``owner/name`` or ``owner/name:configuration``, with the columns of ``rajpurkar/squad``.
        split: ``train`` or ``validation``, which is SQuAD's official development set.
        version: ``1.1``, where each question must have an answer, or ``2.0``. By default what the data say:
            2.0 where a file's ``version`` begins with 2 or its questions have ``is_impossible``, and where
            some of a hub dataset's have no answer.
        columns: names of a hub dataset's columns that differ, as ``{"context": "passage"}``.

    Raises:
        InputError: for a source that cannot be read, and for the first invalid question: no answer in 1.1, an
            answer that is not at its ``answer_start`` (in any case, as TriviaQA's are lower-cased), a
            duplicate id, an empty context.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250; Rajpurkar, Jia and Liang 2018, arXiv 1806.03822.
    """
    if version not in (None, *get_args(SquadVersion)):
        raise InputError(f"SQuAD has the versions 1.1 and 2.0, not {version}")
    if split not in HUB_SPLITS:
        raise InputError(f"the splits are train and validation, not {split!r}")
    path = Path(source).expanduser()
    if path.is_dir():
        path = _find_file(path, split, version)
    if path.is_file():
        return read_squad(path, version)
    if isinstance(source, Path) or path.suffix == ".json":
        raise InputError(f"no SQuAD file {path}")
    return _load_from_hub(source, split, version, {**COLUMNS, **(columns or {})})


def read_squad(path: Path, version: SquadVersion | None = None) -> QuestionSet:
    """Read a JSON file in SQuAD's form; arguments, value and errors are those of ``load_squad``."""
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
    where = str(path)
    articles = _member(content, "data", list, where)
    if version is None:
        stated = str(content.get("version", "")).lower().removeprefix("v")
        version = "2.0" if stated.startswith("2") or _marks_impossible(articles, where) else "1.1"
    rules = version
    questions = (
        _question(qa, title, context, rules, where, place)
        for qa, title, context, place in _walk(articles, where)
    )
    return QuestionSet(version, _check_ids(questions, where))


def _find_file(folder: Path, split: TrainOrValidation, version: SquadVersion | None) -> Path:
    name = "train" if split == "train" else "dev"
    versions: tuple[SquadVersion, ...] = get_args(SquadVersion) if version is None else (version,)
    names = [f"{name}-v{one}.json" for one in versions]
    files = [folder / name for name in names if (folder / name).is_file()]
    if not files:
        raise InputError(f"no SQuAD file {' or '.join(names)} in {folder}")
    if len(files) > 1:
        raise InputError(f"{folder} holds {' and '.join(names)}; say which version, 1.1 or 2.0")
    return files[0]


def _member(of: object, name: str, kind: type[Kind], where: str) -> Kind:
    if not isinstance(of, dict) or name not in of:
        raise InputError(f"{where}: no {name!r}; the file must be in SQuAD's form")
    value = of[name]
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise InputError(f"{where}: {name!r} is {type(value).__name__}, where {kind.__name__} is expected")
    return value


def _walk(articles: Iterable[object], where: str) -> Iterator[tuple[object, str, str, str]]:
    """All questions of a file, unchecked, with title, context and their place for messages."""
    for a, article in enumerate(articles, start=1):
        of_article = f"{where}, article {a}"
        paragraphs = _member(article, "paragraphs", list, of_article)
        title = str(article.get("title", "")) if isinstance(article, dict) else ""
        for p, paragraph in enumerate(paragraphs, start=1):
            of_paragraph = f"{of_article}, paragraph {p}"
            context = _member(paragraph, "context", str, of_paragraph)
            for q, qa in enumerate(_member(paragraph, "qas", list, of_paragraph), start=1):
                yield qa, title, context, f"{of_paragraph}, question {q}"


def _marks_impossible(articles: Iterable[object], where: str) -> bool:
    return any(isinstance(qa, dict) and "is_impossible" in qa for qa, *_ in _walk(articles, where))


def _question(
    qa: object, title: str, context: str, version: SquadVersion, source: str, place: str
) -> Question:
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
    texts = (id, title, context, text, *(answer.text for answer in answers))
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
    return Question(id, title, context, text, tuple(answers), is_impossible)


def _check_ids(questions: Iterable[Question], where: str) -> tuple[Question, ...]:
    by_id: dict[str, Question] = {}
    for question in questions:
        if question.id in by_id:
            raise InputError(f"{where}, question {question.id}: another question has the same id")
        by_id[question.id] = question
    if not by_id:
        raise InputError(f"{where} holds no questions")
    return tuple(by_id.values())


def _load_from_hub(
    source: str, split: TrainOrValidation, version: SquadVersion | None, columns: Mapping[str, str]
) -> QuestionSet:
    splits = load_splits(source)
    data = next((splits[name] for name in HUB_SPLITS[split] if name in splits), None)
    if data is None:
        raise InputError(f"{source} has no split {split}, only {', '.join(splits)}")
    for column in ("context", "question", "answers"):
        if columns[column] not in data.column_names:
            raise InputError(
                f"{source} has no column {columns[column]!r}, only {', '.join(data.column_names)}"
            )
    if version is None:
        version = "2.0" if any(not _answer_list(answers) for answers in data[columns["answers"]]) else "1.1"
    rules = version
    data = data.select_columns([column for column in columns.values() if column in data.column_names])
    contexts: dict[str, str] = {}  # rows repeat them, and each is kept once

    def questions() -> Iterator[Question]:
        for number, row in enumerate(data):
            qa = {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}
            place, title = f"{source}, row {number}", str(qa.get("title", ""))
            context = _member(qa, "context", str, place)
            qa |= {"id": str(qa.get("id", number)), "answers": _answer_list(qa["answers"])}
            yield _question(qa, title, contexts.setdefault(context, context), rules, source, place)

    return QuestionSet(version, _check_ids(questions(), source))


def _answer_list(answers: Any) -> Any:
    """Answers as in files, where a dataset has lists of texts and of starts."""
    if not isinstance(answers, dict) or not {"text", "answer_start"} <= answers.keys():
        return answers
    pairs = zip(answers["text"], answers["answer_start"], strict=True)
    return [{"text": text, "answer_start": start} for text, start in pairs]
