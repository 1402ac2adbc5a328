"""Questions in SQuAD's form, from files and from the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from raft.data.splits import TrainOrValidation
from raft.data.squad.questions import Answer, Question, load_squad
from raft.errors import InputError
from tests.data.squad.squad_form import CONTEXT, qa, write_squad

ROWS = {
    "id": ["a", "b"],
    "title": ["Ada", "Ada"],
    "context": [CONTEXT, CONTEXT],
    "question": ["What about a?", "What about b?"],
    "answers": [
        {"text": ["1843", "in 1843"], "answer_start": [CONTEXT.find("1843"), CONTEXT.find("in 1843")]},
        {"text": [], "answer_start": []},
    ],
}


def test_a_file_of_1_1(tmp_path: Path) -> None:
    path = write_squad(tmp_path / "any.json", [qa("a", "1843", "in 1843"), qa("b", "Ada Lovelace")])
    actual = load_squad(path, "train", "1.1")
    assert actual == (
        Question("a", CONTEXT, "What about a?", (Answer("1843", 42), Answer("in 1843", 39))),
        Question("b", CONTEXT, "What about b?", (Answer("Ada Lovelace", 2),)),
    )
    assert actual[0].context is actual[1].context


def test_questions_without_an_answer_in_2_0(tmp_path: Path) -> None:
    qas = [qa("a", is_impossible=True, plausible_answers=[{"text": "1843", "answer_start": 42}]), qa("b")]
    actual = load_squad(write_squad(tmp_path / "any.json", [*qas, qa("c", "1843")], "v2.0"), "train", "2.0")
    assert [question.answers for question in actual] == [(), (), (Answer("1843", 42),)]


def test_a_folder_has_one_file_a_split_and_version(tmp_path: Path) -> None:
    for name in ("train-v1.1", "dev-v1.1", "dev-v2.0"):
        write_squad(tmp_path / f"{name}.json", [qa(name, "1843")])
    assert load_squad(tmp_path, "train", "1.1")[0].id == "train-v1.1"
    assert load_squad(tmp_path, "validation", "1.1")[0].id == "dev-v1.1"
    assert load_squad(tmp_path, "validation", "2.0")[0].id == "dev-v2.0"
    with pytest.raises(InputError, match=r"no SQuAD file .*train-v2.0.json"):
        load_squad(tmp_path, "train", "2.0")
    with pytest.raises(InputError, match=r"no SQuAD file .*gone"):
        load_squad(tmp_path / "gone", "train", "1.1")


def test_lower_cased_answers_are_found(tmp_path: Path) -> None:
    lower = {"text": "ada lovelace", "answer_start": 2}
    path = write_squad(tmp_path / "any.json", [{**qa("a"), "answers": [lower]}])
    assert load_squad(path, "train", "1.1")[0].answers == (Answer("ada lovelace", 2),)


FILE = "{file}, article 1, paragraph 1, question 2"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (qa("b"), "{file}, question b: it has no answer, which SQuAD 1.1 does not allow"),
        (qa("a", "1843"), "{file}, question a: another question has the same id"),
        (
            {**qa("b"), "answers": [{"text": "1843", "answer_start": 41}]},
            "{file}, question b: the answer '1843' does not stand at 41, there is ' 184'",
        ),
        (
            {**qa("b"), "answers": [{"text": "1843", "answer_start": -1}]},
            "{file}, question b: the answer '1843' does not stand at -1, there is ''",
        ),
        (
            {**qa("b"), "answers": [{"text": " ", "answer_start": 0}]},
            "{file}, question b: an answer is empty",
        ),
        (
            {**qa("b"), "answers": [{"text": "1843", "answer_start": "42"}]},
            "{file}, question b: 'answer_start' is str, where int is expected",
        ),
        (
            {**qa("b"), "answers": [{"text": "1843", "answer_start": True}]},
            "{file}, question b: 'answer_start' is bool, where int is expected",
        ),
        (
            {**qa("b", "1843"), "question": "cut \ud83d"},
            r"{file}, question b: half a character in 'cut \ud83d'",
        ),
        (
            {**qa("b"), "answers": [{"text": "1843"}]},
            "{file}, question b: no 'answer_start'; the file must be in SQuAD's form",
        ),
        ({"id": "b", "answers": qa("b", "1843")["answers"]}, "{file}, question b: no 'question';"),
        ({"id": "b", "question": "?"}, "{file}, question b: no 'answers'"),
        ({"question": "?", "answers": []}, f"{FILE}: no 'id'"),
        ({**qa("b"), "id": 7}, f"{FILE}: 'id' is int, where str is expected"),
        ("b", f"{FILE}: no 'id'"),
    ],
)
def test_a_bad_question_is_named(second: Any, message: str, tmp_path: Path) -> None:
    path = write_squad(tmp_path / "x.json", [qa("a", "1843"), second])
    with pytest.raises(InputError) as caught:
        load_squad(path, "train", "1.1")
    assert str(caught.value).startswith(message.format(file=path))
    assert "\n" not in str(caught.value)


def test_an_impossible_question_with_answers_is_refused(tmp_path: Path) -> None:
    path = write_squad(tmp_path / "x.json", [qa("a", "1843", is_impossible=True)], "v2.0")
    with pytest.raises(InputError, match="question a: is_impossible is True, but there are 1 answers"):
        load_squad(path, "train", "2.0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"data": [\n{"title" "x"}]}', "{file}, line 2: not JSON: Expecting ':' delimiter"),
        (b"", "{file}, line 1: not JSON"),
        (b'{"data": "\xff"}', "{file} is not UTF-8 text: invalid start byte at byte 10"),
        (b"[1]", "{file}: no 'data'; the file must be in SQuAD's form"),
        (b'{"data": {}}', "{file}: 'data' is dict, where list is expected"),
        (b'{"data": []}', "{file} holds no questions"),
        (b'{"data": [{}]}', "{file}, article 1: no 'paragraphs'"),
        (b'{"data": [{"paragraphs": [{"qas": []}]}]}', "{file}, article 1, paragraph 1: no 'context'"),
        (
            b'{"data": [{"paragraphs": [{"context": "c", "qas": 1}]}]}',
            "{file}, article 1, paragraph 1: 'qas'",
        ),
        (b"[" * 200_000, "{file} is not in SQuAD's form: it is nested too deeply"),
    ],
)
def test_a_broken_file_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_squad(path, "train", "1.1")
    assert str(caught.value).startswith(message.format(file=path))
    assert "\n" not in str(caught.value)


def test_an_empty_context_is_refused(tmp_path: Path) -> None:
    path = write_squad(tmp_path / "x.json", [qa("a")], "v2.0", context=" \n")
    with pytest.raises(InputError, match=r"x.json, question a: its context is empty"):
        load_squad(path, "train", "2.0")


Hold = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Lets ``load_dataset`` return these splits; gives a list of what it was called with."""

    def set_splits(**splits: datasets.Dataset) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def load_dataset(*arguments: Any) -> dict[str, datasets.Dataset]:
            calls.append(arguments)
            return splits

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return calls

    return set_splits


