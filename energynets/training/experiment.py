"""What a task is to the loop: one record of pure functions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

Tree = Any
Config = Any  # an ml_collections.ConfigDict, whose attributes no type checker knows
Variables = Mapping[str, Any]


class Loss(NamedTuple):
    """What a task makes of one batch; every array has one value for each example.

    values: the loss of each example, never averaged: the loop takes the mean.
    updates: what replaces the variables other than "params", such as batch statistics; may be {}.
    logs: further values to be averaged and logged.
    """

    values: jax.Array
    updates: Variables
    logs: Mapping[str, jax.Array]


class Evaluation(NamedTuple):
    """A finite set of examples; `example(index)` is a pytree of NumPy arrays of equal shapes."""

    length: int
    example: Callable[[int], Tree]


def only_numbers(index: int, example: Tree, prediction: Tree) -> Mapping[str, np.ndarray]:
    """The `measure` of a task whose predictions are one number each: they are added up as such."""
    return {"count": np.ones(()), **prediction}


def means(sums: Mapping[str, np.ndarray]) -> Mapping[str, float]:
    """The `scores` that belong to `only_numbers`."""
    return {name: float(s / sums["count"]) for name, s in sums.items() if name != "count"}


def no_warnings(step: int, scores: Mapping[str, float]) -> Sequence[str]:
    """The `warnings` of a task that has none."""
    return ()


def nothing_refused(workdir: Path) -> None:
    """The `refuse` of a task that takes any run folder."""


class Experiment(NamedTuple):
    """A task: all that the loop needs to know of it.

    init: key to variables, a mapping with "params" and whatever else the network keeps.
    example: (step, row) to one example, a pytree of NumPy arrays. It depends on these two numbers
        alone: data order needs no state, and any process can make any row.
    name: (step, row) to what the example is called, for messages.
    loss: (variables, batch, key) to `Loss`. The one place where network and energy meet.
    validation: what is measured after every epoch.
    predict: (variables, batch) to a pytree with one entry for each example; on the device.
    measure: (index, example, prediction) to sums: arrays that are added up over the set; on the
        host, in NumPy.
    scores: sums to named numbers; "loss" among them is what schedules and "best" follow.
    warnings: (step, scores) to sentences that whoever watches must read, such as that a network has
        collapsed; told after each validation but the first, which is before training.
    report: (variables, workdir) to the `training.report.Report` that a run ends with; if None,
        the scores of the trained network and of a fresh one.
    transform: gradients to steps, before the rate is applied.
    refuse: run folder to nothing; raises BadInputError, before anything is written there, for what
        its report would lack.
    """

    init: Callable[[jax.Array], Variables]
    example: Callable[[int, int], Tree]
    name: Callable[[int, int], str]
    loss: Callable[[Variables, Tree, jax.Array], Loss]
    validation: Evaluation
    predict: Callable[[Variables, Tree], Tree]
    measure: Callable[[int, Tree, Tree], Mapping[str, np.ndarray]] = only_numbers
    scores: Callable[[Mapping[str, np.ndarray]], Mapping[str, float]] = means
    warnings: Callable[[int, Mapping[str, float]], Sequence[str]] = no_warnings
    report: Callable[[Variables, Path], Any] | None = None
    transform: optax.GradientTransformation = optax.scale_by_adam()
    refuse: Callable[[Path], None] = nothing_refused
