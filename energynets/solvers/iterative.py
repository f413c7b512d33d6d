"""Conjugate gradients for quadratic energies on pictures: nothing is kept but a few planes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from energynets.solvers import multigrid, stencil
from energynets.solvers.solution import Solution

Scalar = float | Float[Array, ""]
Operator = Callable[[Array], Array]

# The residual is computed anew from the solution whenever rᵀBr has fallen by this factor.
_REPLACE = 1e-4
# Without a fall of rᵀBr by half over so many steps, rounding is all that is left.
PATIENCE = 30
# A column's movement is what it moved in so many steps …
_WINDOW = 5
# … or, if that is less, this many times what B would still change.
_DOUBT = 30


class Result(NamedTuple):
    """The columns of a solution and how far each can be trusted.

    value: H×W×*k, always finite.
    residual: *k, max |D⁻¹ (b - A u)|; inf where rhs or start are not finite.
    movement: *k, an estimate of the largest error: how far the solution moved in the last five
        steps, or 30 max |B (b - A u)| where that is less.
    steps: the steps that each column took.
    converged: whether residual and movement are both within the tolerance.
    """

    value: Float[Array, "h w *k"]
    residual: Float[Array, "*k"]
    movement: Float[Array, "*k"]
    steps: Int[Array, "*k"]
    converged: Bool[Array, "*k"]


class _State(NamedTuple):
    value: Array
    left: Array  # b - A u, by recurrence
    before: Array  # `left` one step ago
    direction: Array
    size: Array  # rᵀBr of `before`
    fresh: Array  # rᵀBr where `left` was last computed from `value`
    best: Array  # the lowest rᵀBr, for patience
    since: Array  # steps since `best` fell by half
    moves: Array  # max |step| of the last steps
    movement: Array
    steps: Array
    active: Array


def conjugate_gradients(
    matvec: Operator,
    rhs: Float[Array, "h w *k"],
    *,
    precondition: Operator,
    diagonal: Float[Array, "h w"],
    start: Float[Array, "h w *k"] | None = None,
    tol: Scalar,
    max_steps: int | Int[Array, ""],
    patience: int = PATIENCE,
) -> Result:
    """A u = rhs for a symmetric positive definite A, each trailing column on its own.

    A small residual does not bound the error, since a region that weak edges hold can move as a
    whole with hardly any; hence the movement is asked to be small as well. A column that has
    converged, has stopped improving, or would divide by nothing, stays as it is while the others
    go on. But for rounding, the solution is never worse than the start in the norm of A.

    The residual that the steps carry along drifts from the true one by rounding. It is computed
    anew when rᵀBr has fallen by 1e-4, and at the end (van der Vorst and Ye, "Residual replacement
    strategies for Krylov subspace iterative methods", 2000). Directions are made conjugate with
    Polak and Ribière's formula, which forgives a B that is not quite linear in float32 (Golub and
    Ye, 1999). Keeps five arrays of the size of rhs, beside what `matvec` and B take.

    Args:
        matvec: A; give the energy's own derivative, which computes differences.
        rhs: H×W×*k.
        precondition: B, linear, symmetric and positive definite.
        diagonal: of A; scales the residual. Pixels where it is not positive have no equation.
        start: where to begin; 0 if None.
        tol: largest residual and movement, in the units of the solution.
        max_steps: at least 0, traced.
        patience: steps after which it ends, unless rᵀBr has fallen by half.
    """
    columns = rhs.shape[2:]
    scale = jnp.where(diagonal > 0, diagonal, 1).reshape(diagonal.shape + (1,) * len(columns))
    tiny = jnp.finfo(rhs.dtype).tiny
    usable = jnp.isfinite(rhs).all((0, 1))
    if start is None:
        value, rhs = jnp.zeros_like(rhs), jnp.where(usable, rhs, 0)
        left = rhs
    else:
        usable &= jnp.isfinite(start).all((0, 1))
        value, rhs = jnp.where(usable, start, 0).astype(rhs.dtype), jnp.where(usable, rhs, 0)
        left = rhs - matvec(value)

    def largest(u: Array) -> Array:
        return jnp.abs(u).max((0, 1), initial=0)

    def dot(a: Array, b: Array) -> Array:
        return (a * b).sum((0, 1))

    def unfinished(state: _State) -> Array:
        return state.active.any()

    def step(state: _State) -> _State:
        moved = precondition(state.left)
        size = dot(state.left, moved)
        movement = jnp.minimum(state.moves.sum(0), _DOUBT * largest(moved))
        enough = (largest(state.left / scale) <= tol) & (movement <= tol)
        best = jnp.where(size < state.best / 2, size, state.best)
        since = jnp.where(size < state.best / 2, 0, state.since + 1)
        # False where anything is NaN.
        goes = state.active & ~enough & (size > tiny) & (size < jnp.inf)
        goes &= (state.steps < max_steps) & (since < patience)

        conjugate = (size - dot(state.before, moved)) / jnp.where(state.size > 0, state.size, 1)
        direction = moved + jnp.maximum(conjugate, 0) * state.direction
        image = matvec(direction)
        curvature = dot(direction, image)
        goes &= curvature > tiny
        length = jnp.where(goes, size / jnp.where(goes, curvature, 1), 0)
        value = state.value + length * direction
        goes &= jnp.isfinite(value).all((0, 1))
        value = jnp.where(goes, value, state.value)

        replace = goes & (size < _REPLACE * state.fresh)
        left = jnp.where(goes, state.left - length * image, state.left)
        left = jax.lax.cond(
            replace.any(),
            lambda left: jnp.where(replace, rhs - matvec(value), left),
            lambda left: left,
            left,
        )
        moves = jnp.concatenate([state.moves[1:], (length * largest(direction))[None]])
        return _State(
            value,
            left,
            jnp.where(goes, state.left, state.before),
            jnp.where(goes, direction, state.direction),
            jnp.where(goes, size, state.size),
            jnp.where(replace | (state.steps == 0), size, state.fresh),
            best,
            since,
            jnp.where(goes, moves, state.moves),
            jnp.where(state.active & jnp.isfinite(movement), movement, state.movement),
            state.steps + goes,
            goes,
        )

    nothing = jnp.zeros_like(value)
    infinite = jnp.full(columns, jnp.inf, rhs.dtype)
    begin = _State(
        value,
        left,
        nothing,
        nothing,
        jnp.zeros_like(infinite),
        infinite,
        infinite,
        jnp.zeros(columns, jnp.int32),
        jnp.broadcast_to(infinite, (_WINDOW, *columns)),
        infinite,
        jnp.zeros(columns, jnp.int32),
        usable,
    )
    end = jax.lax.while_loop(unfinished, step, begin)
    residual = jnp.where(usable, largest((rhs - matvec(end.value)) / scale), jnp.inf)
    residual = jnp.where(jnp.isfinite(residual), residual, jnp.inf)
    converged = (residual <= tol) & (end.movement <= tol)
    return Result(end.value, residual, end.movement, end.steps, converged)


def minimise(
    energy: Callable[[Array], Array],
    like: Float[Array, "h w *k"],
    *,
    matrix: stencil.Stencil,
    spanned: Float[Array, "f h w"] | None = None,
    start: Float[Array, "h w *k"] | None = None,
    tol: Scalar | None = None,
    max_steps: int = 500,
) -> Solution:
    """argmin of a quadratic energy, E(u) = uᵀAu - 2bᵀu + c, in memory that is linear in pixels.

    The operator is the energy's own derivative; the stencil makes the preconditioner. `value` is
    not clipped, `residual` is max |D⁻¹ (b - A u)|, `steps` those of the slowest column, and
    `converged` asks that no column moved by more than `tol` in its last steps, see `Result`.
    Differentiable by the implicit function theorem in what the energy depends on, each derivative
    at the cost of one more solution; not in the stencil, the fields, the start or the tolerance.

    Args:
        energy: of one array like `like`, a scalar, quadratic and convex. Where there are K planes,
            each has the same A, and none is coupled with another.
        like: for shape and type; its values are not read.
        matrix: A, half the second derivative of the energy.
        spanned: see `multigrid.preconditioner`.
        start: a coarser solution, or a network's; 0 if None.
        tol: largest residual and movement; eps^(2/3) if None, which is 2e-5 in float32 and 4e-11
            in float64.
        max_steps: after which it gives up.
    """
    gradient = jax.grad(energy)
    # Kept from the compiler, which would differentiate at a picture of zeros itself.
    nothing = jax.lax.optimization_barrier(jnp.zeros_like(like))
    tol = jnp.asarray(jnp.finfo(like.dtype).eps ** (2 / 3) if tol is None else tol, like.dtype)
    matrix, spanned, start, tol = jax.lax.stop_gradient((matrix, spanned, start, tol))
    precondition = multigrid.preconditioner(matrix, spanned)
    diagonal = stencil.diagonal(matrix)

    def solve(matvec: Operator, rhs: Array, start: Array | None) -> tuple[Array, Array]:
        value, *told = conjugate_gradients(
            matvec,
            rhs,
            precondition=precondition,
            diagonal=diagonal,
            start=start,
            tol=tol,
            max_steps=max_steps,
        )
        residual, _, steps, converged = told
        # As floats: derivatives cannot carry integers along.
        told = residual.max(), steps.max().astype(rhs.dtype), converged.all().astype(rhs.dtype)
        return value, jnp.stack(told)

    def matvec(u: Array) -> Array:
        return jax.jvp(gradient, (nothing,), (u,))[1] / 2

    # The start is taken off first, since what it is must not enter a derivative's own solution.
    begin = nothing if start is None else start
    value, told = jax.lax.custom_linear_solve(
        matvec,
        -gradient(begin) / 2,
        lambda product, rhs: solve(product, rhs, None),
        symmetric=True,
        has_aux=True,
    )
    residual, steps, converged = jax.lax.stop_gradient(told)
    return Solution(begin + value, residual, steps.astype(jnp.int32), converged > 0)
