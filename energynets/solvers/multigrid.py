"""A symmetric positive definite preconditioner for quadratic energies on pictures: multigrid.

Which coarser unknowns there are depends on the energy, see `aggregation` and `fields`; the cycle is
the same. A residual is smoothed by a polynomial of Chebyshev in D⁻¹A, its remainder is corrected
on the coarser level, and it is smoothed once more. Unknowns that are not smooth across tiles cost
a coarser level up to twice the energy, and after several levels nothing would be left of the
correction: each level but the first is therefore visited twice, by two steps of Chebyshev's
iteration preconditioned with the visit itself. This is the W-cycle with weights, or algebraic
multilevel iteration (Axelsson and Vassilevski, "Algebraic multilevel preconditioning methods II",
1990), and stays linear, symmetric and positive definite. Each level has a quarter of the unknowns,
so that all visits together cost less than three times those of the finest level.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.ops.block_tridiagonal import inverse
from energynets.solvers import aggregation, fields, stencil

Operator = Callable[[Array], Array]

# The smoother damps eigenvalues of D⁻¹A from this share of the largest one upwards.
_SHARE = 0.25
_DEGREE = 2
# A visit is taken to have A's eigenvalues right to within this factor.
_LOWEST = 0.25
# So many unknowns are solved by their eigenvectors.
_DENSE = 512
_POWER = 12


class Level(NamedTuple):
    """A level's matrix, 1 / its diagonal, the largest eigenvalue of D⁻¹A, and P, Pᵀ."""

    matvec: Operator
    inverse: Array
    top: float | Array
    restrict: Operator
    prolong: Operator


def preconditioner(
    matrix: stencil.Stencil, spanned: Float[Array, "f h w"] | None = None
) -> Operator:
    """B ≈ A⁻¹ for arrays of H×W×*k, linear, symmetric and positive definite.

    Building it costs some 40 products with A, and applying it some 10; it may be built and applied
    in one jitted function, under vmap, on any device. Of the values of A it needs no derivative.

    Args:
        matrix: A, of any radius up to 4, with a positive diagonal.
        spanned: fields that cost little energy locally, in any combination, such as 1 and the
            colours for matting. If None, A must have radius 1, and its edges along rows and
            columns must not be negative; any jumps between them are allowed. Edges along diagonals
            are then moved to the rows and columns.
    """
    if spanned is None:
        if matrix.radius != 1:
            raise ValueError(
                "without fields the matrix must have radius 1, got radius "
                f"{matrix.radius}; for matting give 1 and the colours"
            )
        return _of_conductors(matrix.ground, *_along_the_grid(matrix))
    return _of_fields(matrix, spanned)


def cycle(levels: Sequence[Level], solve: Operator) -> Operator:
    """One visit of the first level; `solve` is the exact solution on the level after the last."""

    def visit(depth: int, rhs: Array) -> Array:
        level = levels[depth]
        u = smooth(level, rhs)
        u = u + level.prolong(correct(depth + 1, level.restrict(rhs - level.matvec(u))))
        return u + smooth(level, rhs - level.matvec(u))

    def correct(depth: int, rhs: Array) -> Array:
        if depth == len(levels):
            return solve(rhs)
        # 1 - (1 - step·t)² is positive for 0 < t < 1.25, and at most 1.
        step = 2 / (1 + _LOWEST)

        def improve(_: Array, u: Array) -> Array:
            return u + step * visit(depth, rhs - levels[depth].matvec(u))

        # A loop and not two calls, or the program would double with each level.
        return jax.lax.fori_loop(0, 2, improve, jnp.zeros_like(rhs))

    return lambda rhs: visit(0, rhs) if levels else solve(rhs)


def smooth(level: Level, rhs: Array) -> Array:
    """p(D⁻¹A) D⁻¹ rhs, p being Chebyshev's polynomial for [top / 4, top]."""
    middle, half = (1 + _SHARE) / 2 * level.top, (1 - _SHARE) / 2 * level.top
    ratio = (1 + _SHARE) / (1 - _SHARE)
    step = level.inverse * rhs / middle
    u, rho = step, 1 / ratio
    for _ in range(_DEGREE - 1):
        before, rho = rho, 1 / (2 * ratio - rho)
        left = level.inverse * (rhs - level.matvec(u))
        step = rho * before * step + 2 * rho / half * left
        u = u + step
    return u


