"""Masked language modelling: which sequence comes when, and which of its tokens are hidden.

Both are functions of the seed and of the number of the draw, never of a generator that others share: two
trainings with one seed see the same batches, whatever model they train, and a training that resumes goes on
where it was.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""Label of a position that has no loss."""


class MaskedSequences(Dataset[dict[str, Tensor]]):
    """Draws of masked sequences: 15 % of the tokens are to be predicted, of them 80 % are ``[MASK]``, 10 %
    random.

    Args:
        sequences: ``[N, L]`` token ids, from ``raft.data.tokens.pack``.
        tokenizer: gives the ids of the special tokens and the size of the vocabulary.
        seed: of order and masks.
        draws: length of the dataset; every N draws run through all sequences in a new order, with new masks.
            N, in the given order, where it is None.
        probability: share of the ordinary tokens that is to be predicted.

    Each item holds ``input_ids`` and ``labels``, int64 ``[L]``; labels are −100 where nothing is predicted.

    Source: Devlin et al., "BERT", NAACL 2019, section 3.1.
    """

    def __init__(
        self,
        sequences: NDArray[np.int32],
        tokenizer: PreTrainedTokenizerFast,
        seed: int,
        draws: int | None = None,
        probability: float = 0.15,
    ) -> None:
        self.sequences = sequences
        self.seed = seed
        self.shuffled = draws is not None
        self.draws = len(sequences) if draws is None else draws
        self.probability = probability
        self.mask_token_id: int = tokenizer.mask_token_id
        self.vocab_size = len(tokenizer)
        self.special_ids = np.array(sorted(tokenizer.all_special_ids))
        self._order = lru_cache(maxsize=2)(self._permutation)

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        if not 0 <= draw < self.draws:
            raise IndexError(draw)
        epoch, place = divmod(draw, len(self.sequences))
        tokens = self.sequences[self._order(epoch)[place] if self.shuffled else place].astype(np.int64)
        # a counter-based generator: any draw can be made without those before it
        random = np.random.Generator(np.random.Philox(key=[self.seed, draw])).random((3, len(tokens)))
        chosen = (random[0] < self.probability) & ~np.isin(tokens, self.special_ids)
        inputs = tokens.copy()
        inputs[chosen & (random[1] < 0.8)] = self.mask_token_id
        swapped = chosen & (random[1] >= 0.9)
        inputs[swapped] = (random[2, swapped] * self.vocab_size).astype(np.int64)
        return {
            "input_ids": torch.from_numpy(inputs),
            "labels": torch.from_numpy(np.where(chosen, tokens, IGNORED)),
        }

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.sequences))


def unigram_loss(train: NDArray[np.int32], validation: MaskedSequences) -> float:
    """Loss, in nats, of predicting each masked token from the training text's token frequencies alone.

    Frequencies are smoothed by one count a token. A model that ends here has learned nothing from context.
    """
    counts = np.ones(validation.vocab_size)
    ordinary = train[~np.isin(train, validation.special_ids)]
    counts += np.bincount(ordinary, minlength=validation.vocab_size)
    counts[validation.special_ids] = 0.0
    with np.errstate(divide="ignore"):
        log_probability = np.log(counts / counts.sum())
    targets: Counter[int] = Counter()
    for item in (validation[i] for i in range(len(validation))):
        labels = item["labels"]
        targets.update(labels[labels != IGNORED].tolist())
    total = sum(targets.values())
    return float(-sum(count * log_probability[token] for token, count in targets.items()) / total)
