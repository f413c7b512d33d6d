"""The minimum of any quadratic energy on a picture, from the energy itself.

An energy E(u) = uᵀAu - 2bᵀu + c is given as a plain function. Its derivative 2(Au - b), taken by
`jax.grad`, is what is brought to 0, so that the solution is that of the energy as stated; the
stencil of A only makes that fast. Derivatives of the solution follow from the implicit function
theorem, with respect to whatever the energy depends on, forwards and backwards and repeatedly,
each at the cost of one more solution with the same factor.

    solution = quadratic.minimise(lambda u: my_energy(image, u), jnp.zeros((h, w)), radius=1)
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.solvers import iterative, nested_dissection, stencil
from energynets.solvers.nested_dissection import Factor
from energynets.solvers.solution import Solution
from energynets.solvers.stencil import Stencil

Scalar = float | Float[Array, ""]
Function = Callable[[Array], Array]
Method = Literal["auto", "direct", "iterative"]

# Numbers in the largest factor that "auto" makes: 1 GiB in float32, which the elimination needs
# two to three times over. About 1700² pixels at radius 1, and 1000² at radius 2.
DIRECT_NUMBERS = 2**28

_MAX_STEPS = 100
# With the factor of another matrix; as many take as long as a new factor.
_OF_ANOTHER = 12
# Steps without a smaller correction after which rounding is all that is left.
_PATIENCE = 8
# A factor of conductances that are not negative is right to a few hundred roundings, whatever the
# picture is. A correction larger than this many is therefore the rounding of the residual, blown
# up by weakly held regions.
_TRUST = 1000
# The next correction counts as this much larger than the last one lets expect.
_MARGIN = 100
# It is not foretold for smaller tolerances, where the rounding of residuals may be what is left.
_LOOSE = 1e-8


def minimise(
    energy: Function,
    like: Float[Array, "h w *k"],
    *,
    matrix: Stencil | None = None,
    radius: int | None = None,
    factor: Factor | None = None,
    start: Float[Array, "h w *k"] | None = None,
    tol: Scalar | None = None,
    again: bool = True,
    method: Method = "auto",
    spanned: Float[Array, "f h w"] | None = None,
    size: Scalar = 0.0,
) -> Solution:
    """argmin of a quadratic energy over arrays like `like`.

    `value` is not clipped. `residual` is max |D⁻¹ (b - A u)|, D being the diagonal of A. A small
    residual alone does not prove a small error, since a region held by weak edges can move as a
    whole: `converged` asks, too, that the last correction was at most `tol` times the largest
    value, or that the one after it would be, by a margin of 100. That is foretold from how much
    smaller the last correction made the corrections and the residual, and only where values are
    float64, no conductance is negative, the factor is that of A and `tol` is 1e-8 at least.
    `steps` counts corrections; each takes one substitution. Nothing is ever NaN.

    The first corrections use a factor in float32, even where values are float64: it is exact to
    some roundings where no conductance is negative, and preconditions conjugate gradients where
    one is. If that does not converge, a factor in float64 takes over where values are float64;
    where they are float32, the solution is reported as not converged. If it does not with the
    `factor` that is given, a new one takes over.

    Args:
        energy: of one array like `like`, a scalar, quadratic, convex and bounded below. Where
            there are K planes, each has the same A, and none is coupled with another.
        like: for shape and type, float32 or float64; its values are not read.
        matrix: A, half the second derivative of the energy; found by probing if None.
        radius: how far an equation reaches, in rows and columns; for probing.
        factor: in place of a new one, that of A from `nested_dissection.keep` and `update`, which
            pay where A has changed at some pixels; or that of a similar stencil: the more alike
            they are, the fewer steps it takes, and after 12 a new one is made.
        start: where to begin; 0 if None.
        tol: largest residual and correction, see above; eps^(2/3) if None, which is 2e-5 in
            float32 and 4e-11 in float64. A larger one takes fewer steps.
        again: whether a factor in float64 may take over, which doubles the time to compile.
            Needless where no conductance is negative, nor below 1e-9 of the largest.
        method: "auto" is "direct" where the factor holds up to `DIRECT_NUMBERS` numbers or is
            given, and "iterative" (`iterative.minimise`, in memory linear in pixels) elsewhere.
        spanned: fields that cost little energy locally, for "iterative"; see
            `multigrid.preconditioner`. Without them it takes conductances of radius 1 only.
        size: what a correction is set against where all values are smaller; for "direct".

    Raises:
        ValueError: if neither a stencil nor a radius is given, for another method, or for the
            factor of another size or radius.
    """
    if method not in ("auto", "direct", "iterative"):
        raise ValueError(f"method must be auto, direct or iterative, got {method!r}")
    gradient = jax.grad(energy)
    zeros = jnp.zeros_like(like)
    if matrix is None:
        if radius is None:
            raise ValueError("minimise needs the stencil of the energy, or a radius to probe it")
        matrix = probe(energy, like, radius=radius)
    if factor is not None:
        nested_dissection.check(factor, matrix)
    if method == "auto" and factor is None:
        height, width = matrix.ground.shape
        numbers = nested_dissection.numbers((height, width), matrix.radius)
        method = "direct" if numbers <= DIRECT_NUMBERS else "iterative"
    if method == "iterative":
        return iterative.minimise(
            energy, like, matrix=matrix, spanned=spanned, start=start, tol=tol
        )
    tol = jnp.asarray(jnp.finfo(like.dtype).eps ** (2 / 3) if tol is None else tol, like.dtype)
    size = jnp.asarray(size, like.dtype)
    matrix, factor, start, tol, size = jax.lax.stop_gradient((matrix, factor, start, tol, size))
    diagonal = stencil.diagonal(matrix)
    # A pixel without any edge or ground has no equation.
    diagonal = jnp.where(diagonal > 0, diagonal, 1).reshape(
        matrix.ground.shape + (1,) * (like.ndim - 2)
    )
    made = factor is None
    system = _System(
        matrix, nested_dissection.factor(_cast(matrix, jnp.float32)) if made else factor, tol, size
    )

    def solve(misfit: Function, guess: Array) -> tuple[Array, tuple[Array, Array]]:
        value, told = _solve(lambda u: -misfit(u), guess, system, made, again)
        # As floats: derivatives of `custom_root` cannot carry integers along.
        return value, jax.tree.map(lambda what: what.astype(value.dtype), told)

    def solve_tangent(matvec: Function, rhs: Array) -> Array:
        relative = system._replace(size=jnp.zeros_like(size))  # derivatives have any scale
        return jax.lax.custom_linear_solve(
            matvec,
            rhs,
            lambda product, b: _solve(
                lambda u: b - product(u), jnp.zeros_like(b), relative, made, again
            )[0],
            symmetric=True,
        )

    value, told = jax.lax.custom_root(
        lambda u: gradient(u) / 2,
        zeros if start is None else jnp.where(jnp.isfinite(start), start, 0),
        solve,
        solve_tangent,
        has_aux=True,
    )
    steps, settled = jax.lax.stop_gradient(told)
    error = jax.lax.stop_gradient(gradient(value) / 2) / diagonal
    residual = jnp.nan_to_num(jnp.abs(error).max(), nan=jnp.inf, posinf=jnp.inf)
    converged = (settled > 0) & (residual <= tol)
    return Solution(value, residual, steps.astype(jnp.int32), converged)


def probe(energy: Function, like: Float[Array, "h w *k"], *, radius: int) -> Stencil:
    """The stencil of a quadratic energy, by (2r+1)² + 1 products with its second derivative."""
    gradient = jax.grad(energy)
    zeros = jnp.zeros_like(like)

    def matvec(plane: Array) -> Array:
        u = plane if like.ndim == 2 else zeros.at[..., 0].set(plane)
        product = jax.jvp(gradient, (zeros,), (u,))[1] / 2
        return product if like.ndim == 2 else product[..., 0]

    return stencil.probe(matvec, zeros if like.ndim == 2 else zeros[..., 0], radius=radius)


class _System(NamedTuple):
    matrix: Stencil
    factor: Factor
    tol: Array
    size: Array


def _solve(residual: Function, start: Array, system: _System, made: bool, again: bool):
    """The zero of a residual b - A u: the solution, the corrections made, whether it settled.

    `made`: whether the factor is that of this very matrix, else a new one may take over. `again`:
    whether one in float64 may.
    """
    matrix, factor, tol, size = system
    positive = (matrix.edges.min(initial=0) >= 0) & (matrix.ground.min(initial=0) >= 0)

    def attempt(factor: Factor, own: Array) -> tuple[Array, Array, Array]:
        roundings = _TRUST * jnp.finfo(factor.dtype).eps
        trust = jnp.where(own & positive, roundings, jnp.inf).astype(start.dtype)
        return _improve(residual, start, _System(matrix, factor, tol, size), trust, own)

    true = jnp.asarray(True)
    own = true if made else _is_of(factor, matrix)
    first = attempt(factor, own)
    renewed = start.dtype if again else factor.dtype
    if made and renewed == factor.dtype:
        value, steps, settled = first
        return value, (steps, settled)

    def exactly(state: tuple) -> tuple:
        # What does not depend on the loop's state would be moved out of it, and always be made.
        known, before = jax.lax.optimization_barrier((matrix, state[1]))
        value, steps, settled = attempt(nested_dissection.factor(_cast(known, renewed)), true)
        return value, before + steps, settled, true

    # A loop that runs once or not at all: under vmap a `cond` would always run.
    needless = own & (renewed == factor.dtype)
    value, steps, settled, _ = jax.lax.while_loop(
        lambda state: ~state[2] & ~state[3], exactly, (*first, needless)
    )
    return value, (steps, settled)


class _State(NamedTuple):
    """Where the solution stands; directions are those of a residual scaled to 1."""

    value: Array
    left: Array  # the residual of value
    before: Array  # the residual one step earlier
    direction: Array
    size: Array  # the last leftᵀ·correction of each plane
    unit: Array
    limit: Array  # larger corrections are refused
    best: Array  # the smallest correction
    since: Array  # steps since then
    steps: Array
    settled: Array
    going: Array


def _improve(
    residual: Function, start: Array, system: _System, trust: Array, own: Array
) -> tuple[Array, Array, Array]:
    """Conjugate gradients preconditioned with a factor; a few rounds of refinement if it fits.

    The residual is computed anew from the value each time, so that steps refine. Directions are
    made conjugate with Polak and Ribière's formula, which forgives a preconditioner in float32.
    `own`: whether the factor is that of this matrix.
    """

    matrix, factor, tol, least = system
    most = jnp.where(own, _MAX_STEPS, _OF_ANOTHER)
    # Corrections of a factor that is right to some roundings shrink until rounding of residuals is
    # all that is left: in the type of the factor at once, in float64 far below a loose tolerance.
    foretells = jnp.isfinite(trust) & (factor.dtype != start.dtype) & (tol >= _LOOSE)

    def measured(value: Array) -> tuple[Array, Array]:
        """The residual, and its size."""
        left = residual(value)
        return left, jnp.abs(left).max()

    def dot(a: Array, b: Array) -> Array:
        return (a * b).sum((0, 1))

    def ratio(a: Array, b: Array) -> Array:
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)

    def step(state: _State) -> _State:
        # Scaled to 1, lest squares or float32 factors run out of range.
        scaled = state.left / jnp.where(state.unit > 0, state.unit, 1)
        z = nested_dissection.substitute(factor, scaled).astype(state.left.dtype)
        size = dot(z, state.left)
        beta = jnp.maximum(ratio(size - dot(z, state.before), state.size), 0)
        direction = z + beta * state.direction
        curvature = dot(direction, stencil.apply(matrix, direction))
        length = ratio(dot(state.left, direction), curvature)
        change = length * direction
        # The factor's own estimate of the error, unless it is that of another matrix.
        moved = jnp.where(own, state.unit * jnp.abs(z).max(), jnp.abs(change).max())
        value = state.value + change
        helps = (moved < state.limit) & jnp.isfinite(value).all()  # False for NaN
        value = jnp.where(helps, value, state.value)
        left, unit = measured(value)
        scale = jnp.maximum(jnp.abs(value).max(), least)
        shrinks = jnp.maximum(ratio(moved, state.best), ratio(unit, state.unit))
        left_over = jnp.where(foretells & (state.steps > 0), _MARGIN * shrinks * moved, jnp.inf)
        settled = jnp.minimum(moved, left_over) <= tol * scale
        best = jnp.minimum(moved, state.best)
        since = jnp.where(moved < state.best, 0, state.since + 1)
        steps = state.steps + helps
        exact = jnp.minimum(moved, trust * scale)
        return _State(
            value=value,
            left=left,
            before=state.left,
            direction=direction,
            size=size,
            unit=unit,
            limit=jnp.where(jnp.isfinite(trust), exact, 100 * best),
            best=best,
            since=since,
            steps=steps,
            settled=settled,
            going=helps & ~settled & (since < _PATIENCE) & (steps < most),
        )

    zeros = jnp.zeros_like(start)
    infinite = jnp.asarray(jnp.inf, start.dtype)
    left, unit = measured(start)
    state = _State(
        value=start,
        left=left,
        before=zeros,
        direction=zeros,
        size=jnp.zeros_like(dot(zeros, zeros)),
        unit=unit,
        limit=infinite,
        best=infinite,
        since=jnp.int32(0),
        steps=jnp.int32(0),
        settled=jnp.asarray(False),
        going=jnp.asarray(True),
    )
    state = jax.lax.while_loop(lambda state: state.going, step, state)
    return state.value, state.steps, state.settled


def _is_of(factor: Factor, matrix: Stencil) -> Array:
    differ = nested_dissection.differ(factor.of, _cast(matrix, factor.dtype))
    return ~(differ.ground.any() | differ.edges.any())


def _cast(matrix: Stencil, dtype) -> Stencil:
    return Stencil(matrix.ground.astype(dtype), matrix.edges.astype(dtype))
