"""Derivatives and blur of planes by 3×3 and separable stencils; borders repeat the last pixel."""

import jax.numpy as jnp
from jaxtyping import Array, Float

Planes = Float[Array, "h w k"]
Scalar = float | Float[Array, ""]


def along(planes: Planes, axis: int, taps: Float[Array, " n"] | list[float]) -> Planes:
    """Correlation with an odd number of taps along `axis`, borders repeated, same shape."""
    radius = len(taps) // 2
    if len(taps) != 2 * radius + 1:
        raise ValueError(f"taps must be odd in number, got {len(taps)}")
    pad = [(0, 0)] * planes.ndim
    pad[axis] = (radius, radius)
    padded, length = jnp.pad(planes, pad, "edge"), planes.shape[axis]
    index = [slice(None)] * planes.ndim
    total = jnp.zeros_like(planes)
    for place in range(2 * radius + 1):
        index[axis] = slice(place, place + length)
        total += taps[place] * padded[tuple(index)]
    return total


def sobel(planes: Planes) -> tuple[Planes, Planes]:
    """∂ downwards and ∂ to the right by [-1 0 1] × [1 2 1], not normalised: gain 8 a pixel."""
    down = along(along(planes, 0, [-1, 0, 1]), 1, [1, 2, 1])
    right = along(along(planes, 1, [-1, 0, 1]), 0, [1, 2, 1])
    return down, right


def central(planes: Planes) -> tuple[Planes, Planes]:
    """∂ downwards and ∂ to the right by half the difference of the neighbours on both sides."""
    return along(planes, 0, [-0.5, 0, 0.5]), along(planes, 1, [-0.5, 0, 0.5])


def hessian(planes: Planes) -> tuple[Planes, Planes, Planes]:
    """∂²/∂r², ∂²/∂r∂c and ∂²/∂c² for rows r and columns c, per squared pixel."""
    mixed = along(along(planes, 0, [-0.5, 0, 0.5]), 1, [-0.5, 0, 0.5])
    return along(planes, 0, [1, -2, 1]), mixed, along(planes, 1, [1, -2, 1])


def blur(planes: Planes, sigma: Scalar, radius: int) -> Planes:
    """Gaussian of width sigma in pixels, cut off at `radius` pixels (static), weights sum to 1."""
    if radius < 0:
        raise ValueError(f"radius must be 0 or more, got {radius}")
    taps = jnp.exp(-0.5 * jnp.square(jnp.arange(-radius, radius + 1) / sigma))
    taps = (taps / taps.sum()).astype(planes.dtype)
    return along(along(planes, 0, taps), 1, taps)
