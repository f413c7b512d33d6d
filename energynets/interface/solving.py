"""The three ways to an answer that all tasks share: exact, network, and polish."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from energynets.errors import BadInputError
from energynets.interface.resizing import enlarged
from energynets.solvers.coarse_to_fine import Enlarge, Problem, Size, cascade, improve
from energynets.solvers.iterative import Result
from energynets.solvers.solution import Solution

Method = Literal["exact", "network", "polish"]
METHODS: tuple[Method, ...] = ("exact", "network", "polish")
STEPS = 100  # of polish, unless told otherwise
BETWEEN = 20  # steps at each size before the full one, from the network's on
TOL = float(np.finfo(np.float32).eps ** (2 / 3))  # 2e-5, as that of the direct solvers

# Without a direct solver steps are made until residual and movement have come down to `SETTLED`,
# or until they are so many.
SETTLED = 2e-6
MOST_STEPS = 2000


class Task(NamedTuple):
    """One picture, to be solved; K unknowns a pixel.

    shape: (H, W).
    problem: the quadratic problem at a size (H, W), that of the full picture or a smaller one.
    direct: the exact minimum; None if it is to be found from coarse to fine.
    predict: the network's answer, at a size of its own, h×w×K; None where there is no network.
    enlarge: an answer brought to a larger size.
    cold: where polish begins that has neither network nor start; the coarsest size if None.
    between: steps at each size before the full one, but for the coarsest.
    """

    shape: Size
    problem: Callable[[Size], Problem]
    direct: Callable[[], Solution] | None
    predict: Callable[[], Float[np.ndarray, "m n k"]] | None
    enlarge: Enlarge = enlarged
    cold: Float[np.ndarray, "h w k"] | None = None
    between: int = BETWEEN


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

    - "exact": directly, or where there is no direct solver from coarse to fine in at
      most `MOST_STEPS` steps.
    - "network": the network's answer, enlarged.
    - "polish": `steps` steps at full size, from `start`, the network's answer, or from what is
      coarse; `task.between` steps at each size before.

    Raises:
        BadInputError: if the network is asked for and there is none.
    """
    if method == "exact":
        if task.direct is not None:
            return _answer(task.direct())
        return _answer(_cascade(task, None, steps=MOST_STEPS, tol=SETTLED))
    if method == "network":
        if task.predict is None:
            raise BadInputError("method: wanted exact or polish, since no network is shipped yet")
        value = jnp.asarray(task.enlarge(task.predict(), task.shape))
        return _answer(improve(task.problem(task.shape), value, jnp.int32(0), jnp.asarray(0.0)))
    if start is None:
        start = task.cold if task.predict is None else task.predict()
    return _answer(_cascade(task, start, steps=steps))


def _cascade(task: Task, start: np.ndarray | None, *, steps: int, tol: float = 0.0) -> Result:
    return cascade(
        task.problem,
        task.shape,
        enlarge=task.enlarge,
        steps=steps,
        between=task.between,
        start=start,
        tol=tol,
    )


def _answer(found: Solution | Result) -> Answer:
    """Stepped solutions aim at `SETTLED`, which rounding may not allow, and are held to `TOL`."""
    found = jax.device_get(found)
    value = np.asarray(found.value)
    value = value[..., None] if value.ndim == 2 else value
    if isinstance(found, Result):
        converged = max(found.residual, found.movement) <= TOL
    else:
        converged = found.converged
    return Answer(value, float(found.residual), bool(converged), int(found.steps))


def gap(energy: float, least: float) -> float:
    """(energy - least) / least, how far above the minimum; 0 where both are 0."""
    if energy <= least:
        return 0.0
    return (energy - least) / least if least > 0 else float("inf")
