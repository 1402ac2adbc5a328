"""Training text as draws of sequences, in an order that is a function of the seed alone.

Neither the order nor what a subclass makes of a sequence comes from a shared generator: two trainings with
one seed see the same batches, whatever model they train, and so does a resumed training.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from raft.data.text.order import RandomOrder
from raft.data.text.tokens import id_range

IGNORED = -100
"""Label of a position that has no loss."""

READS_BEFORE_RELEASE = 64
"""Sequences that are read from a memory-mapped file before its pages are released: with large pages the
kernel maps up to 2 MB around each."""

CHUNK = 65_536


class TokenSequences(Dataset[dict[str, Tensor]]):
    """Sequences of one length as inputs and labels of a language model.

    Draw d is sequence d mod N of the order of epoch ⌊d / N⌋. It does not depend on earlier draws, on its
    batch, or on the process that makes it. A subclass defines ``_inputs_and_labels``.

    Args:
        sequences: ``[N, L]`` token ids of any integer type, in memory or memory-mapped, such as those
            of a ``raft.data.text.token_store.TokenStore``.
        tokenizer: gives the ids of the special tokens and the size of the vocabulary.
        seed: of the order and all else that is drawn, from 0 to 2⁶⁴-1.
        draws: length of the dataset; every N draws run through all sequences in a new order. N, in the given
            order, where it is None.

    Each item holds ``input_ids`` and ``labels``, int64 ``[L]``; labels are −100 except at targets, each at
    its token's own position, as ``transformers`` has them.

    Attributes:
        never_predicted: ids that are no target.
    """

    never_predicted: NDArray[np.int64]

    def __init__(
        self,
        sequences: NDArray[np.integer],
        tokenizer: PreTrainedTokenizerFast,
        seed: int,
        draws: int | None = None,
    ) -> None:
        self.sequences = sequences
        self.seed = seed
        self.shuffled = draws is not None
        self.draws = len(sequences) if draws is None else draws
        self.vocab_size = id_range(tokenizer)
        self._reads = 0
        self._prepare()

    def _inputs_and_labels(
        self, draws: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of these draws, whose tokens are ``[n, L]``; they may be changed in place."""
        raise NotImplementedError

    def prepare(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """A batch, ``[n, L]`` each, with what its loss needs beside, computed on the CPU."""
        return {"input_ids": input_ids, "labels": labels}

    def __getstate__(self) -> dict[str, Any]:
        """State for other processes: a memory-mapped file goes by its name, not its content."""
        state = {**self.__dict__, "_order": None}
        s: Any = self.sequences
        base: Any = s.base
        if isinstance(s, np.memmap) and isinstance(base, mmap.mmap):
            state["sequences"] = partial(np.memmap, s.filename, s.dtype, "r", s.offset, s.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["sequences"], partial):
            state["sequences"] = state["sequences"]()
        self.__dict__.update(state)
        self._prepare()

    def _prepare(self) -> None:
        self._order = lru_cache(maxsize=2)(partial(RandomOrder, len(self.sequences), self.seed))
        if self.shuffled:
            _advise(self.sequences, "MADV_RANDOM")

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[int]) -> list[dict[str, Tensor]]:
        """The items of a batch, in a fraction of the time of one item after the other."""
        inputs, labels = self.batch(draws)
        pairs = zip(inputs.unbind(), labels.unbind(), strict=True)
        return [{"input_ids": ids, "labels": targets} for ids, targets in pairs]

    def batch(self, draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        """``input_ids`` and ``labels`` of these draws, int64 ``[n, L]``."""
        chosen = np.asarray(draws, dtype=np.int64)
        if len(invalid := chosen[(chosen < 0) | (chosen >= self.draws)]):
            raise IndexError(f"draw {invalid[0]} of {self.draws}")
        input_ids, labels = self._inputs_and_labels(chosen, self._sequences(chosen).astype(np.int64))
        return torch.from_numpy(input_ids), torch.from_numpy(labels)

    def collate(self, items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """A batch of items, as ``prepare`` completes it."""
        input_ids, labels = (torch.stack([item[name] for item in items]) for name in ("input_ids", "labels"))
        return self.prepare(input_ids, labels)

    def labels(self) -> Iterator[Tensor]:
        """Of all draws in their order, int64 ``[n, L]`` of some at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.batch(range(start, min(start + CHUNK, len(self))))[1]

    def _sequences(self, draws: NDArray[np.int64]) -> NDArray[np.integer]:
        epochs, indices = np.divmod(draws, len(self.sequences))
        if self.shuffled:
            for epoch in np.unique(epochs):
                in_epoch = epochs == epoch
                indices[in_epoch] = self._order(int(epoch))(indices[in_epoch])
        sequences = np.empty((len(indices), self.sequences.shape[1]), dtype=self.sequences.dtype)
        for start in range(0, len(indices), READS_BEFORE_RELEASE):
            chunk = indices[start : start + READS_BEFORE_RELEASE]
            sequences[start : start + len(chunk)] = self.sequences[chunk]
            self._reads += len(chunk)
            if self._reads >= READS_BEFORE_RELEASE:
                self._reads = 0
                release_pages(self.sequences)
        return sequences


def release_pages(array: NDArray[Any]) -> None:
    """Unmap the pages that were read of a memory-mapped file; they stay in the page cache."""
    _advise(array, "MADV_DONTNEED")


def _advise(array: NDArray[Any], advice: str) -> None:
    """Advise the kernel how a memory-mapped file is used, where that is supported."""
    base: Any = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, advice):
        base.madvise(getattr(mmap, advice))