def _of_conductors(ground: Array, right: Array, down: Array) -> Operator:
    finer, last = aggregation.coarsen(aggregation.grid(ground, right, down))
    sizes = [*(level.graph.ground.size for level in finer[1:]), last.ground.size][: len(finer)]
    levels = [
        Level(
            lambda u, graph=graph: aggregation.apply(graph, u),
            _reciprocal(aggregation.diagonal(graph)),
            2.0,  # Gershgorin: the edges of a row sum to its diagonal at most
            lambda u, parent=parent, size=size: aggregation.restrict(parent, u, size),
            lambda u, parent=parent: aggregation.prolong(parent, u),
        )
        for (graph, parent), size in zip(finer, sizes, strict=True)
    ]
    if levels:

        def on_the_grid(u: Array) -> Array:
            return aggregation.apply_grid(ground, right, down, u)

        levels[0] = levels[0]._replace(matvec=on_the_grid)
    with jax.default_matmul_precision("highest"):
        whole = inverse(aggregation.dense(last), last.ground)

    def solve(rhs: Array) -> Array:
        return jnp.matmul(rhs, whole, precision="highest")

    return _on_columns(cycle(levels, solve), lambda u: u.reshape(-1, ground.size))


def _of_fields(matrix: stencil.Stencil, spanned: Array) -> Operator:
    diagonal = stencil.diagonal(matrix)
    root = jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    shape = (1, *diagonal.shape)
    spanned = spanned[:, None] * root
    scale, side, levels = 1 / root, 4, []
    matvec = functools.partial(fields.apply_stencil, matrix)
    inverted = _reciprocal(diagonal)[None]
    while shape[0] * shape[1] * shape[2] > _DENSE and shape[1:] != (1, 1):
        basis = fields.basis(spanned, side)
        spanned = fields.restrict(basis, spanned, side)
        basis = basis * scale
        level = Level(
            matvec,
            inverted,
            _largest(matvec, inverted, shape),
            lambda u, basis=basis, side=side: fields.restrict(basis, u, side),
            lambda u, basis=basis, side=side: fields.prolong(basis, u, side),
        )
        levels.append(level)
        blocks = fields.coarse(matvec, basis, side)
        matvec = functools.partial(fields.apply_blocks, blocks)
        inverted = 1 / jnp.einsum("aahw->ahw", blocks.middle)
        # The basis is orthonormal once D is scaled to 1, and that is what coarser levels see.
        scale, side, shape = jnp.ones((), root.dtype), 2, spanned.shape[1:]
    size = shape[0] * shape[1] * shape[2]
    whole = matvec(jnp.eye(size, dtype=root.dtype).reshape(size, *shape)).reshape(size, size)
    values, vectors = jnp.linalg.eigh((whole + whole.T) / 2)
    # What rounding made of eigenvalues near 0 must not turn the sign.
    values = jnp.maximum(values, 10 * jnp.finfo(values.dtype).eps * values[-1])

    def solve(rhs: Array) -> Array:
        flat = jnp.matmul(rhs.reshape(-1, size), vectors, precision="highest") / values
        return jnp.matmul(flat, vectors.T, precision="highest").reshape(rhs.shape)

    return _on_columns(cycle(levels, solve), lambda u: u[:, None])


def _largest(matvec: Operator, inverse: Array, shape: tuple[int, ...]) -> Array:
    """The largest eigenvalue of D⁻¹A and a little more, by the power method.

    The smoother bears eigenvalues up to 1.25 of what it is told.
    """
    start = jax.random.normal(jax.random.key(0), (1, *shape), inverse.dtype)

    def multiply(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        u, _ = state
        u = inverse * matvec(u)
        size = jnp.sqrt(jnp.square(u).sum())
        return u / size, size

    unit = start / jnp.sqrt(jnp.square(start).sum())
    return 1.1 * jax.lax.fori_loop(0, _POWER, multiply, (unit, jnp.ones((), start.dtype)))[1]


def _on_columns(run: Operator, to_planes: Operator) -> Operator:
    """`run` takes planes first; callers have H×W×*k."""

    def apply(u: Array) -> Array:
        planes = jnp.moveaxis(u.reshape(*u.shape[:2], -1), -1, 0)
        return jnp.moveaxis(run(to_planes(planes)).reshape(planes.shape), 0, -1).reshape(u.shape)

    return apply


def _along_the_grid(matrix: stencil.Stencil) -> tuple[Array, Array]:
    """Edges to the right and downwards. A diagonal's is moved to the two ways around its corner."""
    right, falling_left, down, falling_right = matrix.edges
    corner = jnp.maximum(falling_right[:-1, :-1], 0) + jnp.maximum(falling_left[:-1, 1:], 0)
    right = jnp.maximum(right[:, :-1], 0)
    right = right.at[:-1].add(corner).at[1:].add(corner)
    down = jnp.maximum(down[:-1], 0)
    return right, down.at[:, :-1].add(corner).at[:, 1:].add(corner)


def _reciprocal(values: Array) -> Array:
    return jnp.where(values > 0, 1 / jnp.where(values > 0, values, 1), 0)
