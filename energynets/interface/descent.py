"""Quadratic energies improved step by step, from coarse to fine, in bounded memory.

A problem is a stencil A and a right-hand side b, whose minimum solves A u = b. Far-reaching errors
are taken away where pixels are few and cheap: the problem is solved at a coarse size, and then at
each size of twice the side the enlarged answer is improved by some steps of conjugate gradients
(cascadic multigrid: Bornemann and Deuflhard, 1996). What remains after that is fine detail, which
is what those steps are good at.

All sizes but the full one are squares, whatever the picture's aspect: what they give is a start
only, and so one set of compiled programs serves pictures of every shape.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from PIL import Image

from energynets.solvers import stencil as stencils
from energynets.solvers.stencil import Stencil

# The coarsest size is the square of this side, and so many steps are made there. Every further
# size has four times the pixels of the one before, and the full picture at least twice.
COARSEST = 64
COARSE_STEPS = 400


class Problem(NamedTuple):
    """matrix: A. rhs: b, H×W×K: K problems of the same matrix."""

    matrix: Stencil
    rhs: Float[Array, "h w k"]


class Improved(NamedTuple):
    """value: H×W×K. residual: max |D⁻¹ (b - A u)| with D the diagonal of A. settled: whether
    residual and the last step's movement fell below the tolerance. steps: how many were made."""

    value: Float[Array, "h w k"]
    residual: Float[Array, ""]
    settled: Bool[Array, ""]
    steps: Int[Array, ""]


@jax.jit
def improve(
    problem: Problem, start: Float[Array, "h w k"], steps: Int[Array, ""], tol: Float[Array, ""]
) -> Improved:
    """At most `steps` steps of conjugate gradients, preconditioned by the diagonal of A.

    Every step lowers the energy uᵀAu - 2bᵀu of each plane. Ends early once residual and movement
    are below `tol`, or below rounding: further steps would be made of rounding alone, and grow.
    With 0 steps the start itself, and its residual.
    """
    matrix, rhs = problem
    diagonal = stencils.diagonal(matrix)
    diagonal = jnp.where(diagonal > 0, diagonal, 1)[..., None]

    def inner(a: Array, b: Array) -> Array:
        return (a * b).sum((0, 1))

    def ratio(above: Array, below: Array) -> Array:
        usable = below > jnp.finfo(below.dtype).tiny
        return jnp.where(usable, above / jnp.where(usable, below, 1), 0)

    least = jnp.maximum(tol, jnp.finfo(rhs.dtype).eps / 8)

    def settled(state: tuple) -> Bool[Array, ""]:
        _, error, _, _, moved, _ = state
        return (jnp.abs(error / diagonal).max() <= least) & (moved <= least)

    def unfinished(state: tuple) -> Bool[Array, ""]:
        return (state[-1] < steps) & ~settled(state)

    def step(state: tuple) -> tuple:
        value, error, direction, strength, _, count = state
        image = stencils.apply(matrix, direction)
        length = ratio(strength, inner(direction, image))
        value = value + length * direction
        error = error - length * image
        scaled = error / diagonal
        new = inner(error, scaled)
        moved = jnp.abs(length * direction).max()
        return value, error, scaled + ratio(new, strength) * direction, new, moved, count + 1

    error = rhs - stencils.apply(matrix, start)
    direction = error / diagonal
    far = jnp.asarray(jnp.inf, rhs.dtype)
    state = start, error, direction, inner(error, direction), far, jnp.int32(0)
    state = jax.lax.while_loop(unfinished, step, state)
    # The true residual, not the recurrence's, which rounding does not reach.
    error = (rhs - stencils.apply(matrix, state[0])) / diagonal
    return Improved(state[0], jnp.abs(error).max(), settled(state), state[-1])


def cascade(
    problem: Callable[[tuple[int, int]], Problem],
    shape: tuple[int, int],
    *,
    steps: int,
    start: Float[np.ndarray, "m n k"] | None = None,
    tol: float = 0.0,
    at_least: int | None = None,
) -> Improved:
    """From coarse to fine: `steps` steps at each size, ending at `shape`.

    Args:
        problem: the problem at a size (H, W).
        shape: the full size.
        steps: at every size but the coarsest, the full one included.
        start: an answer at any size, from which to go on: only larger sizes are visited. Without
            it, the coarsest size is solved from 0.
        tol: as in `improve`, at full size.
        at_least: steps at the sizes before the full one; `steps` if None.
    """
    between = steps if at_least is None else at_least
    sizes = sizes_up_to(shape)
    if start is not None:
        pixels = start.shape[0] * start.shape[1]
        sizes = [size for size in sizes[:-1] if size[0] * size[1] > pixels] + sizes[-1:]
    value = start
    improved = None
    for at_size, size in enumerate(sizes):
        at = problem(size)
        if value is None:
            begin, count = jnp.zeros_like(at.rhs), COARSE_STEPS
        else:
            begin, count = jnp.asarray(enlarged(np.asarray(value), size), at.rhs.dtype), between
        last = at_size == len(sizes) - 1
        if last and value is not None:
            count = steps
        improved = improve(at, begin, jnp.int32(count), jnp.asarray(tol if last else 0.0))
        value = improved.value
    assert improved is not None
    return improved


def sizes_up_to(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Squares of 64, 128, … pixels a side, while `shape` has twice their pixels, and `shape`.

    Half of `shape` takes the place of the squares where they are all too large.
    """
    sizes, side = [], COARSEST
    while 2 * side * side <= shape[0] * shape[1]:
        sizes.append((side, side))
        side *= 2
    return [*(sizes or [(-(-shape[0] // 2), -(-shape[1] // 2))]), shape]


def shrunk(planes: Float[np.ndarray, "h w c"], size: tuple[int, int]) -> np.ndarray:
    """Means over boxes; as they are where the size is the same."""
    return _resized(planes, size, Image.Resampling.BOX)


def enlarged(planes: Float[np.ndarray, "h w c"], size: tuple[int, int]) -> np.ndarray:
    """Bilinear; as they are where the size is the same."""
    return _resized(planes, size, Image.Resampling.BILINEAR)


def _resized(planes: np.ndarray, size: Sequence[int], way: Image.Resampling) -> np.ndarray:
    if planes.shape[:2] == tuple(size):
        return planes
    height, width = size
    result = np.empty((height, width, planes.shape[2]), np.float32)
    for c in range(planes.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(planes[..., c], np.float32))
        result[..., c] = np.asarray(plane.resize((width, height), way))
    return result
