"""Networks of conductors reduced to some of their nodes, by star-mesh transforms.

A matrix is kept as conductances: between nodes, and from each node to the ground. A diagonal is the
sum of the conductances that end at its node, never a difference. Where none of them is negative,
as in a grid Laplacian with a non-negative diagonal added, nothing cancels (Grassmann, Taksar and
Heyman, 1985; Alfa, Xue and Ye, "Accurate computation of the smallest eigenvalue of a diagonally
dominant M-matrix", 2002): every entry is right to a few hundred roundings whatever the condition
number is, which a Cholesky factor cannot offer. In float32 that loses a region that hangs on an
edge of weight 1e-6, or meets a negative pivot. Conductances of either sign are allowed: the algebra
is that of Gaussian elimination without pivoting, and needs a positive definite matrix.

Networks come in batches in two layouts. `BLOCKS`: (…, n, n), in matrix products, for tens of nodes
and more. `LANES`: (n, n, batch), elementwise, for a few nodes in thousands of networks.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Matrices are inverted in blocks of about this size, and each block column by column.
_BLOCK = 32


class Layout(NamedTuple):
    """Where the nodes' axes are and how blocks are multiplied.

    axis: of the first node; the second's follows.
    product: Σ_k left[k, m] right[k, n].
    apply: Σ_k matrix[m, k] vectors[k, n].
    inverse: of (diag(edges·1 + ground) - edges); the diagonal of edges is not read. n³ operations.
        Nodes that no path joins to the ground make the matrix singular: one of them then counts as
        grounded.
    """

    axis: int
    product: Callable[[Array, Array], Array]
    apply: Callable[[Array, Array], Array]
    inverse: Callable[[Array, Array], Array]


def reciprocal(pivot: Array) -> Array:
    """1 / pivot; 0 where it is not positive, so that such a node counts as grounded."""
    usable = pivot > jnp.finfo(pivot.dtype).tiny
    return jnp.where(usable, 1 / jnp.where(usable, pivot, 1), 0)


def _matrix_product(left: Float[Array, "*b k m"], right: Float[Array, "*b k n"]) -> Array:
    return left.mT @ right


def _inverse_blocks(edges: Float[Array, "*b n n"], ground: Float[Array, "*b n"]) -> Array:
    """Known for more and more of the first nodes, the others being grounded: a block more a step.

    With K the next block and R = known·edges[:, K], the block of the inverse at K is that of the
    network in which the nodes before K are replaced by what they conduct, and what is known grows
    by (R, 1) times it times (R, 1)ᵀ.
    """
    size = ground.shape[-1]
    if size <= _BLOCK:
        return _inverse_by_columns(edges, ground)
    count = -(-size // _BLOCK)
    block = -(-size // count)
    more = count * block - size
    batch = [(0, 0)] * (ground.ndim - 1)
    edges = jnp.pad(edges, [*batch, (0, more), (0, more)])
    ground = jnp.pad(ground, [*batch, (0, more)], constant_values=1)
    node = jnp.arange(size + more)
    unit = jnp.broadcast_to(jnp.eye(block, dtype=edges.dtype), (*ground.shape[:-1], block, block))

    def border(i: Array, known: Array) -> Array:
        start = i * block

        def here(array: Array, axis: int) -> Array:
            return jax.lax.dynamic_slice_in_dim(array, start, block, array.ndim + axis)

        across = here(edges, -1)
        leak = ground + jnp.where(node >= start + block, edges, 0).sum(-1)
        reach = known @ across
        back = reach.mT
        own = _inverse_by_columns(
            here(across, -2) + across.mT @ reach,
            here(leak, -1) + (back @ leak[..., None])[..., 0],
        )
        reach = jax.lax.dynamic_update_slice_in_dim(reach, unit, start, reach.ndim - 2)
        return known + reach @ (own @ reach.mT)

    known = jax.lax.fori_loop(0, count, border, jnp.zeros_like(edges))
    return known[..., :size, :size]


def _inverse_by_columns(edges: Float[Array, "*b n n"], ground: Float[Array, "*b n"]) -> Array:
    size = ground.shape[-1]
    # leak[..., k]: from each node to the ground and to all nodes after k.
    after = jnp.tril(jnp.ones((size, size), edges.dtype), -1)
    leak = ground[..., None] + edges @ after
    unit = jnp.eye(size, dtype=edges.dtype)

    def border(k: Array, known: Array) -> Array:
        edge = jax.lax.dynamic_index_in_dim(edges, k, -2, keepdims=True)
        flow = jax.lax.dynamic_index_in_dim(leak, k, -1, keepdims=False)
        reach = (known * edge).sum(-1) + unit[k]
        share = reciprocal((reach * flow).sum(-1))
        return known + (share[..., None] * reach)[..., None] * reach[..., None, :]

    return jax.lax.fori_loop(0, size, border, jnp.zeros_like(edges))


def _lane_product(left: Float[Array, "k m t"], right: Float[Array, "k n t"]) -> Array:
    """Written out, so that the result is visited once."""
    total = left[0][:, None] * right[0][None]
    for k in range(1, left.shape[0]):
        total = total + left[k][:, None] * right[k][None]
    return total


def _inverse_lanes(edges: Float[Array, "n n t"], ground: Float[Array, "n t"]) -> Array:
    size = ground.shape[0]
    unit = jnp.eye(size, dtype=edges.dtype)[..., None]
    node = jnp.arange(size)[:, None]

    def border(k: Array, known: Array) -> Array:
        edge = jax.lax.dynamic_index_in_dim(edges, k, 0, keepdims=False)
        leak = ground + jnp.where(node > k, edges, 0).sum(1)
        reach = (known * edge).sum(1) + unit[k]
        share = reciprocal((reach * leak).sum(0))
        return known + (share * reach)[:, None] * reach

    return jax.lax.fori_loop(0, size, border, jnp.zeros_like(edges))


def _settled(array: Array) -> Array:
    """Computed once: XLA would compute it again for every element that uses it."""
    return jax.lax.optimization_barrier(array)


def _lane_product_settled(left: Array, right: Array) -> Array:
    return _settled(_lane_product(left, right))


def _apply_lanes(matrix: Float[Array, "m k t"], vectors: Float[Array, "k n t"]) -> Array:
    return (matrix[:, :, None] * vectors).sum(1)


BLOCKS = Layout(-2, _matrix_product, jnp.matmul, _inverse_blocks)
LANES = Layout(-3, _lane_product_settled, _apply_lanes, _inverse_lanes)
