"""Text from every source, and what is said when there is none."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pandas as pd
import pytest

from raft.data.text import python_docs
from raft.data.text.corpora import first_texts, open_corpus
from raft.errors import InputError

TEXTS = [f"Document number {i} speaks of the {i}th thing, at some length." for i in range(200)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAFT_CACHE", str(tmp_path / "cache"))


def write(path: Path, texts: list[str]) -> None:
    lines = "\n".join(json.dumps({"text": text, "id": i}) for i, text in enumerate(texts))
    if path.suffix == ".parquet":
        pd.DataFrame({"text": texts, "id": range(len(texts))}).to_parquet(path)
    elif path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.name.endswith(".jsonl"):
        path.write_text(lines)
    elif path.name.endswith(".txt.xz"):
        path.write_bytes(lzma.compress("\n\n".join(texts).encode()))
    else:
        path.write_text("\n\n".join(texts))


def read(source: Path, text_column: str = "text") -> tuple[list[str], list[str]]:
    """The documents for training, and those that are held out."""
    corpus = open_corpus(str(source), text_column)
    return list(corpus.documents("train")), list(corpus.documents("validation"))


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.txt", "a.txt.xz"])
def test_every_format_gives_the_same_documents(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, TEXTS)
    train, validation = read(tmp_path / name)
    assert sorted([*train, *validation]) == sorted(TEXTS)
    assert 2 <= len(validation) <= 25
    assert read(tmp_path / name) == (train, validation)


def test_a_folders_validation_file_is_held_out(tmp_path: Path) -> None:
    write(tmp_path / "train-00000.parquet", TEXTS[:100])
    write(tmp_path / "train-00001.jsonl", TEXTS[100:150])
    write(tmp_path / "validation.txt", TEXTS[150:])
    train, validation = read(tmp_path)
    assert sorted(train) == sorted(TEXTS[:150])
    assert sorted(validation) == sorted(TEXTS[150:])


def test_wikipedia_in_the_hubs_layout(shared_data: Path) -> None:
    train, validation = read(shared_data / "wikipedia")
    assert (len(train), len(validation)) == (43_042, 240)


def broken_json(folder: Path) -> Path:
    path = folder / "bad.jsonl"
    path.write_text('{"text": "fine"}\n{"text": ')
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", r"no corpus at .*missing: the path does not exist"),
        (lambda folder: folder, "holds no parquet, jsonl or txt file"),
        (broken_json, r"bad\.jsonl, line 2: not JSON "),
    ],
)
def test_bad_sources_are_refused_in_one_line(make, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as caught:
        read(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_empty_file_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match="is empty"):
        read(tmp_path / "empty.txt")
    write(tmp_path / "a.jsonl", TEXTS)
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: no column 'body', only "):
        read(tmp_path / "a.jsonl", "body")


def test_empty_documents_are_left_out_and_numbers_are_no_text(tmp_path: Path) -> None:
    pd.DataFrame({"text": [*TEXTS, "", "  ", None]}).to_parquet(tmp_path / "a.parquet")
    train, validation = read(tmp_path / "a.parquet")
    assert sorted([*train, *validation]) == sorted(TEXTS)
    write(tmp_path / "a.jsonl", TEXTS)
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: column 'id' holds int, not text"):
        read(tmp_path / "a.jsonl", "id")


def test_an_unknown_hub_name_says_so() -> None:
    with pytest.raises(InputError, match="nobody/nothing is neither a local path nor a hub dataset"):
        open_corpus("nobody/nothing")


def test_docstrings_are_cleaned_of_markup_and_code() -> None:
    paragraphs = python_docs.clean_docstring(
        """
        Compute the :func:`mean <numpy.mean>` of ``x`` along the *given* axis of the array.

        Parameters
        ----------
        x : array_like
            Values that are to be averaged, in any order you like.

        axis (`int` or `tuple`, *optional*):
            The axis along which it is computed, counted from zero.
        keepdims (`bool`): Whether the axis is kept, with a length of one.

        >>> compute([1, 2])
        1.5

        See the following example, which shows how it is used::

            y = compute(x) and this is not a sentence at all.

        .. note::
            A note is skipped because it belongs to a directive.

        It was written by `Someone <https://example.org>`_ for all readers of this page.
        """
    )
    assert paragraphs == [
        "Compute the mean of x along the given axis of the array.",
        "Values that are to be averaged, in any order you like.",
        "The axis along which it is computed, counted from zero.",
        "Whether the axis is kept, with a length of one.",
        "See the following example, which shows how it is used.",
        "It was written by Someone for all readers of this page.",
    ]


def test_python_docs_split_by_file_and_share_no_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_documented_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    for i in range(60):
        own = f"Word{chr(97 + i % 26)}{chr(97 + i // 26)} begins the one sentence that this module has alone."
        shared = "This very sentence stands in each module of the package."
        (package / f"module_{i}.py").write_text(f'"""{own}\n\n{shared}\n"""\n')
    (package / "broken.py").write_text("def (:")
    monkeypatch.syspath_prepend(str(tmp_path))
    train, validation = python_docs.python_docs(["some_documented_package"])
    assert python_docs.python_docs(["some_documented_package"], processes=3) == (train, validation)
    assert train
    assert validation
    lines = [line for document in (*train, *validation) for line in document.split("\n")]
    assert len(lines) == len(set(lines)) == 61


@pytest.mark.parametrize(
    "name",
    ["c4-validation.00000-of-00008.txt", "wiki.valid.txt", "valid_0.txt", "dev2.txt", "validation/en/x.txt"],
)
def test_names_by_which_files_are_held_out(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("held out")
    for other in ("devices.txt", "wiki.test.txt", "README.md"):
        (tmp_path / other).write_text(f"of {other}")
    assert read(tmp_path) == (["of devices.txt"], ["held out"])


def test_the_first_texts_of_very_many_files(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03d}.txt").write_text(f"first of {number}\nsecond of {number}\n")
    texts = first_texts(str(tmp_path), 200)
    assert len(set(texts)) == 200
    assert texts[:3] == ["first of 0", "first of 5", "first of 10"]
    assert len(first_texts(str(tmp_path), 1000)) == 600


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.txt", "a.txt.xz"])
def test_the_first_texts_of_every_format(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, ["", *TEXTS])
    assert first_texts(str(tmp_path / name), 3) == TEXTS[:3]
    assert first_texts(str(tmp_path / name), 1000) == TEXTS


def test_the_first_texts_of_a_wrong_column(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", TEXTS)
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: no column 'body', only text, id"):
        first_texts(str(tmp_path / "a.jsonl"), 3, "body")
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: column 'id' holds int, not text"):
        first_texts(str(tmp_path / "a.jsonl"), 3, "id")
