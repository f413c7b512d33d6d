"""The 4-neighbour grid by shifts: borders do not wrap, and no copies are stacked."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def differences(array: Float[Array, "h w c"], axis: int) -> Float[Array, "..."]:
    """Next pixel minus this pixel along `axis` (0: downwards, 1: to the right).

    One shorter than `array` along `axis`; empty, not wrapped, where the array is one pixel wide.
    """
    if axis == 0:
        return array[1:] - array[:-1]
    if axis == 1:
        return array[:, 1:] - array[:, :-1]
    raise ValueError(f"axis must be 0 or 1, got {axis}")


def neighbours(
    array: Float[Array, "h w c"], axis: int, step: int, *, wrap: bool = False
) -> Float[Array, "h w c"]:
    """The pixel `step` (1 or -1) further along `axis` (0: downwards, 1: to the right) of each.

    Same shape as `array`. At the border it is the pixel itself or, if `wrap`, the one at the other
    border: give it weight 0. Read through fixed indices rather than sliced and padded, since XLA's
    CPU backend runs the fused loop of such reads in vectors, and that of a padded array not
    (Laplacian of 13×128×128×21: 4 against 57 ms).
    """
    if axis not in (0, 1):
        raise ValueError(f"axis must be 0 or 1, got {axis}")
    size = array.shape[axis]
    places = np.arange(size) + step
    places = places % size if wrap else places.clip(0, size - 1)
    return jnp.take(array, places, axis, mode="clip")


def over_last(terms: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """Σ over the last axis, as a product with ones.

    XLA's CPU backend sums fused differences 5 times slower, and stores each term of a sum of sums.
    """
    ones = jnp.ones(terms.shape[-1], terms.dtype)
    return jnp.matmul(terms, ones, precision="highest")
