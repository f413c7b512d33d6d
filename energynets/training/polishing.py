"""How far a few steps of a solver bring what they begin with: energy, error, time against steps."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from energynets.training.report import Table


def against_steps(
    what: str,
    begin: Mapping[str, Callable[[int, int], Mapping[str, float]]],
    *,
    steps: Sequence[int],
    count: int,
) -> tuple[dict[str, Any], dict[str, Any], Table]:
    """Scores and seconds of every start after so many steps, means over pictures, and a table.

    Args:
        what: for the title.
        begin: for each start what measures the answer to a picture after some steps:
            `measure(index, steps)`. Called twice, because the first call may compile.
        steps: how many are tried.
        count: the pictures, 0 to count - 1.

    Returns:
        Scores and seconds by start and steps, for `Report.scores` and `Report.timing`.
    """
    scores: dict[str, Any] = {}
    times: dict[str, Any] = {}
    rows = []
    for start, measure in begin.items():
        for number in steps:
            found, seconds = [], []
            for index in range(count):
                measure(index, number)
                began = time.perf_counter()
                found.append(measure(index, number))
                seconds.append(time.perf_counter() - began)
            means = {name: float(np.mean([f[name] for f in found])) for name in found[0]}
            scores.setdefault(start, {})[str(number)] = means
            times.setdefault(start, {})[str(number)] = float(np.mean(seconds))
            rows.append([start, float(number), *means.values(), times[start][str(number)]])
    columns = ["start", "steps", *next(iter(next(iter(scores.values())).values())), "seconds"]
    return scores, times, Table(f"Polish against its steps, {what}", columns, rows)