def test_a_hub_dataset_of_2_0(hold: Hold) -> None:
    rows = datasets.Dataset.from_dict(ROWS)
    calls = hold(train=rows.select([0]), validation=rows)
    actual = load_squad("rajpurkar/squad_v2", "validation", "2.0")
    assert calls == [("rajpurkar/squad_v2", None)]
    assert actual == (
        Question("a", CONTEXT, "What about a?", (Answer("1843", 42), Answer("in 1843", 39))),
        Question("b", CONTEXT, "What about b?", ()),
    )
    assert actual[0].context is actual[1].context
    assert load_squad("rajpurkar/squad", "train", "1.1") == actual[:1]


def test_bad_hub_datasets_are_named(hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(train=datasets.Dataset.from_dict(ROWS))
    with pytest.raises(
        InputError, match=r"^a/b, question b: it has no answer, which SQuAD 1.1 does not allow"
    ):
        load_squad("a/b", "train", "1.1")

    def load_dataset(*arguments: Any) -> None:
        raise RuntimeError("the server is away\nand this is why")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=r"neither a local path nor a hub dataset .*: the server is away$"):
        load_squad("a/b", "train", "1.1")


def test_the_real_files(shared_data: Path) -> None:
    files: list[tuple[TrainOrValidation, str, int]] = [("train", "train", 829), ("validation", "dev", 186)]
    for split, name, count in files:
        actual = load_squad(shared_data / "squad", split, "1.1")
        content = json.loads((shared_data / "squad" / f"{name}-v1.1.json").read_text(encoding="utf-8"))
        assert len(actual) == count
        ids = [q["id"] for a in content["data"] for p in a["paragraphs"] for q in p["qas"]]
        assert [question.id for question in actual] == ids
