"""A random permutation of any size without memory: each of its elements is computed alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8


class RandomOrder:
    """A pseudo-random permutation of 0 … size-1, a function of the seeds.

    A shuffled list of indices of a large corpus takes hundreds of megabytes in each process of each training
    and data loader, and has to be made again for every epoch. This is a Feistel network over pairs (left,
    right) with left < a, right < b, where a·b is the size or little more: in turn, a hash of each half is
    added to the other, modulo its range. Each step is invertible, so the network is a bijection. The few
    numbers that are not below the size are sent through again until they are (cycle walking).

    Args:
        size: number of elements, at least 1.
        seeds: any non-negative integers.

    Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002, sections 4 and 5.
    """

    def __init__(self, size: int, *seeds: int) -> None:
        self.size = size
        self.a = int(np.ceil(np.sqrt(size)))
        self.b = -(-size // self.a)
        self.keys = np.random.SeedSequence(seeds).generate_state(ROUNDS, np.uint64)

    def __call__(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """The elements at these indices.

        Args:
            indices: ``[n]``, each from 0 to size-1.

        Returns:
            ``[n]``, each from 0 to size-1.
        """
        elements = self._network(np.asarray(indices).astype(np.uint64))
        while len(outside := np.flatnonzero(elements >= self.size)):
            elements[outside] = self._network(elements[outside])
        return elements.astype(np.int64)

    def _network(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        a, b = np.uint64(self.a), np.uint64(self.b)
        right, left = np.divmod(numbers, a)
        for number, key in enumerate(self.keys):
            if number % 2:
                right = (right + _hash(left ^ key) % b) % b
            else:
                left = (left + _hash(right ^ key) % a) % a
        return left + a * right


def _hash(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """MurmurHash3's finalizer: each bit of the input changes each of the output with probability 1/2."""
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))
