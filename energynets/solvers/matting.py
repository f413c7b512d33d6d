"""The exact minimum of the matting energy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from energynets.ops import windows
from energynets.seeded import Seeded
from energynets.solvers.stencil import Stencil, offsets

Scalar = float | Float[Array, ""]


@functools.partial(jax.jit, static_argnames="radius")
def stencil(
    inputs: Seeded, *, epsilon: Scalar = 1e-5, seed_weight: Scalar = 1.0, radius: int = 1
) -> Stencil:
    """L + λQ, half the second derivative of `energies.matting.energy`; its radius is 2r.

    L_ij = Σ over windows that hold i and j of δ_ij - 1/n - d_iᵀ G⁻¹ d_j, with n pixels a window,
    d colours less their mean in the window, and G = Σ d dᵀ + ε. Levin, Lischinski, Weiss, Eq. 12,
    with the covariance's ε/n. Memory for 12 planes of the result (3×3 windows) and some more.
    Ranges as in `solve`.
    """
    image, seeds = inputs
    return Stencil(seed_weight * seeds.sum(-1), laplacian_edges(image, epsilon, radius))


def laplacian_edges(image: Array, epsilon: Scalar, radius: int) -> Float[Array, "m h w"]:
    """The conductances -L_ij of the matting Laplacian, as a `Stencil` of radius 2r lists them."""
    height, width = windows.count(image.shape, radius)
    away = offsets(2 * radius)
    edges = jnp.zeros((len(away), *image.shape[:2]), image.dtype)
    if 0 in (height, width):
        return edges
    side = 2 * radius + 1
    planes = list(jnp.moveaxis(image, -1, 0))
    middles = [windows.middles(plane, radius) for plane in planes]

    def from_the_middle(at):
        return [at(plane) - middle for plane, middle in zip(planes, middles, strict=True)]

    means = [total / side**2 for total in windows.accumulate(from_the_middle, radius)]

    def centred(at):
        return [far - mean for far, mean in zip(from_the_middle(at), means, strict=True)]

    def products(at):
        d = centred(at)
        return [[d[i] * d[j] for j in range(i + 1)] for i in range(len(d))]

    lower = _cholesky(windows.accumulate(products, radius), jnp.asarray(epsilon, image.dtype))

    def whitened(corner):
        """G = R Rᵀ; R⁻¹ d, so that products of two of them are d_iᵀ G⁻¹ d_j."""
        d = centred(lambda plane: jax.lax.dynamic_slice(plane, corner, (height, width)))
        z = []
        for i, row in enumerate(lower):
            z.append((d[i] - sum(row[j] * z[j] for j in range(i))) / row[i])
        return z

    # Each unordered pair of places in a window, first in reading order, and their offset's plane.
    places = [divmod(place, side) for place in range(side**2)]
    pairs = [(a, b) for a in places for b in places if a < b]
    which = [away.index((b[0] - a[0], b[1] - a[1])) for a, b in pairs]

    def add(edges, pair):
        first, second, plane = pair
        z = zip(whitened(tuple(first)), whitened(tuple(second)), strict=True)
        both = sum(a * b for a, b in z) + 1 / side**2
        at = (plane, first[0], first[1])
        before = jax.lax.dynamic_slice(edges, at, (1, height, width))
        return jax.lax.dynamic_update_slice(edges, before + both, at), None

    first, second = (np.asarray(end, np.int32) for end in zip(*pairs, strict=True))
    return jax.lax.scan(add, edges, (first, second, np.asarray(which, np.int32)))[0]


def _cholesky(gram: list[list[Array]], epsilon: Array) -> list[list[Array]]:
    """R Rᵀ = gram + ε in every window, elementwise; the rows of R up to its diagonal."""
    lower = []
    for i, row in enumerate(gram):
        new = []
        for j in range(i):
            known = sum(new[k] * lower[j][k] for k in range(j))
            new.append((row[j] - known) / lower[j][j])
        # No pivot is below ε but by rounding.
        pivot = jnp.maximum(row[i] + epsilon - sum(x * x for x in new), epsilon)
        lower.append([*new, jnp.sqrt(pivot)])
    return lower
