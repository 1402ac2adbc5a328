"""A corpus as sequences of tokens on disk: made once, and memory-mapped from then on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from raft.data.cache import build_once, cache_directory, key_of
from raft.data.splits import TrainOrValidation
from raft.data.text.corpora import Corpus
from raft.data.text.encoding import encode
from raft.data.text.tokens import (
    CLM,
    MLM,
    Packer,
    encoder,
    end_token_id,
    load_tokenizer,
    token_dtype,
    train_bpe_tokenizer,
    train_tokenizer,
)
from raft.errors import InputError
from raft.files import save_pretrained, write_text, writing

FORMAT = 1
"""Raise when the files' content changes, so that old ones are not read."""

SPLITS: tuple[TrainOrValidation, TrainOrValidation] = ("train", "validation")
BATCH_CHARACTERS = 500_000
"""Text that is encoded at once, in about a hundred times as much memory."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TokenStore:
    """Sequences of tokens, memory-mapped.

    Attributes:
        folder: of the files.
        train: ``[N, L]``, uint16 where the vocabulary allows, else int32.
        validation: ``[M, L]``, of other documents.
        documents: number of documents read for each split.
    """

    folder: Path
    train: NDArray[np.integer]
    validation: NDArray[np.integer]
    documents: dict[str, int]


def tokenize_corpus(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerFast,
    length: int,
    *,
    objective: str = MLM,
    max_documents: int | None = None,
    progress: Progress | None = None,
) -> TokenStore:
    """Tokenize a corpus into the cache, or take it from there; memory does not grow with the corpus.

    The cache key is the corpus's content, the tokenizer and these settings. Where several processes ask for
    it at once, one makes it and the others wait.

    Args:
        corpus: from ``open_corpus``.
        tokenizer: from ``train_tokenizer`` or ``load_tokenizer``.
        length: tokens of a sequence, special ones included.
        objective: ``"mlm"`` for sequences ``[CLS] … [SEP]``, ``"clm"`` for tokens alone.
        max_documents: of the training split, after which no more is read.
        progress: called now and then with the numbers of documents and tokens so far.

    Raises:
        InputError: for settings that cannot work, a file that cannot be read, or a corpus that does not fill
            one sequence of either split.
    """
    special = 2 if objective == MLM else 1  # a causal model predicts from the first token
    if length <= special:
        raise InputError(f"length must be at least {1 + special}, not {length}")
    fast = encoder(tokenizer)
    settings = [
        FORMAT,
        corpus.fingerprint,
        fast.to_str(),
        [tokenizer.cls_token_id if objective == MLM else CLM, end_token_id(tokenizer, objective)],
        [length, None, max_documents],
    ]

    def build(folder: Path) -> None:
        end, dtype = end_token_id(tokenizer, objective), token_dtype(tokenizer)
        writers = {split: _Writer(folder / split, Packer(tokenizer, length, objective)) for split in SPLITS}
        with ExitStack() as files:
            for writer in writers.values():
                files.enter_context(writer)
            for batch in _batches(corpus, max_documents):
                for split, texts in batch.items():
                    writers[split].add(len(texts), encode(fast, texts, end, dtype))
                if progress is not None:
                    both = writers.values()
                    progress(sum(w.documents for w in both), sum(w.tokens for w in both))
        _check_filled(corpus.name, writers, length)
        description = {
            "corpus": corpus.name,
            "dtype": dtype.str,
            "shapes": {split: [writer.sequences, length] for split, writer in writers.items()},
            "documents": {split: writer.documents for split, writer in writers.items()},
        }
        write_text(folder / "description.json", json.dumps(description, indent=1))

    return open_store(build_once(cache_directory() / "tokens" / key_of(settings), build))


def open_store(folder: Path) -> TokenStore:
    """Memory-map what ``tokenize_corpus`` has written.

    Raises:
        InputError: where the files have changed since.
    """
    try:
        description = json.loads((folder / "description.json").read_text(encoding="utf-8"))
        train, validation = (
            np.memmap(folder / split, description["dtype"], "r", 0, tuple(description["shapes"][split]))
            for split in SPLITS
        )
        for split, sequences in zip(SPLITS, (train, validation), strict=True):
            if (size := (folder / split).stat().st_size) != sequences.nbytes:
                raise ValueError(f"{split} has {size:,} bytes, not {sequences.nbytes:,}")
        return TokenStore(folder, train, validation, description["documents"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the tokens in {folder} are damaged ({error}); remove the folder") from error


def corpus_tokenizer(
    corpus: Corpus, vocab_size: int, max_length: int = 512, objective: str = MLM
) -> PreTrainedTokenizerFast:
    """``train_tokenizer``, or for ``"clm"`` ``train_bpe_tokenizer``, on the training documents.

    It is cached by the corpus's content.

    Args:
        corpus: from ``open_corpus``.
        vocab_size: number of tokens; a small corpus may give fewer.
        max_length: ``model_max_length`` of the tokenizer.
        objective: ``"mlm"`` or ``"clm"``.

    Raises:
        InputError: for a vocabulary that is too small, or a file that cannot be read.
    """
    train = train_tokenizer if objective == MLM else train_bpe_tokenizer

    def build(folder: Path) -> None:
        save_pretrained(train(corpus.documents("train"), vocab_size, max_length), folder)

    key = key_of([FORMAT, corpus.fingerprint, vocab_size, max_length, *([] if objective == MLM else [CLM])])
    return load_tokenizer(str(build_once(cache_directory() / "tokenizers" / key, build)), objective)


class _Writer:
    """Appends the sequences of one split to a file, and counts."""

    def __init__(self, file: Path, packer: Packer) -> None:
        self.path, self.packer = file, packer
        self.documents = self.tokens = self.sequences = 0

    def __enter__(self) -> _Writer:
        self.file = self.path.open("wb")
        return self

    def __exit__(self, *error: Any) -> None:
        with writing(self.path):
            self.file.close()

    def add(self, documents: int, tokens: NDArray[Any]) -> None:
        rows = self.packer.add(tokens)
        with writing(self.path):
            self.file.write(rows.data)
        self.documents += documents
        self.tokens += len(tokens)
        self.sequences += len(rows)


def _batches(corpus: Corpus, max_documents: int | None) -> Iterator[dict[TrainOrValidation, list[str]]]:
    """Documents of each split."""
    batch: dict[TrainOrValidation, list[str]] = {split: [] for split in SPLITS}
    characters = read = 0
    for split, text in corpus.split_documents():
        batch[split].append(text)
        characters += len(text)
        read += split == "train"
        if characters >= BATCH_CHARACTERS or read == max_documents:
            yield batch
            batch, characters = {split: [] for split in SPLITS}, 0
        if read == max_documents:
            return
    yield batch


def _check_filled(name: str, writers: dict[TrainOrValidation, _Writer], length: int) -> None:
    for split, writer in writers.items():
        if writer.sequences == 0:
            raise InputError(
                f"corpus {name} has {writer.tokens} tokens for {split}, which do not fill one sequence of "
                f"{length}; use more documents (in a txt file a blank line ends one) or shorter sequences"
            )
