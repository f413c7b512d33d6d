"""Grids of conductors solved row by row, in sums and products of non-negative numbers only.

The matrix of a grid Laplacian plus a non-negative diagonal is an M-matrix. It is kept here as its
conductances: between pixels, and from each pixel to the ground. A diagonal is the sum of the
conductances that end at its pixel, never a difference, so no step of the elimination cancels
(Grassmann, Taksar and Heyman, 1985; Alfa, Xue and Ye, "Accurate computation of the smallest
eigenvalue of a diagonally dominant M-matrix", 2002). Every entry is hence right to a few hundred
roundings whatever the condition number is, which a Cholesky factor cannot offer: in float32 it
loses a region that hangs on an edge of weight 1e-6, or meets a negative pivot.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Below this size a matrix is inverted column by column; above it, half by half, in matrix products.
_LEAF = 32


class Factor(NamedTuple):
    """The pivots of an H×W grid, inverted. Memory H·W²: the rows should be the shorter side.

    pivots: the inverse of each row's block once the rows above it are eliminated.
    down: conductances from each row to the next; 0 after the last row.
    """

    pivots: Float[Array, "h w w"]
    down: Float[Array, "h w"]


def inverse(edges: Float[Array, "n n"], ground: Float[Array, " n"]) -> Float[Array, "n n"]:
    """P = (diag(edges·1 + ground) - edges)⁻¹, all of it non-negative; n³ operations.

    Args:
        edges: symmetric conductances between nodes, non-negative, 0 on the diagonal.
        ground: conductances from each node to the ground, non-negative. Nodes that no path
            joins to the ground make the matrix singular: one of them then counts as grounded.
    """
    size = ground.shape[0]
    if size > _LEAF:
        half = size // 2
        across = edges[:half, half:]
        first = inverse(edges[:half, :half], ground[:half] + across.sum(1))
        reach = first @ across
        second = inverse(
            _without_diagonal(edges[half:, half:] + across.T @ reach),
            ground[half:] + ground[:half] @ reach,
        )
        corner = reach @ second
        return jnp.block([[first + corner @ reach.T, corner], [corner.T, second]])

    # leak[:, k]: from each node to the ground and to all nodes after k.
    after = jnp.tril(jnp.ones_like(edges), -1)
    leak = ground[:, None] + edges @ after
    unit = jnp.eye(size, dtype=edges.dtype)

    def border(k: Array, known: Array) -> Array:
        reach = known @ edges[k] + unit[k]
        pivot = reach @ leak[:, k]
        usable = pivot > jnp.finfo(pivot.dtype).tiny
        column = jnp.where(usable, reach / jnp.where(usable, pivot, 1), 0)
        return known + column[:, None] * reach

    return jax.lax.fori_loop(0, size, border, jnp.zeros_like(edges))


def factor(
    ground: Float[Array, "h w"], right: Float[Array, "h w-1"], down: Float[Array, "h-1 w"]
) -> Factor:
    """Eliminate the grid row by row; conductances to the ground, to the right and downwards.

    All of them are non-negative. H steps, one after the other, of order W³ each.
    """
    down = jnp.pad(down, ((0, 1), (0, 0)))

    def eliminate(above: tuple, row: tuple) -> tuple:
        fill, leak = above
        ground, right, down = row
        edges = fill + jnp.diag(right, 1) + jnp.diag(right, -1)
        ground = ground + leak
        pivot = inverse(edges, ground + down)
        fill = _without_diagonal(down[:, None] * pivot * down)
        return (fill, down * (pivot @ ground)), pivot

    width = ground.shape[1]
    start = jnp.zeros((width, width), ground.dtype), jnp.zeros((width,), ground.dtype)
    _, pivots = jax.lax.scan(eliminate, start, (ground, right, down))
    return Factor(pivots, down)


def substitute(factor: Factor, rhs: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
    """The solution of the factored system for K right-hand sides, of any sign."""

    def forward(above: Array, row: tuple) -> tuple:
        pivot, down, rhs = row
        total = rhs + above
        return down[:, None] * (pivot @ total), total

    def backward(below: Array, row: tuple) -> tuple:
        pivot, down, total = row
        value = pivot @ (total + down[:, None] * below)
        return value, value

    zero = jnp.zeros_like(rhs[0])
    _, totals = jax.lax.scan(forward, zero, (*factor, rhs))
    return jax.lax.scan(backward, zero, (*factor, totals), reverse=True)[1]


def solve(
    ground: Float[Array, "h w"],
    right: Float[Array, "h w-1"],
    down: Float[Array, "h-1 w"],
    rhs: Float[Array, "h w k"],
) -> Float[Array, "h w k"]:
    """y of ground·y_i + Σ c_ij (y_i - y_j) = rhs_i, with conductances c to the next pixels.

    All but `rhs` are non-negative, and some of `ground` are positive. Right to rounding; rows are
    eliminated along the longer side. Differentiable in all four by the implicit function theorem:
    the derivative costs one more substitution.
    """
    system = jax.lax.stop_gradient((ground, right, down))
    wide = ground.shape[0] < ground.shape[1]
    with jax.default_matmul_precision("highest"):
        pivots = factor(system[0].T, system[2].T, system[1].T) if wide else factor(*system)

    def matvec(y: Array) -> Array:
        across = right[..., None] * (y[:, 1:] - y[:, :-1])
        along = down[..., None] * (y[1:] - y[:-1])
        across, along = (jnp.pad(flow, ((1, 1),) * 2 + ((0, 0),)) for flow in (across, along))
        out_across = across[1:-1, :-1] - across[1:-1, 1:]
        out_along = along[:-1, 1:-1] - along[1:, 1:-1]
        return ground[..., None] * y + out_across + out_along

    def inverted(_, b: Array) -> Array:
        with jax.default_matmul_precision("highest"):
            if not wide:
                return substitute(pivots, b)
            return substitute(pivots, b.swapaxes(0, 1)).swapaxes(0, 1)

    return jax.lax.custom_linear_solve(matvec, rhs, inverted, symmetric=True)


def _without_diagonal(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    return jnp.where(jnp.eye(matrix.shape[0], dtype=bool), 0, matrix)
