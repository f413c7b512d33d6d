"""Which picture each row of each batch shows: a function of step and row, without state."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np


def shuffled(length: int, batch: int, *, seed: int) -> Callable[[int, int], int]:
    """(step, row) to an index below `length`: each pass shows every index once, in a new order."""

    @lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, 0, epoch)).permutation(length)

    def index(step: int, row: int) -> int:
        epoch, place = divmod(step * batch + row, length)
        return int(order(epoch)[place])

    return index
