"""Masked language modelling: which sequence comes when, and which of its tokens are hidden.

Both are functions of the seed and of the number of the draw, never of a generator that others share: two
trainings with one seed see the same batches, whatever model they train, and a training that resumes goes on
where it was.
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

READS_HELD = 64
"""Sequences that are read from a memory-mapped file before its pages are given back: the kernel maps up to 2
MB around each, where it holds the file in large pages."""

CHUNK = 65_536


class MaskedSequences(Dataset[dict[str, Tensor]]):
    """Draws of masked sequences: 15 % of the tokens are to be predicted, of them 80 % are ``[MASK]``, 10 %
    random.

    Draw d is sequence d mod N of the order of epoch ⌊d / N⌋, under masks of its own. It does not depend on
    the draws before it, on the batch it is in, or on the process that makes it.

    Args:
        sequences: ``[N, L]`` token ids of any integer type, in memory or memory-mapped, from
            ``raft.data.text.tokens.pack`` or ``raft.data.text.token_store``.
        tokenizer: gives the ids of the special tokens and the size of the vocabulary.
        seed: of order and masks, from 0 to 2⁶⁴-1.
        draws: length of the dataset; every N draws run through all sequences in a new order, with new masks.
            N, in the given order, where it is None.
        probability: share of the ordinary tokens that is to be predicted.

    Each item holds ``input_ids`` and ``labels``, int64 ``[L]``; labels are −100 where nothing is predicted.

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
        """What another process needs: of a memory-mapped file its name, not its content."""
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
        """The items of a batch, which takes a fraction of the time that one item after the other would."""
        inputs, labels = self.batch(draws)
        pairs = zip(inputs.unbind(), labels.unbind(), strict=True)
        return [{"input_ids": one, "labels": other} for one, other in pairs]

    def batch(self, draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        """``input_ids`` and ``labels`` of these draws, int64 ``[n, L]``."""
        input_ids, labels = self._masked(np.asarray(draws, dtype=np.int64))
        return torch.from_numpy(input_ids), torch.from_numpy(labels)

    def labels(self) -> Iterator[Tensor]:
        """Of all draws in their order, int64 ``[n, L]`` of some at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.batch(range(start, min(start + CHUNK, len(self))))[1]

    def _masked(self, draws: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if len(outside := draws[(draws < 0) | (draws >= self.draws)]):
            raise IndexError(f"draw {outside[0]} of {self.draws}")
        tokens = self._sequences(draws).astype(np.int64)
        words = self._random(draws, tokens.shape[1])
        chosen = (words >> 32) < round(self.probability * 2**32)
        chosen &= ~self._is_special[tokens]
        labels = np.where(chosen, tokens, IGNORED)
        rows, columns = np.nonzero(chosen)
        # the lower 32 bits as a number from 0 to 10: its digit says what becomes of the token, and what is
        # behind the point which token comes in its place
        tenths = (words[rows, columns] & 0xFFFFFFFF) * 10
        digit, rest = tenths >> 32, tenths & 0xFFFFFFFF
        masked, swapped = digit < 8, digit == 9
        tokens[rows[masked], columns[masked]] = self.mask_token_id
        tokens[rows[swapped], columns[swapped]] = (rest[swapped] * self.vocab_size) >> 32
        return tokens, labels

    def _sequences(self, draws: NDArray[np.int64]) -> NDArray[np.integer]:
        epochs, places = np.divmod(draws, len(self.sequences))
        if self.shuffled:
            for epoch in np.unique(epochs):
                here = epochs == epoch
                places[here] = self._order(int(epoch))(places[here])
        found = np.empty((len(places), self.sequences.shape[1]), dtype=self.sequences.dtype)
        for start in range(0, len(places), READS_HELD):
            part = places[start : start + READS_HELD]
            found[start : start + len(part)] = self.sequences[part]
            self._reads += len(part)
            if self._reads >= READS_HELD:
                self._reads = 0
                _give_back(self.sequences)
        return found

    def _random(self, draws: NDArray[np.int64], length: int) -> NDArray[np.uint64]:
        """64 random bits for each token, ``[n, length]``.

        The generator counts in blocks of four words, and each draw begins at a number of its own:
        neighbouring draws, as batches hold them, come from one call.
        """
        blocks = -(-length // 4)
        words = np.empty((len(draws), 4 * blocks), dtype=np.uint64)
        borders = np.flatnonzero(np.diff(draws) != 1) + 1
        for start, stop in pairwise([0, *borders.tolist(), len(draws)]):
            generator = np.random.Philox(key=self.seed, counter=int(draws[start]) * blocks)
            words[start:stop] = generator.random_raw((stop - start) * 4 * blocks).reshape(stop - start, -1)
        return words[:, :length]


def _give_back(array: NDArray[Any]) -> None:
    """Let what was read of a memory-mapped file count as ours no more; it stays in the page cache."""
    _advise(array, "MADV_DONTNEED")


def _advise(array: NDArray[Any], advice: str) -> None:
    """Tell the kernel how a memory-mapped file is used, where it can be told."""
    base: Any = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, advice):
        base.madvise(getattr(mmap, advice))


def predicted_positions(labels: Tensor) -> Tensor:
    """Where something is predicted: positions in the flattened batch, int64 ``[number of them]``."""
    return (labels.flatten() != IGNORED).nonzero()[:, 0]


def collate(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of items of ``MaskedSequences``, and the ``predicted_positions`` of its labels.

    These are found here, on the CPU: to find them on a GPU makes the host wait for it at every step.
    """
    batch = {name: torch.stack([item[name] for item in items]) for name in ("input_ids", "labels")}
    return {**batch, "predicted": predicted_positions(batch["labels"])}


def unigram_loss(train: NDArray[np.integer], validation: MaskedSequences) -> float:
    """Loss, in nats, of predicting each masked token from the training text's token frequencies alone.

    Frequencies are smoothed by one count a token. A model that ends here has learned nothing from context.
    """
    size = validation.vocab_size
    counts = np.ones(size)
    for start in range(0, len(train), CHUNK):
        counts += np.bincount(train[start : start + CHUNK].ravel(), minlength=size)
        _give_back(train)
    counts[validation.special_ids] = 0.0
    with np.errstate(divide="ignore"):
        log_probability = np.log(counts / counts.sum())
    targets = np.zeros(size)
    for labels in validation.labels():
        targets += np.bincount(labels[labels != IGNORED].numpy(), minlength=size)
    held = targets > 0
    return float(-(targets[held] * log_probability[held]).sum() / targets.sum())
