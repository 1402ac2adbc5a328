"""The tests by name, and one call that runs one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raft.bounds import check_number, check_numbers
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
from raft.evaluation.scoring import BATCH_TOKENS, score_sentences

R = TypeVar("R")
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
class Test(Generic[R]):
    """A test whose data are read, to be called with a model of ``check_language_model``.

    Attributes:
        name: of its task.
        score: judges each item, of a model.
        summarize: makes the result of that.
        compare: makes a comparison of those of two models.
    """

    name: str
    score: Callable[[LanguageModel], Any]
    summarize: Callable[[LanguageModel, Any], R]
    compare: Callable[[Any, Any], Comparison]

    def __call__(self, model: LanguageModel) -> R:
        """The result of a model."""
        return self.summarize(model, self.score(model))


def open_pairs(name: str, folder: str | None = None, items: int | None = None) -> Test[PairsResult]:
    """Read minimal pairs.

    Args:
        name: ``"blimp"`` or ``"zorro"``.
        folder: of its files; the hub's where it is None.
        items: only the first pairs of each paradigm.

    Raises:
        InputError: for data that cannot be read, or items below 1.
    """
    if items is not None:
        check_number("items", items)
    return make_pairs_test(name, PAIRS[name](folder, items))


def make_pairs_test(
    name: str,
    paradigms: Sequence[Paradigm],
    batch_tokens: int = BATCH_TOKENS,
    whole_words: bool = False,
) -> Test[PairsResult]:
    """The test on minimal pairs; see ``raft.evaluation.scoring.score_sentences`` for the numbers."""
    return Test(
        name,
        lambda model: judge_pairs(
            paradigms, lambda texts: score_sentences(model, texts, batch_tokens, whole_words)
        ),
        lambda model, outcomes: summarize_pairs(paradigms, outcomes, _describe_score(model, whole_words)),
        partial(compare_pairs, paradigms),
    )


def open_test(options: EvaluationOptions) -> Test[Any]:
    """Read the data of a test.

    Raises:
        InputError: for an unknown task, an option of another one, or data that cannot be read.
    """
    check_numbers(options)
    task, tokens = options.task, options.batch_tokens
    if task not in TASKS:
        raise InputError(f"--task must be one of {', '.join(TASKS)}, not {task!r}{suggest(task, TASKS)}")
    if options.whole_words and task not in PAIRS:
        raise InputError(f"--whole_words is of {' and '.join(PAIRS)}, not {task}")
    if task != "perplexity" and (options.max_length is not None or options.split != "all"):
        raise InputError(f"--max_length and --split are of perplexity, not {task}")
    if task in PAIRS:
        paradigms = PAIRS[task](options.data_dir, options.items)
        return make_pairs_test(task, paradigms, tokens, options.whole_words)
    if task == "lambada":
        passages = read_passages(options.data_dir, options.items, options.text_column)
        return Test(
            task,
            partial(score_last_words, passages=passages, batch_tokens=tokens),
            lambda _, words: summarize_last_words(words),
            compare_last_words,
        )
    if options.data_dir is None:
        raise InputError("--task perplexity needs --data_dir, a corpus: file, folder, hub name or pydocs")
    documents = read_documents(options.data_dir, options.split, options.items, options.text_column)
    length = options.max_length
    return Test(
        task,
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
    result: Result = test(check_language_model(model, tokenizer, type(model).__name__))
    return result


def _describe_score(language_model: LanguageModel, whole_words: bool) -> str:
    if not language_model.is_masked:
        return "log-likelihood"
    return "pseudo-log-likelihood" + (", whole words" if whole_words else "")
