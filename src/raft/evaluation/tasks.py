"""The tests by name, and one call that runs one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raft.data.pairs.blimp import read_blimp
from raft.data.pairs.paradigms import Paradigm
from raft.data.pairs.zorro import read_zorro
from raft.errors import InputError, suggest
from raft.evaluation.language_model import LanguageModel, check_language_model
from raft.evaluation.last_words import (
    LastWordsComparison,
    LastWordsResult,
    compare_last_words,
    read_passages,
    score_last_words,
    summarize_last_words,
)
from raft.evaluation.minimal_pairs import (
    PairsComparison,
    PairsResult,
    compare_pairs,
    judge_pairs,
    summarize_pairs,
)
from raft.evaluation.perplexity import (
    PerplexityComparison,
    PerplexityResult,
    compare_perplexity,
    read_documents,
    score_documents,
    summarize_perplexity,
)
from raft.evaluation.scoring import BATCH_TOKENS

Result = PairsResult | LastWordsResult | PerplexityResult
Comparison = PairsComparison | LastWordsComparison | PerplexityComparison
PAIRS = {"blimp": read_blimp, "zorro": read_zorro}
TASKS = (*PAIRS, "lambada", "perplexity")


@dataclass
class EvaluationOptions:
    """What is tested, and how."""

    task: str = field(default="", metadata={"help": f"Test: {', '.join(TASKS)}."})
    data_dir: str | None = field(
        default=None,
        metadata={
            "help": "Its data: folder of BLiMP (jsonl) or Zorro (txt), file of LAMBADA (jsonl or txt), or a "
            "corpus of raft pretrain for perplexity. Without it BLiMP and LAMBADA come from the hub."
        },
    )
    items: int | None = field(
        default=None,
        metadata={"help": "Only the first N pairs of each paradigm, passages or documents."},
    )
    whole_words: bool = field(
        default=False,
        metadata={"help": "Masked models: mask the rest of a token's word with it (PLL-word-l2r)."},
    )
    split: str = field(
        default="all",
        metadata={
            "help": "Documents for perplexity: all, or validation, those that raft pretrain holds out."
        },
    )
    text_column: str = field(default="text", metadata={"help": "Column of jsonl and parquet."})
    max_length: int | None = field(
        default=None,
        metadata={"help": "Tokens of a window for perplexity (default: the positions, at most 2048)."},
    )
    batch_tokens: int = field(
        default=BATCH_TOKENS, metadata={"help": "Tokens of a forward pass; fewer need less memory."}
    )


@dataclass(frozen=True)
class Test:
    """A test whose data are read.

    Attributes:
        score: judges each item, of a model.
        summarize: makes the result of that.
        compare: makes a comparison of those of two models.
    """

    score: Callable[[LanguageModel], Any]
    summarize: Callable[[LanguageModel, Any], Result]
    compare: Callable[[Any, Any], Comparison]


@dataclass(frozen=True)
class PairsTest:
    """A benchmark of minimal pairs, to be called with a model.

    Attributes:
        name: of it.
        paradigms: that are tested.
    """

    name: str
    paradigms: Sequence[Paradigm]

    def __call__(self, model: LanguageModel, batch_tokens: int = BATCH_TOKENS) -> PairsResult:
        """Accuracies of a model of ``check_language_model``."""
        outcomes = judge_pairs(model, self.paradigms, batch_tokens)
        return summarize_pairs(self.paradigms, outcomes, _describe_score(model, False))


def open_pairs(name: str, folder: str | None = None, items: int | None = None) -> PairsTest:
    """Read minimal pairs.

    Args:
        name: ``"blimp"`` or ``"zorro"``.
        folder: of its files; the hub's where it is None.
        items: only the first pairs of each paradigm.

    Raises:
        InputError: for data that cannot be read.
    """
    return PairsTest(name, PAIRS[name](folder, items))


def open_test(options: EvaluationOptions) -> Test:
    """Read the data of a test.

    Raises:
        InputError: for an unknown task, an option of another one, or data that cannot be read.
    """
    task, tokens = options.task, options.batch_tokens
    if task not in TASKS:
        raise InputError(f"--task must be one of {', '.join(TASKS)}, not {task!r}{suggest(task, TASKS)}")
    if options.whole_words and task not in PAIRS:
        raise InputError(f"--whole_words is of {' and '.join(PAIRS)}, not {task}")
    if task != "perplexity" and (options.max_length is not None or options.split != "all"):
        raise InputError(f"--max_length and --split are of perplexity, not {task}")
    if task in PAIRS:
        paradigms = PAIRS[task](options.data_dir, options.items)
        words = options.whole_words
        return Test(
            partial(judge_pairs, paradigms=paradigms, batch_tokens=tokens, whole_words=words),
            lambda model, outcomes: summarize_pairs(paradigms, outcomes, _describe_score(model, words)),
            partial(compare_pairs, paradigms),
        )
    if task == "lambada":
        passages = read_passages(options.data_dir, options.items, options.text_column)
        return Test(
            partial(score_last_words, passages=passages, batch_tokens=tokens),
            lambda _, words: summarize_last_words(words),
            compare_last_words,
        )
    if options.data_dir is None:
        raise InputError("--task perplexity needs --data_dir, a corpus: file, folder, hub name or pydocs")
    documents = read_documents(options.data_dir, options.split, options.items, options.text_column)
    length = options.max_length
    return Test(
        partial(score_documents, documents=documents, batch_tokens=tokens, max_length=length),
        lambda _, losses: summarize_perplexity(losses),
        compare_perplexity,
    )


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: str,
    source: str | None = None,
    batch_tokens: int = BATCH_TOKENS,
    **options: Any,
) -> Result:
    """Test a causal or masked language model, as ``raft evaluate`` does; its mode and dtype stay.

    Args:
        model: of ``transformers``, with or without RAFs.
        tokenizer: that belongs to it.
        task: one of ``TASKS``.
        source: of the data, as ``--data_dir``; None for the hub's.
        batch_tokens: of a forward pass.
        options: others of ``EvaluationOptions``.

    Returns:
        A dataclass, whose ``dataclasses.asdict`` is JSON.

    Raises:
        InputError: for data that cannot be read, or a model that cannot be tested so.
    """
    test = open_test(EvaluationOptions(task, source, batch_tokens=batch_tokens, **options))
    checked = check_language_model(model, tokenizer, type(model).__name__)
    return test.summarize(checked, test.score(checked))


def _describe_score(language_model: LanguageModel, whole_words: bool) -> str:
    if not language_model.is_masked:
        return "log-likelihood"
    return "pseudo-log-likelihood" + (", whole words" if whole_words else "")
