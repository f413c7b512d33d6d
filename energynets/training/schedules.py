"""Learning rates as plain functions of the step and of the validation losses so far.

A schedule's state is a flat mapping of numbers, so that a checkpoint can keep it as text.
"""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import NamedTuple

import optax

from energynets.errors import BadInputError

State = Mapping[str, float]


class Schedule(NamedTuple):
    """rate(state, step) is the learning rate; update(state, loss) follows each validation."""

    init: Callable[[], State]
    update: Callable[[State, float], State]
    rate: Callable[[State, int], float]


def from_steps(rate: Callable[[int], float]) -> Schedule:
    """A schedule of the step alone, such as any of optax's."""
    return Schedule(dict, lambda state, loss: state, lambda state, step: float(rate(step)))


def exponential(rate: float, *, factor: float, every: int) -> Schedule:
    """`rate`, multiplied by `factor` after every `every` steps (0.96 in the papers)."""
    return from_steps(lambda step: rate * factor ** (step // every))


def sign_changes(
    rate: float, *, changes: int, cool_off: int = 2, divisor: float = sqrt(2)
) -> Schedule:
    """`rate`, divided by `divisor` whenever the validation loss has turned `changes` times.

    A turn is a change of sign between two successive differences of the loss, and the loss is
    taken to have been falling at first; a difference of 0 keeps the last sign. For `cool_off`
    validations after each cut, turns are not counted. Two turns for segmentation and four for
    matting in Golts, Freedman, Elad, "Deep Energy", Sec. IV.
    """

    def init() -> State:
        return {"rate": rate, "last": float("nan"), "sign": -1.0, "turns": 0.0, "cooling": 0.0}

    def update(state: State, loss: float) -> State:
        difference = loss - state["last"]
        sign = state["sign"]
        if difference > 0:
            sign = 1.0
        elif difference < 0:
            sign = -1.0
        turns = state["turns"] + float(sign != state["sign"] and not state["cooling"])
        after = {**state, "last": float(loss), "sign": sign, "turns": turns}
        if turns >= changes:
            return {**after, "rate": state["rate"] / divisor, "turns": 0.0, "cooling": cool_off}
        return {**after, "cooling": max(0.0, state["cooling"] - 1)}

    return Schedule(init, update, lambda state, step: state["rate"])


def named(name: str, rate: float, *, steps: int, epoch: int) -> Schedule:
    """The schedules that a config can name.

    "sign_changes" (2 turns) or "sign_changes_4", "exponential" (times 0.96 every 3 epochs) or
    "exponential_10" (every 10, the preprint), "cosine" (a rise over the first 2 % of `steps`, then
    down to 0), "poly" (rate · (1 - step/steps)^0.9, DeepLab's), "constant".
    """
    if name in ("sign_changes", "sign_changes_4"):
        return sign_changes(rate, changes=4 if name.endswith("4") else 2)
    if name in ("exponential", "exponential_10"):
        return exponential(rate, factor=0.96, every=(10 if name.endswith("10") else 3) * epoch)
    if name == "cosine":
        rise = max(1, steps // 50)
        curve = optax.warmup_cosine_decay_schedule(0, rate, rise, max(steps, rise + 1))
        return from_steps(lambda step: float(curve(step)))  # pyright: ignore[reportArgumentType]
    if name == "poly":
        return from_steps(lambda step: rate * (1 - min(step / max(steps, 1), 1)) ** 0.9)
    if name == "constant":
        return from_steps(lambda step: rate)
    raise BadInputError(
        "config.train.schedule: wanted sign_changes, sign_changes_4, exponential, exponential_10, "
        f"cosine, poly or constant, got {name!r}"
    )
