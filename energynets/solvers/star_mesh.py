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

# Larger matrices are inverted in blocks of about this size.
_BLOCK = 32


class Layout(NamedTuple):
    """Where the nodes' axes are and how blocks are multiplied.

    axis: of the first node; the second's follows.
    product: Σ_k left[k, m] right[k, n].
    apply: Σ_k matrix[m, k] vectors[k, n].
    total: Σ_k array[m, k].
    inverse: of (diag(edges·1 + ground) - edges); the diagonal of edges is not read. n³ operations.
        Nodes that no path joins to the ground make the matrix singular: one of them then counts as
        grounded.
    """

    axis: int
    product: Callable[[Array, Array], Array]
    apply: Callable[[Array, Array], Array]
    total: Callable[[Array], Array]
    inverse: Callable[[Array, Array], Array]


def reciprocal(pivot: Array) -> Array:
    """1 / pivot; 0 where it is not positive, so that such a node counts as grounded."""
    usable = pivot > jnp.finfo(pivot.dtype).tiny
    return jnp.where(usable, 1 / jnp.where(usable, pivot, 1), 0)


def _matrix_product(left: Float[Array, "*b k m"], right: Float[Array, "*b k n"]) -> Array:
    return left.mT @ right


def _block_total(array: Float[Array, "*b m k"]) -> Array:
    # A product, since XLA's CPU backend is slow at sums over an axis.
    return (array @ jnp.ones((array.shape[-1], 1), array.dtype))[..., 0]


def _inverse_blocks(edges: Float[Array, "*b n n"], ground: Float[Array, "*b n"]) -> Array:
    """Known for more and more of the first nodes, the others being grounded: a block more a step.

    With K the next block and R = known·edges[:, K], the block of the inverse at K is that of the
    network in which the nodes before K are replaced by what they conduct, and what is known grows
    by (R, 1) times it times (R, 1)ᵀ.
    """
    size = ground.shape[-1]
    if size <= _BLOCK:
        return _inverse_by_nodes(edges, ground, ground.ndim - 1)
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
        leak = ground + _block_total(jnp.where(node >= start + block, edges, 0))
        reach = known @ across
        back = reach.mT
        own = _inverse_by_nodes(
            here(across, -2) + across.mT @ reach,
            here(leak, -1) + (back @ leak[..., None])[..., 0],
            ground.ndim - 1,
        )
        reach = jax.lax.dynamic_update_slice_in_dim(reach, unit, start, reach.ndim - 2)
        return known + reach @ (own @ reach.mT)

    known = jax.lax.fori_loop(0, count, border, jnp.zeros_like(edges))
    return known[..., :size, :size]


def _inverse_lanes(edges: Float[Array, "n n t"], ground: Float[Array, "n t"]) -> Array:
    return _inverse_by_nodes(edges, ground, 0)


def _inverse_by_nodes(edges: Array, ground: Array, axis: int) -> Array:
    """One node after the other is eliminated; those before it keep what reaches them.

    After k steps, `known` is the inverse for the first k nodes, the others being grounded, its
    product with the conductances from the others, and the conductances left between the others.
    With c the column of the next node and 1 at that node itself, and s all that it conducts to the
    ground and to the nodes after it, each step adds c cᵀ / s.
    """
    size = ground.shape[axis]
    node = jnp.arange(size).reshape(-1, *(1,) * (ground.ndim - 1 - axis))

    def conduct(known: Array, ground: Array, k: Array) -> tuple[Array, Array, Array]:
        row = jax.lax.dynamic_index_in_dim(known, k, axis, keepdims=False)
        own = jax.lax.dynamic_index_in_dim(ground, k, axis)
        conducted = own + jnp.where(node > k, row, 0).sum(axis, keepdims=True)
        column = jnp.where(node == k, 1, row)
        share = reciprocal(conducted) * column
        return share, column, ground + share * own

    def step(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        known, ground = state
        share, column, ground = settled(conduct, known, ground, k)
        first, second = jnp.expand_dims(node == k, 1), node == k
        kept = jnp.where(first | second, 0, known)
        return kept + jnp.expand_dims(share, axis + 1) * jnp.expand_dims(column, axis), ground

    return jax.lax.fori_loop(0, size, step, (edges, ground))[0]


def _lane_sum(terms: list[Array]) -> Array:
    """Written out, so that the result is visited once; in pairs, for the sake of rounding."""
    while len(terms) > 1:
        last = [terms[-1]] if len(terms) % 2 else []
        terms = [a + b for a, b in zip(terms[0::2], terms[1::2], strict=False)] + last
    return terms[0]


def settled(compute: Callable, *inputs: Array):
    """`compute(*inputs)` once: XLA would compute it again for every element that uses it.

    On CPU it fuses across an `optimization_barrier`, but not what lies in a branch; the barrier
    keeps it from seeing that the branch is always taken.
    """
    shapes = jax.eval_shape(compute, *inputs)
    always = jax.lax.optimization_barrier(jnp.asarray(True))

    def never(*_: Array):
        return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    return jax.lax.cond(always, compute, never, *inputs)


def _lane_product(left: Float[Array, "k m t"], right: Float[Array, "k n t"]) -> Array:
    def compute(left: Array, right: Array) -> Array:
        return _lane_sum([left[k][:, None] * right[k][None] for k in range(left.shape[0])])

    return settled(compute, left, right)


def _lane_apply(matrix: Float[Array, "m k t"], vectors: Float[Array, "k n t"]) -> Array:
    def compute(matrix: Array, vectors: Array) -> Array:
        terms = [matrix[:, k][:, None] * vectors[k][None] for k in range(matrix.shape[1])]
        return _lane_sum(terms)

    return settled(compute, matrix, vectors)


def _lane_total(array: Float[Array, "m k t"]) -> Array:
    return _lane_sum([array[:, k] for k in range(array.shape[1])])


BLOCKS = Layout(-2, _matrix_product, jnp.matmul, _block_total, _inverse_blocks)
LANES = Layout(-3, _lane_product, _lane_apply, _lane_total, _inverse_lanes)
