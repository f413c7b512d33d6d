"""Square windows of (2r+1)² pixels that lie wholly inside a picture, r being their radius.

There is one window around each pixel at least r from every border: (H-2r)×(W-2r) of them, and
none in a picture smaller than a window. Values are centred per window before they are multiplied:
sums of uncentred squares lose all digits in float32 where a picture is nearly flat. `accumulate`
visits one place of all windows at a time, so that memory does not grow with the window.
"""

import math
from collections.abc import Callable, Sequence
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


def channels(image: Float[Array, "h w c"]) -> list[Float[Array, "h w"]]:
    """The channels of a picture in at least float32, laid out one after the other.

    By a product with 1: a mere transpose leaves them interleaved, and XLA's CPU backend reads what
    is interleaved pixel by pixel, anew for every place of a window: the matting loss takes half as
    long again. A pixel that is not finite in one channel is so in all.
    """
    image = image.astype(jnp.result_type(image, jnp.float32))
    one = jnp.eye(image.shape[-1], dtype=image.dtype)
    return list(jnp.einsum("hwc,dc->dhw", image, one, precision="highest"))


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


def centred(
    planes: Sequence[Float[Array, "h w"]], radius: int
) -> tuple[list[Float[Array, "m n"]], Callable[[Callable[[list[Array]], Any]], Any]]:
    """The mean of each plane in every window, less the middle, and `total`, which sums over places.

    total(term) is Σ term(d) over the places of a window, for all windows together, d being what
    each plane's pixel there differs by from the mean. `term` is given d as a list and returns a
    tree of arrays in which every entry is of second degree in d: products of two, and their sums.
    Such sums, and no others, are the same in any orthonormal basis of what is centred, so that 3×3
    windows take 8 contrasts, written out, instead of 9 places and their mean. In these reverse mode
    is slower than forward mode, and keeps 8 planes for each.
    """
    if radius == 1:
        found = [_contrasts(plane) for plane in planes]

        def over_contrasts(term: Callable[[list[Array]], Any]) -> Any:
            terms = [term([contrasts[k] for _, contrasts in found]) for k in range(8)]
            return jax.tree.map(lambda *leaves: sum(leaves), *terms)

        return [mean for mean, _ in found], over_contrasts

    middle = [middles(plane, radius) for plane in planes]

    def from_the_middle(at: Callable[[Array], Array]) -> list[Array]:
        return [at(plane) - own for plane, own in zip(planes, middle, strict=True)]

    size = (2 * radius + 1) ** 2
    means = [total / size for total in accumulate(from_the_middle, radius)]

    def over_places(term: Callable[[list[Array]], Any]) -> Any:
        def there(at: Callable[[Array], Array]) -> Any:
            return term([far - mean for far, mean in zip(from_the_middle(at), means, strict=True)])

        return accumulate(there, radius)

    return means, over_places


def _contrasts(plane: Float[Array, "h w"]) -> tuple[Array, list[Array]]:
    """The mean of every 3×3 window less its middle, and the window's 8 contrasts of Helmert.

    These are what each pixel around the middle differs by from the mean of the middle and of those
    before it, times what makes them orthonormal.
    """
    height, width = count(plane.shape, 1)
    middle, contrasts = middles(plane, 1), []
    total = jnp.zeros_like(middle)
    for before, place in enumerate((0, 1, 2, 3, 5, 6, 7, 8), 1):
        row, column = divmod(place, 3)
        far = plane[row : row + height, column : column + width] - middle
        contrasts.append(math.sqrt(before / (before + 1)) * (far - total / before))
        total = total + far
    return total / 9, contrasts


def eroded(known: Bool[Array, "b h w k"], radius: int) -> Bool[Array, "b h w k"]:
    """True where all of the window around a pixel is; what lies outside the picture is left out."""
    side = (1, 2 * radius + 1, 2 * radius + 1, 1)
    missing = (~known).astype(jnp.float32)
    return jax.lax.reduce_window(missing, 0.0, jax.lax.max, side, (1,) * 4, "SAME") == 0
