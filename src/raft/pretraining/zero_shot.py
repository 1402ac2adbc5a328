"""Tests on minimal pairs that a pretraining ends with, and takes a sample of along the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainerState

from raft.data.pairs.paradigms import Paradigm
from raft.data.text.unigram import UnigramModel
from raft.errors import InputError, suggest
from raft.evaluation.callback import PairsCallback
from raft.evaluation.language_model import LanguageModel, check_language_model
from raft.evaluation.minimal_pairs import PairsResult, judge_pairs
from raft.evaluation.scoring import check_lengths, score_unigrams
from raft.evaluation.tasks import PAIRS, Test, make_pairs_test
from raft.files import write_text
from raft.hf.positions import max_positions


@dataclass(frozen=True)
class ZeroShotTest:
    """A test, and one of a sample of its pairs.

    Attributes:
        paradigms: the pairs.
        whole: of the finished model.
        sample: of the model at each validation; None where none is taken.
    """

    paradigms: Sequence[Paradigm]
    whole: Test[PairsResult]
    sample: Test[PairsResult] | None

    @property
    def sentences(self) -> list[str]:
        """Of all pairs, in their order."""
        return [sentence for paradigm in self.paradigms for pair in paradigm.pairs for sentence in pair]

    @cached_property
    def digest(self) -> str:
        """Of all sentences: another digest, other pairs."""
        return hashlib.sha256("\n".join(self.sentences).encode()).hexdigest()


def parse_tests(text: str | None) -> dict[str, str | None]:
    """Folders by name of the test: of ``"blimp=FOLDER,zorro=FOLDER"``; None stands for the hub's data.

    Raises:
        InputError: for another name, or one that is there twice.
    """
    tests: dict[str, str | None] = {}
    for part in text.split(",") if text else ():
        name, _, folder = part.strip().partition("=")
        if name not in PAIRS:
            raise InputError(f"--evaluate takes {' and '.join(PAIRS)}, not {name!r}{suggest(name, PAIRS)}")
        if name in tests:
            raise InputError(f"--evaluate names {name} twice")
        tests[name] = folder or None
    return tests


def open_tests(text: str | None, items: int | None = None, along: int = 0) -> dict[str, ZeroShotTest]:
    """Read the pairs of the tests that ``--evaluate`` names.

    Args:
        text: as for ``parse_tests``.
        items: pairs of each paradigm that are tested; None, or 0 as in older recipes, for all.
        along: pairs of each paradigm that are tested along the way; 0 for none.

    Raises:
        InputError: for pairs that cannot be read.
    """
    tests = {}
    for name, folder in parse_tests(text).items():
        paradigms = PAIRS[name](folder, items or None)
        first = [replace(paradigm, pairs=paradigm.pairs[:along]) for paradigm in paradigms]
        tests[name] = ZeroShotTest(
            paradigms,
            make_pairs_test(name, paradigms),
            make_pairs_test(name, first) if along else None,
        )
    return tests


class CheckLengths(TrainerCallback):
    """Raises ``InputError`` before the first step where a sentence is too long for the model at the end."""

    def __init__(self, test: ZeroShotTest, tokenizer: PreTrainedTokenizerBase, is_masked: bool) -> None:
        self.test, self.tokenizer, self.is_masked = test, tokenizer, is_masked

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare the lengths of all sentences with the model's positions."""
        model = kwargs["model"]
        checked = LanguageModel("the model", model, self.tokenizer, self.is_masked, max_positions(model))
        check_lengths(checked, self.test.sentences)


def make_callbacks(
    tests: Mapping[str, ZeroShotTest], tokenizer: PreTrainedTokenizerBase, is_masked: bool
) -> list[TrainerCallback]:
    """Those that check all pairs before a training, and take the samples along it."""
    samples = (test.sample for test in tests.values())
    return [
        *(CheckLengths(test, tokenizer, is_masked) for test in tests.values()),
        *(PairsCallback(sample, tokenizer) for sample in samples if sample is not None),
    ]


def read_history(state: TrainerState) -> dict[str, list[tuple[int, float]]]:
    """Steps and accuracies of the samples, by name of the test."""
    return {
        name: [(int(entry["step"]), float(entry[key])) for entry in state.log_history if key in entry]
        for name in PAIRS
        if any((key := f"eval_{name}_accuracy") in entry for entry in state.log_history)
    }


def apply_tests(
    tests: Mapping[str, ZeroShotTest],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> dict[str, float]:
    """Test a finished model; all numbers go to ``NAME.json`` in the folder.

    Returns:
        Accuracy over all paradigms, from 0 to 1, by name of the test.
    """
    accuracies = {}
    for name, test in tests.items():
        result = test.whole(check_language_model(model, tokenizer, str(folder)))
        write_text(folder / f"{name}.json", json.dumps(asdict(result), indent=1) + "\n")
        accuracies[name] = result.overall.by_sum.value
    return accuracies


def apply_unigram_tests(
    tests: Mapping[str, ZeroShotTest], unigram: UnigramModel, tokenizer: PreTrainedTokenizerBase
) -> dict[str, float]:
    """What a model that knows nothing but the frequencies of tokens gets.

    Returns:
        Accuracy over all paradigms, from 0 to 1, by name of the test.
    """
    score = partial(score_unigrams, unigram, tokenizer)
    return {
        name: float(np.mean([o.mean() for o in judge_pairs(test.paradigms, score).by_sum.values()]))
        for name, test in tests.items()
    }
