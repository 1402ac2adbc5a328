"""The model that has learned nothing from context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raft.data.text.sequences import CHUNK, IGNORED, TokenSequences, release_pages


@dataclass(frozen=True)
class UnigramModel:
    """Predicts each token by how often it occurs in a text.

    Attributes:
        log_probabilities: ``[vocabulary]``, in nats; minus infinity for tokens that are never predicted.
    """

    log_probabilities: NDArray[np.float64]

    @classmethod
    def fit(cls, train: NDArray[np.integer], validation: TokenSequences) -> UnigramModel:
        """Count the tokens of training sequences, and one of each more.

        Args:
            train: ``[N, L]``, token ids.
            validation: tells the size of the vocabulary, and which of it is never predicted.
        """
        counts = np.ones(validation.vocab_size)
        for start in range(0, len(train), CHUNK):
            counts += np.bincount(train[start : start + CHUNK].ravel(), minlength=len(counts))
            release_pages(train)
        counts[validation.never_predicted] = 0.0
        with np.errstate(divide="ignore"):
            return cls(np.log(counts / counts.sum()))

    def loss(self, validation: TokenSequences) -> float:
        """Mean loss of the targets, in nats."""
        targets = np.zeros(len(self.log_probabilities))
        for labels in validation.labels():
            targets += np.bincount(labels[labels != IGNORED].numpy(), minlength=len(targets))
        occurs = targets > 0
        return float(-(targets[occurs] * self.log_probabilities[occurs]).sum() / targets.sum())
