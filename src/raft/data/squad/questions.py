"""SQuAD 1.1 and 2.0, and whatever else is in its form: questions on paragraphs, answered by a part of them.

Texts are kept to the character, leading spaces included: answers are found in them by position.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import datasets

from raft.data.json_rows import has_half_character
from raft.errors import InputError

SquadVersion = Literal["1.1", "2.0"]
Split = Literal["train", "validation"]
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "validation": ("validation", "dev", "test")}
"""What splits are called in files and on the hub, the first that is there is taken."""

COLUMNS = {column: column for column in ("id", "title", "context", "question", "answers")}
"""Columns of a hub dataset; ``id`` and ``title`` may be missing."""

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Answer:
    """A part of the context.

    Attributes:
        text: as the data have it; its case may differ from the context's.
        start: of its first character in the context.
    """

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the paragraph it is asked about, and the answers that count as right.

    Attributes:
        id: no other question has it.
        title: of the article.
        context: the paragraph.
        question: as it is asked.
        answers: the same may come more than once; none where the context does not answer.
        is_impossible: the context does not answer (SQuAD 2.0 only).
    """

    id: str
    title: str
    context: str
    question: str
    answers: tuple[Answer, ...]
    is_impossible: bool = False


@dataclass(frozen=True)
class QuestionSet:
    """Questions, and by which version's rules they are answered and scored.

    Attributes:
        version: ``2.0`` where some have no answer in their context.
        questions: in the order of the data.
    """

    version: SquadVersion
    questions: tuple[Question, ...]


def load_squad(
    source: str | Path,
    split: Split,
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
        columns: of a hub dataset, where they are called otherwise, as ``{"context": "passage"}``.

    Raises:
        InputError: for a source that is not there or is something else, and for the first question that is
            not as it should be: no answer in 1.1, one that does not stand at its ``answer_start`` (case left
            aside, as TriviaQA's are lower-cased), an id that was there before, an empty context.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250; Rajpurkar, Jia and Liang 2018, arXiv 1806.03822.
    """
    if version not in (None, *get_args(SquadVersion)):
        raise InputError(f"SQuAD has the versions 1.1 and 2.0, not {version}")
    if split not in SPLIT_NAMES:
        raise InputError(f"the splits are train and validation, not {split!r}")
    path = Path(source).expanduser()
    if path.is_dir():
        path = _file_in(path, split, version)
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
    known = version
    questions = (
        _question(qa, title, context, known, where, place)
        for qa, title, context, place in _walk(articles, where)
    )
    return QuestionSet(version, _checked(questions, where))


def _file_in(folder: Path, split: Split, version: SquadVersion | None) -> Path:
    name = "train" if split == "train" else "dev"
    versions: tuple[SquadVersion, ...] = get_args(SquadVersion) if version is None else (version,)
    names = [f"{name}-v{one}.json" for one in versions]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise InputError(f"no SQuAD file {' or '.join(names)} in {folder}")
    if len(found) > 1:
        raise InputError(f"{folder} holds {' and '.join(names)}; say which version, 1.1 or 2.0")
    return found[0]


def _member(of: object, name: str, kind: type[Kind], where: str) -> Kind:
    if not isinstance(of, dict) or name not in of:
        raise InputError(f"{where}: no {name!r}; the file must be in SQuAD's form")
    value = of[name]
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise InputError(f"{where}: {name!r} is {type(value).__name__}, where {kind.__name__} is expected")
    return value


def _walk(articles: Iterable[object], where: str) -> Iterator[tuple[object, str, str, str]]:
    """All questions as they stand in the file, with title, context and what messages call the place."""
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
    """One question of a file or of a hub dataset, checked; messages call it by its id as soon as they can."""
    id = _member(qa, "id", str, place)
    where = f"{source}, question {id}"
    answers = []
    for answer in _member(qa, "answers", list, where):
        text, start = _member(answer, "text", str, where), _member(answer, "answer_start", int, where)
        answers.append(Answer(text, start))
        if not text.strip():
            raise InputError(f"{where}: an answer is empty")
        here = context[start : start + len(text)] if start >= 0 else ""
        if here.lower() != text.lower():
            raise InputError(f"{where}: the answer {text!r} does not stand at {start}, there is {here!r}")
    asked = _member(qa, "question", str, where)
    if not context.strip():
        raise InputError(f"{where}: its context is empty")
    texts = (id, title, context, asked, *(answer.text for answer in answers))
    half = next((text for text in texts if has_half_character(text)), None)
    if half is not None:
        raise InputError(f"{where}: half a character in {half!a:.60}; mend or remove it")
    impossible = not answers
    if isinstance(qa, dict) and qa.get("is_impossible", impossible) != impossible:
        raise InputError(
            f"{where}: is_impossible is {qa['is_impossible']}, but there are {len(answers)} answers"
        )
    if impossible and version == "1.1":
        raise InputError(f"{where}: it has no answer, which SQuAD 1.1 does not allow; read it as version 2.0")
    return Question(id, title, context, asked, tuple(answers), impossible)


def _checked(questions: Iterable[Question], where: str) -> tuple[Question, ...]:
    found: dict[str, Question] = {}
    for question in questions:
        if question.id in found:
            raise InputError(f"{where}, question {question.id}: another question has the same id")
        found[question.id] = question
    if not found:
        raise InputError(f"{where} holds no questions")
    return tuple(found.values())


def _load_from_hub(
    source: str, split: Split, version: SquadVersion | None, columns: Mapping[str, str]
) -> QuestionSet:
    name, _, configuration = source.partition(":")
    try:
        loaded = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # every layer below raises its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"{source} is neither a local path nor a hub dataset that can be loaded: {reason}"
        ) from error
    part = next((loaded[one] for one in SPLIT_NAMES[split] if one in loaded), None)
    if part is None:
        raise InputError(f"{source} has no split {split}, only {', '.join(map(str, loaded))}")
    for column in ("context", "question", "answers"):
        if columns[column] not in part.column_names:
            raise InputError(
                f"{source} has no column {columns[column]!r}, only {', '.join(part.column_names)}"
            )
    if version is None:
        version = "2.0" if any(not _listed(answers) for answers in part[columns["answers"]]) else "1.1"
    known = version
    part = part.select_columns([column for column in columns.values() if column in part.column_names])
    contexts: dict[str, str] = {}  # the rows repeat them, and each is kept once

    def questions() -> Iterator[Question]:
        for number, row in enumerate(part):
            given = {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}
            place = f"{source}, row {number}"
            context = _member(given, "context", str, place)
            qa = {**given, "id": str(given.get("id", number)), "answers": _listed(given["answers"])}
            context = contexts.setdefault(context, context)
            yield _question(qa, str(given.get("title", "")), context, known, source, place)

    return QuestionSet(version, _checked(questions(), source))


def _listed(answers: Any) -> Any:
    """Answers as files have them, where a dataset has one column each for texts and starts."""
    if not isinstance(answers, dict) or not {"text", "answer_start"} <= answers.keys():
        return answers
    pairs = zip(answers["text"], answers["answer_start"], strict=True)
    return [{"text": text, "answer_start": start} for text, start in pairs]
