"""Square windows of (2r+1)² pixels that lie wholly inside a picture, r being their radius.

There is one window around each pixel at least r from every border: (H-2r)×(W-2r) of them, and
none in a picture smaller than a window. Sums visit one place of all windows at a time, so that
memory does not grow with the window and values can be centred per window before they are summed;
sums of uncentred squares lose all digits in float32 where a picture is nearly flat.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Places visited in one round of the loop. On CPUs 3 is twice as fast as 1; writing out the whole
# loop is slower than either and takes far longer to compile.
_AT_ONCE = 3


def count(shape: tuple[int, ...], radius: int) -> tuple[int, int]:
    """How many windows lie below and beside each other in H×W pixels; (0, 0) if none fits.

    Raises ValueError for a negative radius.
    """
    if radius < 0:
        raise ValueError(f"radius must be 0 or more, got {radius}")
    height, width = shape[0] - 2 * radius, shape[1] - 2 * radius
    return (height, width) if height > 0 and width > 0 else (0, 0)


def middles(plane: Float[Array, "h w"], radius: int) -> Float[Array, "m n"]:
    """The middle pixel of every window, (H-2r)×(W-2r)."""
    height, width = count(plane.shape, radius)
    return plane[radius : radius + height, radius : radius + width]


def surrounded(plane: Float[Array, "m n"], radius: int) -> Float[Array, "p q"]:
    """A plane over windows with 2r zeros on each side, whose own windows belong to the pixels.

    The window of the result at pixel i holds `plane` at all windows that contain i, and 0 for
    those that would leave the picture: `accumulate` over it sums over the windows of a pixel,
    which is the transpose of summing over the pixels of a window.
    """
    return jnp.pad(plane, 2 * radius)


def accumulate(term: Callable[[Callable[[Array], Array]], Any], radius: int) -> Any:
    """Σ term(at) over the (2r+1)² places of a window, for all windows together.

    Args:
        term: is given `at` and returns a tree of arrays. `at(plane)`, for a plane of H×W pixels,
            is the pixel of every window at this place, (H-2r)×(W-2r).
        radius: r, static; 0 gives windows of one pixel.

    Differentiable with respect to what `term` closes over, in both modes and repeatedly.
    """
    side = 2 * radius + 1

    def here(place: Any) -> Any:
        def at(plane: Array) -> Array:
            corner = (place // side, place % side)
            return jax.lax.dynamic_slice(plane, corner, count(plane.shape, radius))

        return term(at)

    def add(total: Any, place: Array) -> tuple[Any, None]:
        # Recomputed backwards, so that differentiating keeps nothing for each place.
        return jax.tree.map(jnp.add, total, jax.checkpoint(here)(place)), None

    nothing = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(here, jnp.int32(0))
    )
    return jax.lax.scan(add, nothing, jnp.arange(side**2), unroll=_AT_ONCE)[0]


def eroded(known: Bool[Array, "b h w k"], radius: int) -> Bool[Array, "b h w k"]:
    """True where all of the window around a pixel is; what lies outside the picture is left out."""
    side = (1, 2 * radius + 1, 2 * radius + 1, 1)
    missing = (~known).astype(jnp.float32)
    return jax.lax.reduce_window(missing, 0.0, jax.lax.max, side, (1,) * 4, "SAME") == 0
