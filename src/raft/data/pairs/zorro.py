"""Zorro (Huebner et al. 2021): pairs of words from a small vocabulary, for small models."""

from __future__ import annotations

from pathlib import Path

from raft.data.files import open_text, reading, stem_of
from raft.data.pairs.paradigms import Paradigm, check_sentence, pair_files
from raft.errors import InputError

SOURCE = "github.com/phueb/Zorro, folder sentences/babyberta"


def read_zorro(folder: str | None, items: int | None = None) -> list[Paradigm]:
    """The paradigms, one a file ``PHENOMENON-DETAIL.txt``: odd lines are wrong, even lines right.

    Names of phenomena can hold a dash themselves, as ``filler-gap``: the last one counts.

    Args:
        folder: of the files.
        items: so many pairs of each paradigm, the first ones; None for all.

    Raises:
        InputError: without a folder, and for an empty file or line, an odd number of lines, a file that is no
            UTF-8 text, or two files of one name.
    """
    if folder is None:
        raise InputError(f"zorro is not on the hub: give --data_dir, the folder of its files ({SOURCE})")
    paradigms: dict[str, Paradigm] = {}
    for file in pair_files(folder, (".txt",), "txt files of Zorro"):
        name = stem_of(file)
        if name in paradigms:
            raise InputError(f"{file}: another file of --data_dir is called {name}, too; keep one of them")
        phenomenon = name.rpartition("-")[0] or name
        paradigms[name] = Paradigm(name, phenomenon, tuple(_read_pairs(file)[:items]))
    return list(paradigms.values())


def _read_pairs(file: Path) -> list[tuple[str, str]]:
    with reading(file), open_text(file) as stream:
        lines = [line.rstrip("\n") for line in stream]
    if not lines:
        raise InputError(f"{file} holds no pairs")
    if len(lines) % 2:
        raise InputError(f"{file} has {len(lines)} lines: a wrong sentence and a right one by turns are even")
    sentences = [check_sentence(line, f"{file}, line {n}") for n, line in enumerate(lines, start=1)]
    return list(zip(sentences[1::2], sentences[::2], strict=True))
