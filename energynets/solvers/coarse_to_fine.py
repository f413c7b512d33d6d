"""Quadratic energies of any size improved step by step, from coarse to fine, in bounded memory.

A problem is a stencil A and a right-hand side b, whose minimum solves A u = b. Far-reaching errors
are taken away where pixels are few and cheap: the problem is solved at a coarse size, and then at
each size of twice the side the enlarged answer is improved by some steps of conjugate gradients
(cascadic multigrid: Bornemann and Deuflhard, 1996). What remains after that is fine detail, which
is what those steps are good at.

All sizes but the full one are squares, whatever the picture's aspect: what they give is a start
only, and so one set of compiled programs serves pictures of every shape.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from energynets.solvers import iterative, multigrid
from energynets.solvers import stencil as stencils
from energynets.solvers.iterative import Result
from energynets.solvers.stencil import Stencil

# The coarsest size is the square of this side, and so many steps are made there. Every further
# size has four times the pixels of the one before, and the full picture at least twice.
COARSEST = 64
COARSE_STEPS = 400

# Plain conjugate gradients rest for longer than preconditioned ones before they go on.
_PATIENCE = 300

Size = tuple[int, int]
# NumPy or JAX arrays, H×W×K, on either side.
Enlarge = Callable[[Any, Size], Any]


class Problem(NamedTuple):
    """matrix: A. rhs: b, H×W×K: K problems of the same matrix."""

    matrix: Stencil
    rhs: Float[Array, "h w k"]


@jax.jit
def improve(
    problem: Problem,
    start: Float[Array, "h w k"],
    steps: Int[Array, ""],
    tol: Float[Array, ""],
) -> Result:
    """At most `steps` steps of conjugate gradients from `start`.

    Every step lowers the energy uᵀAu - 2bᵀu of each plane. A matrix of radius 1, a random walker's,
    is preconditioned by multigrid, and some twenty steps solve it. One of radius 2 is by its
    diagonal: in float32 multigrid with matting's fields breaks down on large photographs. Ends
    where the tolerance is met, or where rounding is all that is left. With 0 steps the start
    itself. All but the value are those of the worst plane.
    """
    matrix, rhs = problem
    diagonal = stencils.diagonal(matrix)
    positive = jnp.where(diagonal > 0, diagonal, 1)[..., None]
    if matrix.radius == 1:
        precondition, patience = multigrid.preconditioner(matrix), iterative.PATIENCE
    else:
        precondition, patience = (lambda left: left / positive), _PATIENCE
    found = iterative.conjugate_gradients(
        lambda u: stencils.apply(matrix, u),
        rhs,
        precondition=precondition,
        diagonal=diagonal,
        start=start,
        tol=tol,
        max_steps=steps,
        patience=patience,
    )
    told = found.residual.max(), found.movement.max(), found.steps.max(), found.converged.all()
    return Result(found.value, *told)


def cascade(
    problem: Callable[[Size], Problem],
    shape: Size,
    *,
    enlarge: Enlarge,
    steps: int,
    between: int,
    start: Any = None,
    tol: float = 0.0,
) -> Result:
    """From coarse to fine, ending at `shape`.

    Args:
        problem: the problem at a size (H, W).
        shape: the full size.
        enlarge: an answer brought to a larger size.
        steps: at the full size.
        between: steps at the sizes before it, but for the coarsest.
        start: an answer m×n×K at any size, from which to go on: smaller sizes are left out.
            Without it, the coarsest size is solved from 0.
        tol: as in `improve`, at full size.
    """
    sizes = sizes_up_to(shape)
    if start is not None:
        pixels = start.shape[0] * start.shape[1]
        sizes = [size for size in sizes[:-1] if size[0] * size[1] >= pixels] + sizes[-1:]
    value = start
    for size in sizes[:-1]:
        at = problem(size)
        begin = jnp.zeros_like(at.rhs) if value is None else jnp.asarray(enlarge(value, size))
        count = COARSE_STEPS if value is None else between
        value = improve(at, begin, jnp.int32(count), jnp.asarray(0.0)).value
    at = problem(shape)
    assert value is not None  # there is a size before the last, or a start
    return improve(at, jnp.asarray(enlarge(value, shape)), jnp.int32(steps), jnp.asarray(tol))


def sizes_up_to(shape: Size) -> list[Size]:
    """Squares of 64, 128, … pixels a side, while `shape` has twice their pixels, and `shape`.

    Half of `shape` takes the place of the squares where they are all too large.
    """
    sizes, side = [], COARSEST
    while 2 * side * side <= shape[0] * shape[1]:
        sizes.append((side, side))
        side *= 2
    return [*(sizes or [(-(-shape[0] // 2), -(-shape[1] // 2))]), shape]
