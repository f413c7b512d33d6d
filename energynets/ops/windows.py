"""Square windows of (2r+1)² pixels that lie wholly inside a picture, by shifts.

There is one window for each pixel at least r from every border, so H×W pixels have
(H-2r)×(W-2r) windows, and none where the picture is smaller than one. Sums run over one shift at
a time: no array holds a copy of a picture for every pixel of a window.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Up to this radius shifts are written out, which XLA fuses into one pass; beyond it they are a
# loop, so that neither the program nor its compilation grows with the window.
_WRITTEN_OUT = 2


def grid(shape: tuple[int, ...], radius: int) -> tuple[int, int]:
    """How many windows lie one below and one beside the other in a picture of `shape`.

    Raises ValueError for a negative radius.
    """
    if radius < 0:
        raise ValueError(f"radius must be 0 or more, got {radius}")
    height, width = (max(0, side - 2 * radius) for side in shape[:2])
    return (height, width) if height and width else (0, 0)


def centres(plane: Float[Array, "h w"], radius: int) -> Float[Array, "m n"]:
    """For every window its middle pixel."""
    height, width = grid(plane.shape, radius)
    return plane[radius : radius + height, radius : radius + width]


def spread(plane: Float[Array, "m n"], radius: int) -> Float[Array, "m+4r n+4r"]:
    """A plane over windows with zeros around, such that its own windows belong to pixels.

    The window of `spread(plane, r)` at pixel i holds `plane` at the windows that contain i, and 0
    where such a window would leave the picture. A sum over it is the transpose of the sum over
    the pixels of a window.
    """
    return jnp.pad(plane, 2 * radius)


def accumulate(term: Callable[[Callable[[Array], Array]], Any], radius: int) -> Any:
    """Σ term(at) over the (2r+1)² places in a window, one place after the other.

    `at(plane)`, for a plane H×W, is the pixel at that place of every window: (H-2r)×(W-2r).
    `term` returns a tree of arrays. Differentiable in whatever `term` closes over, in memory that
    does not grow with the window.
    """
    side = 2 * radius + 1

    def here(row, column):
        def at(plane: Array) -> Array:
            return jax.lax.dynamic_slice(plane, (row, column), grid(plane.shape, radius))

        return term(at)

    if radius <= _WRITTEN_OUT:
        places = [here(row, column) for row in range(side) for column in range(side)]
        return jax.tree.map(lambda *terms: sum(terms[1:], terms[0]), *places)

    def add(total, place):
        # Rematerialised, so that differentiating the loop keeps nothing for each of its rounds.
        new = jax.checkpoint(here)(place // side, place % side)
        return jax.tree.map(jnp.add, total, new), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf), jax.eval_shape(lambda: here(0, 0)))
    return jax.lax.scan(add, zeros, jnp.arange(side**2))[0]


def box_sum(plane: Float[Array, "h w"], radius: int) -> Float[Array, "m n"]:
    """The sum over each window; its rounding is that of the sum itself, never of a difference."""

    def along(array: Array, axis: int) -> Array:
        count = max(0, array.shape[axis] - 2 * radius)
        return sum(
            (
                jax.lax.slice_in_dim(array, start, start + count, axis=axis)
                for start in range(1, 2 * radius + 1)
            ),
            jax.lax.slice_in_dim(array, 0, count, axis=axis),
        )

    return along(along(plane, 0), 1)
