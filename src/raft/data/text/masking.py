"""Masked language modelling: the order of sequences and their masks.

Both are functions of the seed and of the draw number, never of a shared generator: two trainings with one
seed see the same batches, whatever model they train, and so does a resumed training.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from raft.data.text.order import RandomOrder
from raft.data.text.tokens import id_range
from raft.errors import InputError

IGNORED = -100
"""Label of a position that has no loss."""

READS_BEFORE_RELEASE = 64
"""Sequences that are read from a memory-mapped file before its pages are released: with large pages the
kernel maps up to 2 MB around each."""

CHUNK = 65_536


class MaskedSequences(Dataset[dict[str, Tensor]]):
    """Masked sequences: 15 % of the tokens are targets, of which 80 % become ``[MASK]``, 10 % random tokens.

    Draw d is sequence d mod N of the order of epoch ⌊d / N⌋, under masks of its own. It does not depend on
    earlier draws, on its batch, or on the process that makes it.

    Args:
        sequences: ``[N, L]`` token ids of any integer type, in memory or memory-mapped, from
            ``raft.data.text.tokens.pack`` or ``raft.data.text.token_store``.
        tokenizer: gives the ids of the special tokens and the size of the vocabulary.
        seed: of order and masks, from 0 to 2⁶⁴-1.
        draws: length of the dataset; every N draws run through all sequences in a new order, with new masks.
            N, in the given order, where it is None.
        probability: share of the ordinary tokens that are targets.

    Each item holds ``input_ids`` and ``labels``, int64 ``[L]``; labels are −100 except at targets.

    Raises:
        InputError: for a probability outside (0, 1], or a tokenizer without a mask token.

    Source: Devlin et al., "BERT", NAACL 2019, section 3.1.
    """

    def __init__(
        self,
        sequences: NDArray[np.integer],
        tokenizer: PreTrainedTokenizerFast,
        seed: int,
        draws: int | None = None,
        probability: float = 0.15,
    ) -> None:
        if not 0 < probability <= 1:
            raise InputError(f"--mlm_probability must be above 0 and at most 1, not {probability}")
        if tokenizer.mask_token_id is None:
            raise InputError("the tokenizer has no mask token; masked language modelling needs one")
        self.sequences = sequences
        self.seed = seed
        self.shuffled = draws is not None
        self.draws = len(sequences) if draws is None else draws
        self.probability = probability
        self.mask_token_id: int = tokenizer.mask_token_id
        self.vocab_size = id_range(tokenizer)
        self.special_ids = np.array(sorted(tokenizer.all_special_ids))
        self._is_special = np.isin(np.arange(id_range(tokenizer)), self.special_ids)
        self._reads = 0
        self._prepare()

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
        input_ids, labels = self._masked(np.asarray(draws, dtype=np.int64))
        return torch.from_numpy(input_ids), torch.from_numpy(labels)

    def labels(self) -> Iterator[Tensor]:
        """Of all draws in their order, int64 ``[n, L]`` of some at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.batch(range(start, min(start + CHUNK, len(self))))[1]

    def _masked(self, draws: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if len(invalid := draws[(draws < 0) | (draws >= self.draws)]):
            raise IndexError(f"draw {invalid[0]} of {self.draws}")
        tokens = self._sequences(draws).astype(np.int64)
        words = self._random(draws, tokens.shape[1])
        is_target = (words >> 32) < round(self.probability * 2**32)
        is_target &= ~self._is_special[tokens]
        labels = np.where(is_target, tokens, IGNORED)
        rows, columns = np.nonzero(is_target)
        # the lower 32 bits as a number from 0 to 10: its digit selects mask, keep or swap, its fraction the
        # token to swap in
        tenths = (words[rows, columns] & 0xFFFFFFFF) * 10
        digit, rest = tenths >> 32, tenths & 0xFFFFFFFF
        is_masked, is_swapped = digit < 8, digit == 9
        tokens[rows[is_masked], columns[is_masked]] = self.mask_token_id
        tokens[rows[is_swapped], columns[is_swapped]] = (rest[is_swapped] * self.vocab_size) >> 32
        return tokens, labels

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
                _release_pages(self.sequences)
        return sequences

    def _random(self, draws: NDArray[np.int64], length: int) -> NDArray[np.uint64]:
        """64 random bits for each token, ``[n, length]``.

        The generator counts in blocks of four words, and each draw starts at its own count: consecutive draws
        come from one call.
        """
        blocks = -(-length // 4)
        words = np.empty((len(draws), 4 * blocks), dtype=np.uint64)
        borders = np.flatnonzero(np.diff(draws) != 1) + 1
        for start, stop in pairwise([0, *borders.tolist(), len(draws)]):
            generator = np.random.Philox(key=self.seed, counter=int(draws[start]) * blocks)
            words[start:stop] = generator.random_raw((stop - start) * 4 * blocks).reshape(stop - start, -1)
        return words[:, :length]


def _release_pages(array: NDArray[Any]) -> None:
    """Unmap the pages that were read of a memory-mapped file; they stay in the page cache."""
    _advise(array, "MADV_DONTNEED")


def _advise(array: NDArray[Any], advice: str) -> None:
    """Advise the kernel how a memory-mapped file is used, where that is supported."""
    base: Any = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, advice):
        base.madvise(getattr(mmap, advice))


def predicted_positions(labels: Tensor) -> Tensor:
    """Positions of targets in the flattened batch, int64 ``[number of them]``."""
    return (labels.flatten() != IGNORED).nonzero()[:, 0]


def collate(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of items of ``MaskedSequences``, and the ``predicted_positions`` of its labels.

    They are computed on the CPU: on a GPU the host would wait for it at every step.
    """
    batch = {name: torch.stack([item[name] for item in items]) for name in ("input_ids", "labels")}
    return {**batch, "predicted": predicted_positions(batch["labels"])}


def unigram_loss(train: NDArray[np.integer], validation: MaskedSequences) -> float:
    """Loss, in nats, of predicting each masked token from the training text's token frequencies alone.

    Frequencies are smoothed by one count a token. A model at this loss has learned nothing from context.
    """
    size = validation.vocab_size
    counts = np.ones(size)
    for start in range(0, len(train), CHUNK):
        counts += np.bincount(train[start : start + CHUNK].ravel(), minlength=size)
        _release_pages(train)
    counts[validation.special_ids] = 0.0
    with np.errstate(divide="ignore"):
        log_probability = np.log(counts / counts.sum())
    targets = np.zeros(size)
    for labels in validation.labels():
        targets += np.bincount(labels[labels != IGNORED].numpy(), minlength=size)
    occurs = targets > 0
    return float(-(targets[occurs] * log_probability[occurs]).sum() / targets.sum())
