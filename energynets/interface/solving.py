"""The three ways to an answer that all tasks share: exact, network, and polish."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from energynets.errors import BadInputError
from energynets.interface.descent import Problem, cascade, enlarged, improve
from energynets.solvers.solution import Solution

Method = Literal["exact", "network", "polish"]
METHODS: tuple[Method, ...] = ("exact", "network", "polish")
STEPS = 100  # of polish, unless told otherwise
BETWEEN = 20  # steps at each coarser size, before an exact solution
TOL = float(np.finfo(np.float32).eps ** (2 / 3))  # 2e-5, as that of the direct solvers

# Pictures above this many pixels are not solved directly but step by step, until the recurrence of
# conjugate gradients has come down to `SETTLED`, or until so many steps are made.
DIRECT_PIXELS = 256 * 256
SETTLED = 1e-7
MOST_STEPS = 2000
# The network starts the polish of pictures up to so many pixels; larger ones are solved coarsely.
NETWORK_PIXELS = 512 * 512


class Task(NamedTuple):
    """One picture, to be solved; K unknowns a pixel.

    shape: (H, W).
    problem: the quadratic problem at a size (H, W), that of the full picture or a smaller one.
    direct: the exact minimum, for pictures of up to `DIRECT_PIXELS`.
    predict: the network's answer, at a size of its own, h×w×K; None where there is no network.
    """

    shape: tuple[int, int]
    problem: Callable[[tuple[int, int]], Problem]
    direct: Callable[[], Solution] | None
    predict: Callable[[], Float[np.ndarray, "m n k"]] | None


class Answer(NamedTuple):
    """value: H×W×K, as it comes, neither clipped nor scaled; the others as in the records."""

    value: Float[np.ndarray, "h w k"]
    residual: float
    converged: bool
    steps: int


def refuse_unknown(method: str, steps: int) -> None:
    """Raises BadInputError for another method, or for steps that are no whole number from 0 on."""
    if method not in METHODS:
        raise BadInputError(f"method: wanted {', '.join(METHODS)}, got {method!r}")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 0:
        raise BadInputError(f"steps: wanted a whole number of at least 0, got {steps!r}")


def solve(
    task: Task, method: Method, steps: int, start: Float[np.ndarray, "h w k"] | None = None
) -> Answer:
    """The answer by `method`.

    - "exact": directly, or step by step where the picture is larger than `DIRECT_PIXELS` or there
      is no direct solver (`converged` says whether `MOST_STEPS` were enough).
    - "network": the network's answer at its own size, enlarged.
    - "polish": `steps` steps from `start`; without one from the network's answer, or for pictures
      above `NETWORK_PIXELS`, and where there is no network, from the coarse solution, at all sizes
      between as well.

    Raises:
        BadInputError: if the network is asked for and there is none.
    """
    if method == "exact":
        if task.direct is not None and task.shape[0] * task.shape[1] <= DIRECT_PIXELS:
            found = task.direct()
            value = np.asarray(found.value)
            value = value[..., None] if value.ndim == 2 else value
            return Answer(value, float(found.residual), bool(found.converged), int(found.steps))
        kept = {"steps": MOST_STEPS, "at_least": BETWEEN, "tol": SETTLED}
        return _answer(cascade(task.problem, task.shape, **kept))
    if method == "network":
        if task.predict is None:
            raise BadInputError("method: wanted exact or polish, since no network is shipped yet")
        value = enlarged(task.predict(), task.shape)
        return _answer(_stepped(task, value, 0))
    if start is not None:
        return _answer(_stepped(task, start, steps))
    if task.predict is not None and task.shape[0] * task.shape[1] <= NETWORK_PIXELS:
        start = task.predict()
    return _answer(cascade(task.problem, task.shape, steps=steps, start=start))


def _stepped(task: Task, value: np.ndarray, steps: int):
    return improve(task.problem(task.shape), jnp.asarray(value), jnp.int32(steps), jnp.asarray(0.0))


def _answer(improved) -> Answer:
    value, residual, settled, steps = jax.device_get(improved)
    return Answer(value, float(residual), bool(settled and residual <= TOL), int(steps))


def gap(energy: float, least: float) -> float:
    """(energy - least) / least, how far above the minimum; 0 where both are 0."""
    if energy <= least:
        return 0.0
    return (energy - least) / least if least > 0 else float("inf")
