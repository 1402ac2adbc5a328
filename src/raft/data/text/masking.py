"""Masked language modelling: which tokens are targets, and what stands in their place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from raft.data.text.sequences import IGNORED, TokenSequences
from raft.data.text.tokens import id_range
from raft.errors import InputError


class MaskedSequences(TokenSequences):
    """Masked sequences: 15 % of the tokens are targets, of which 80 % become ``[MASK]``, 10 % random tokens.

    The masks of a draw are a function of the seed and its number. Each item holds ``input_ids`` and
    ``labels``, int64 ``[L]``.

    Args:
        sequences: ``[N, L]``, see ``TokenSequences``, as are ``tokenizer``, ``seed`` and ``draws``.
        probability: share of the ordinary tokens that are targets.

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
        super().__init__(sequences, tokenizer, seed, draws)
        self.probability = probability
        self.mask_token_id: int = tokenizer.mask_token_id
        self.never_predicted = np.array(sorted(tokenizer.all_special_ids))
        self._is_special = np.isin(np.arange(id_range(tokenizer)), self.never_predicted)

    def prepare(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """With the ``predicted`` positions, which a GPU would have to be waited for."""
        return {"input_ids": input_ids, "labels": labels, "predicted": predicted_positions(labels)}

    def _inputs_and_labels(
        self, draws: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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


def predicted_positions(labels: Tensor) -> Tensor:
    """Positions of targets in the flattened batch, int64 ``[number of them]``."""
    return (labels.flatten() != IGNORED).nonzero()[:, 0]
