"""How far two methods lie apart, and how much of that another choice of pictures would change."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


def mean(values: Float[np.ndarray, " n"]) -> float:
    return float(np.mean(values))


def difference(
    first: Float[np.ndarray, "n ..."],
    second: Float[np.ndarray, "n ..."],
    score: Callable[[np.ndarray], float] = mean,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """score(first) - score(second), and the 2.5 and 97.5 % points of it over drawn pictures.

    Entry i of both belongs to picture i. Pictures are drawn with replacement, as many as there
    are and the same for both; draws whose score is nan are left out of the points.
    """
    if len(first) != len(second):
        raise ValueError(f"second: wanted {len(first)} pictures as in first, got {len(second)}")
    random = np.random.default_rng(seed)
    differences = []
    for _ in range(draws):
        chosen = random.integers(0, len(first), len(first))
        differences.append(score(first[chosen]) - score(second[chosen]))
    low, high = np.nanpercentile(differences, [2.5, 97.5])
    return score(first) - score(second), float(low), float(high)
