"""What the splits of a data set are for, by the names of files, folders and hub splits."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path
from typing import Literal

Split = Literal["train", "validation", "test"]
TrainOrValidation = Literal["train", "validation"]

SPLIT_WORDS: dict[Split, tuple[str, ...]] = {
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
    "train": ("train", "training"),
}
"""Words that name each split; the first of them that a hub dataset has is taken."""


def split_of(file: Path, folder: Path) -> Split | None:
    """The split of a file of a folder, by its name, or else by that of the folder that it lies in."""
    for name in reversed(file.relative_to(folder).parts):
        # without numbers behind them: valid of valid_01.txt
        words = {word.rstrip("0123456789") for word in re.split(r"[-_.\s]+", name.lower())}
        for split, split_words in SPLIT_WORDS.items():
            if words & set(split_words):
                return split
    return None


def find_split(split: Split, names: Container[str]) -> str | None:
    """The name of a split among those of a hub dataset; None where it has none."""
    return next((word for word in SPLIT_WORDS[split] if word in names), None)
