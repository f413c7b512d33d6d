"""Start a large picture from the solution of the same picture at half its size."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.seeded import Seeded


def solve(
    inputs: Seeded,
    minimise: Callable[[Seeded, Array | None], Array],
    *,
    enough: int = 128 * 128,
) -> Float[Array, "h w *k"]:
    """minimise(inputs, start), the start being what this function finds at half the size.

    Halved until a picture has `enough` pixels, which is solved from nothing. All sizes together
    have 4/3 of the pixels of the largest.

    Args:
        inputs: image and seeds, one example.
        minimise: from inputs and a start of H×W×*k, or None, to the solution in that shape. The
            weights of the energy are its own: seeds of a halved picture stand for fewer pixels,
            but so do its edges.
        enough: pixels, static.
    """
    height, width = inputs.image.shape[:2]
    if height * width <= enough or min(height, width) < 2:
        return minimise(inputs, None)
    small = solve(halved(inputs), minimise, enough=enough)
    return minimise(inputs, enlarged(small, (height, width)))


def halved(inputs: Seeded) -> Seeded:
    """Means of 2×2 pixels; a seed wherever one was, of the label that had most of them.

    An odd last row or column counts twice.
    """
    planes = _sums(inputs.seeds)
    most = jnp.argmax(planes, -1)[..., None] == jnp.arange(planes.shape[-1])
    seeds = jnp.where(most & (planes > 0), 1, 0).astype(inputs.seeds.dtype)
    return Seeded(_sums(inputs.image) / 4, seeds)


def enlarged(u: Float[Array, "p q *k"], shape: tuple[int, int]) -> Float[Array, "h w *k"]:
    """Linear between the centres of the small pixels; range and sums over labels are kept."""
    even = (2 * u.shape[0], 2 * u.shape[1], *u.shape[2:])
    return jax.image.resize(u, even, "linear")[: shape[0], : shape[1]]


def _sums(planes: Float[Array, "h w k"]) -> Float[Array, "p q k"]:
    height, width, count = planes.shape
    planes = jnp.pad(planes, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return planes.reshape(-(-height // 2), 2, -(-width // 2), 2, count).sum((1, 3))
