"""Merging two regions of nested dissection: the separator between them is eliminated.

A region is known by the conductances within its ring (`dissection.Ring`). A separator is what both
rings hold and the ring of the merged region does not. `tiles` makes the first regions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.solvers.dissection import Merge, Segments
from energynets.solvers.star_mesh import Layout


class Separators(NamedTuple):
    """All separators of one level: e nodes each, b nodes in the ring of what they join.

    pivot: inverse of the separator's block. reach: its product with the conductances to the ring.
    """

    pivot: Float[Array, "..."]
    reach: Float[Array, "..."]


def eliminate(
    first: Array, second: Array, merge: Merge, layout: Layout
) -> tuple[Separators, Array]:
    """Join two regions and eliminate the separator between them."""
    size, axis = merge.ring.size, layout.axis
    # Rows of the children, columns of the parent.
    wide = [
        _spread(child, keep, size, axis + 1)
        for child, keep in zip((first, second), merge.keep, strict=True)
    ]
    edges = jax.lax.optimization_barrier(
        sum(
            _cut(_cut(child, merge, which, axis), merge, which, axis + 1)
            for which, child in enumerate((first, second))
        )
    )
    touched = jax.lax.optimization_barrier(
        sum(_cut(child, merge, which, axis) for which, child in enumerate(wide))
    )
    pivot = layout.inverse(edges, layout.total(touched))
    reach = layout.product(pivot, touched)
    left = layout.product(touched, reach)
    for child, keep in zip(wide, merge.keep, strict=True):
        for begin, length, to in keep:
            rows = jax.lax.slice_in_dim(child, begin, begin + length, axis=axis % child.ndim)
            there = jax.lax.slice_in_dim(left, to, to + length, axis=axis % left.ndim)
            left = jax.lax.dynamic_update_slice_in_dim(left, there + rows, to, axis % left.ndim)
    return Separators(pivot, reach), left


def forward(level: Separators, first: Array, second: Array, merge: Merge, layout: Layout):
    """What arrives at a separator, and at the ring of what it joins."""
    axis, size = layout.axis, merge.ring.size
    total = _cut(first, merge, 0, axis) + _cut(second, merge, 1, axis)
    ring = _spread(first, merge.keep[0], size, axis) + _spread(second, merge.keep[1], size, axis)
    return total, ring + layout.product(level.reach, total)


def backward(
    level: Separators, total: Array, ring: Array, merge: Merge, layout: Layout
) -> tuple[Array, Array]:
    """The solution at the rings of the two regions."""
    value = layout.product(level.pivot, total) + layout.apply(level.reach, ring)
    return (
        _gather(ring, value, merge, 0, layout.axis),
        _gather(ring, value, merge, 1, layout.axis),
    )


def halves(array: Array) -> tuple[Array, Array]:
    """The first half of the lanes, and the second."""
    half = array.shape[-1] // 2
    return array[..., :half], array[..., half:]


def children(array: Array, along: int) -> tuple[Array, Array]:
    """Every other region along an axis, and those between them."""
    if along == 0:
        return array[0::2], array[1::2]
    return array[:, 0::2], array[:, 1::2]


def together(first: Array, second: Array, along: int) -> Array:
    shape = list(first.shape)
    shape[along] *= 2
    return jnp.stack([first, second], along + 1).reshape(shape)


def _cut(array: Array, merge: Merge, which: int, axis: int) -> Array:
    begin, length = merge.cut[which]
    return jax.lax.slice_in_dim(array, begin, begin + length, axis=axis % array.ndim)


def _spread(array: Array, keep: Segments, size: int, axis: int) -> Array:
    """The parts of a child's ring at their places in the parent's, and 0 elsewhere."""
    axis = axis % array.ndim
    placed = jnp.zeros((*array.shape[:axis], size, *array.shape[axis + 1 :]), array.dtype)
    for begin, length, to in keep:
        part = jax.lax.slice_in_dim(array, begin, begin + length, axis=axis)
        placed = jax.lax.dynamic_update_slice_in_dim(placed, part, to, axis)
    return placed


def _gather(ring: Array, separator: Array, merge: Merge, which: int, axis: int) -> Array:
    """A child's ring, from its parent's and from the separator; 0 for what the parent dropped."""
    axis = axis % ring.ndim
    begin, length = merge.cut[which]
    sources = [(first, count, ring, to) for first, count, to in merge.keep[which]]
    sources.append((begin, length, separator, 0))
    sources.append((merge.child.size, 0, separator, 0))
    parts, end = [], 0
    for begin, length, source, at in sorted(sources, key=lambda source: source[0]):
        if begin > end:
            shape = (*ring.shape[:axis], begin - end, *ring.shape[axis + 1 :])
            parts.append(jnp.zeros(shape, ring.dtype))
        parts.append(jax.lax.slice_in_dim(source, at, at + length, axis=axis))
        end = begin + length
    return jnp.concatenate(parts, axis)
